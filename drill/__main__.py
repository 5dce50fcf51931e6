"""Kills a run many times and verifies that it ends like an undisturbed run.

    python -m drill [--kills N] [--processes P] [--devices D] [--seed S] [--workdir DIR]

Makes two runs of a small `configs/digits.py` in float32. The first is undisturbed. The second is killed by SIGTERM or
SIGKILL, sent to one process or to all, at random moments of every phase (start, compile, train, save, evaluation),
and restarted after each kill. The drill sends nothing to the surviving processes: they must end by themselves. At the
end the states and metrics of both runs must be equal, bit for bit. Exit status 0: they are, and no kill lost more steps
than allowed. Exit status 1: the problems are printed.

By default each kind of kill is made once: with 2 processes, 5 phases x 2 signals x 3 sets of processes = 30 kills.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from drill import report
from drill.comparison import differences
from drill.disturbance import INTERVAL, DrillError, Setting, run_undisturbed, run_with_kills, steps_for
from drill.kills import Kill, Outcome, kinds, problems, sample_kills
from drill.launch import StillRunningError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the drill; returns the exit status."""
    options = _parse(argv)
    kills = sample_kills(options.kills or len(kinds(options.processes)), processes=options.processes, seed=options.seed)
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
    """Makes both runs. Returns the outcome of each kill, and all problems."""
    outcomes: list[Outcome] = []
    try:
        pace = run_undisturbed(setting)
        for outcome in run_with_kills(setting, kills, pace):
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
    return ["The killed run ended like the undisturbed one: every bit of the state, every metric."]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, help="number of kills (one of each kind)")
    add("--processes", type=int, default=2, help="processes of the run (%(default)s)")
    add("--devices", type=int, default=1, help="virtual CPU devices of each process (%(default)s)")
    add("--seed", type=int, default=0, help="seed of the moments and the order of the kills (%(default)s)")
    add("--workdir", type=Path, help="a new or empty directory (runs/drill-PxD)")
    add(
        "--deadline",
        type=float,
        default=120.0,
        help="seconds within which all processes must end after a kill (%(default)s)",
    )
    options = parser.parse_args(argv)
    if min(options.processes, options.devices, options.kills or 1) < 1:
        parser.error("--kills, --processes and --devices must be at least 1")
    options.workdir = options.workdir or Path("runs", f"drill-{options.processes}x{options.devices}")
    if options.workdir.exists() and any(options.workdir.iterdir()):
        parser.error(f"{options.workdir} is not empty: remove it, or name a new directory with --workdir")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # SystemExit unwinds `Processes`, which kills the run
    sys.exit(main())
