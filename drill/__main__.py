"""Kills a run again and again, and shows that nothing of it is lost.

    python -m drill [--kills N] [--processes P] [--devices D] [--seed S] [--workdir DIR]

One run of `configs/digits.py`, shrunk, in float32, is left alone. Another one is killed, by SIGTERM or SIGKILL to one
of its processes or to all, at random moments of every phase (start, compile, train, save, evaluation), and started
again after each. Nothing is sent to those that are left: they must end by themselves. In the end both must be alike,
bit for bit. Exit status 0: they are, and no kill cost more than it may; 1: not so, and it is said what is wrong.

By default there is one kill of each kind: with 2 processes these are 5 phases x 2 signals x 3 choices of victims = 30.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from drill import report
from drill.comparison import differences
from drill.disturbance import INTERVAL, DrillError, Setting, disturb, leave_alone, steps_for
from drill.kills import Kill, Outcome, draw, kinds, problems
from drill.launch import StillRunningError


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the drill; returns the exit status."""
    options = _parse(argv)
    kills = draw(options.kills or len(kinds(options.processes)), processes=options.processes, seed=options.seed)
    setting = Setting(
        directory=options.workdir.resolve(),
        processes=options.processes,
        devices=options.devices,
        steps=steps_for(kills),
        deadline=options.deadline,
    )
    print(
        f"{len(kills)} kills of {setting.steps} steps on {setting.processes} x {setting.devices} devices, "
        f"seed {options.seed}, in {setting.directory}",
        flush=True,
    )
    outcomes, found = _drill(setting, kills)
    record = report.record(setting, options.seed, outcomes, found)
    (setting.directory / "drill.json").write_text(json.dumps(record, indent=1) + "\n")
    print("", report.table(outcomes), "", *report.summary(outcomes), *_verdict(found), sep="\n")
    return 1 if found else 0


def _drill(setting: Setting, kills: Sequence[Kill]) -> tuple[list[Outcome], list[str]]:
    """Returns what came of each kill, and all that is wrong."""
    outcomes: list[Outcome] = []
    try:
        pace = leave_alone(setting)
        for outcome in disturb(setting, kills, pace):
            print(report.line(outcome), flush=True)
            outcomes.append(outcome)
        found = differences(setting.disturbed, setting.undisturbed, step=setting.steps)
    except (DrillError, StillRunningError) as error:
        found = [str(error)]
    of_kills = [f"kill {o.kill.number}: {problem}" for o in outcomes for problem in problems(o, interval=INTERVAL)]
    return outcomes, of_kills + found


def _verdict(found: Sequence[str]) -> list[str]:
    if found:
        return [f"WRONG: {problem}" for problem in found]
    return ["The run that was killed ended like the one that was left alone: every bit of the state, every metric."]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, help="how many (one of each kind)")
    add("--processes", type=int, default=2, help="of the run (%(default)s)")
    add("--devices", type=int, default=1, help="of each process, virtual (%(default)s)")
    add("--seed", type=int, default=0, help="of the kills: the same ones again (%(default)s)")
    add("--workdir", type=Path, help="a new directory (runs/drill-PxD)")
    add("--deadline", type=float, default=120.0, help="seconds for the processes to end after a kill (%(default)s)")
    options = parser.parse_args(argv)
    if min(options.processes, options.devices, options.kills or 1) < 1:
        parser.error("--kills, --processes and --devices are at least 1")
    options.workdir = options.workdir or Path("runs", f"drill-{options.processes}x{options.devices}")
    if options.workdir.exists() and any(options.workdir.iterdir()):
        parser.error(f"{options.workdir} holds something: remove it, or name a new directory with --workdir")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # killed itself, it leaves no processes behind
    sys.exit(main())
