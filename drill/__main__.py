"""Kills a run many times and verifies that it ends like an undisturbed run.

    python -m drill [--kills N] [--processes P] [--devices D] [--seed S] [--workdir DIR]

Makes two runs of a small `configs/digits.py` in float32. The first is undisturbed. The second is killed at random
moments of every phase (start, compile, train, save, evaluation), and restarted after each kill. The kinds of kills are:

  SIGTERM, SIGKILL, SIGHUP   to one process, or to all
  SIGTERM to the group       to launch/local.sh and everything that it has started, as systemd and `timeout` send it
  SIGSTOP for good           to one process of several
  SIGSTOP for 30 s           then SIGCONT; the run must continue
  full disk                  nothing more can be written; the next start has room again
  SIGKILL, damage            the newest checkpoint is damaged before the next start
  SIGKILL to a worker        to a process that decodes images

In a fifth of the starts, worker processes decode the images. The drill sends nothing to the surviving processes: they
must end by themselves, and so must their workers. At the end the states and metrics of both runs must be equal, bit for
bit. Exit status 0: they are, and no kill lost more steps than allowed. Exit status 1: the problems are printed.

By default each kind of kill is made once. The same command continues a drill that was interrupted.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from drill import report
from drill.comparison import differences
from drill.disturbance import DrillError, Setting, run_undisturbed, run_with_kills, steps_for
from drill.kills import WAYS, Kill, Outcome, kinds, sample_kills
from drill.launch import StillRunningError, fingerprint
from drill.ledger import Ledger


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the drill; returns the exit status."""
    options = _parse(argv)
    count = options.kills or sum(kind.way in options.ways for kind in kinds(options.processes))
    kills = sample_kills(count, processes=options.processes, seed=options.seed, ways=options.ways)
    setting = Setting(
        directory=options.workdir.resolve(),
        processes=options.processes,
        devices=options.devices,
        steps=steps_for(kills),
        deadline=options.deadline,
        program=options.program,
    )
    print(
        f"{len(kills)} kills of {setting.steps} steps on {setting.processes} x {setting.devices} devices, "
        f"seed {options.seed}, in {setting.directory}",
        flush=True,
    )
    outcomes, found = _drill(setting, kills, options.ledger)
    record = report.record(setting, options.seed, outcomes, found)
    (setting.directory / "drill.json").write_text(json.dumps(record, indent=1) + "\n")
    print("", report.table(outcomes), "", report.summary(outcomes), "", *_verdict(found), sep="\n")
    return 1 if found else 0


def _drill(setting: Setting, kills: Sequence[Kill], ledger: Ledger) -> tuple[list[Outcome], list[str]]:
    """Makes both runs, or what an interrupted drill has left of them.

    Returns:
      The outcome of each kill, and all problems.
    """
    outcomes = ledger.outcomes()
    try:
        pace = ledger.pace or run_undisturbed(setting)
        ledger.set_pace(pace)
        for outcome in run_with_kills(setting, kills[len(outcomes) :], pace):
            print(report.line(outcome), flush=True)
            ledger.add(outcome)
            outcomes.append(outcome)
        found = differences(setting.disturbed, setting.undisturbed, step=setting.steps)
    except (DrillError, StillRunningError) as error:
        found = [str(error)]
    of_kills = [f"kill {outcome.kill.number}: {problem}" for outcome in outcomes for problem in outcome.problems]
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
    add("--workdir", type=Path, help="a new directory, or one with a drill to continue (runs/drill-PxD)")
    add("--ways", help=f"kinds of kills, separated by commas, of: {', '.join(WAYS)} (all)")
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
    options.ways = options.ways.split(",") if options.ways else list(WAYS)
    unknown = [way for way in options.ways if way not in WAYS]
    if unknown or not any(kind.way in options.ways for kind in kinds(options.processes)):
        parser.error(
            f"--ways={','.join(unknown or options.ways)}: give some of {', '.join(WAYS)}; 'stopped' needs processes"
        )
    options.program = fingerprint()
    plan = {name: getattr(options, name) for name in ("kills", "processes", "devices", "seed", "ways", "program")}
    try:
        options.ledger = Ledger(options.workdir, plan)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # SystemExit unwinds `Processes`, which kills the run
    signal.signal(signal.SIGHUP, lambda *_: None)  # not ignored by the runs, as it would be if nohup starts the drill
    sys.exit(main())
