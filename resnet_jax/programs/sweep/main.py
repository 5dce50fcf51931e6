"""Entry point of --mode=sweep."""

import csv
import functools
import io
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from resnet_jax.distributed.signals import STOPPED
from resnet_jax.errors import NonFiniteError, UsageError
from resnet_jax.experiment.sweep import Sweep, make_sweep
from resnet_jax.files import locked, read_json, write_atomically, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.recipes import launcher
from resnet_jax.programs.sweep.early_stop import accuracies, is_behind
from resnet_jax.programs.sweep.process import Process
from resnet_jax.programs.sweep.runs import Run, cell_names, make_runs
from resnet_jax.programs.sweep.table import as_json, csv_rows, make_table, table_lines
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import duration, labelled

logger = logging.getLogger(__name__)

SWEEP, TABLE = "sweep.json", "table.csv"


def main(command: Command) -> int:
    """Trains the runs of a sweep that have not ended yet, and writes the table of results; returns the exit status.

    If config.sweep.launch is set, it only prints the commands that train these runs.
    """
    show_log()
    sweep = make_sweep(command.config)
    directory = local_path(command.workdir, name="--workdir").resolve()
    runs = make_runs(sweep, directory, sys.argv[1:])
    if sweep.launch is not None:
        _print_commands(runs, sweep.launch)
        return 0
    with locked(directory / ".lock", what=f"the sweep in {directory}", cure="choose another --workdir=DIR"):
        stopped_early = set(_stopped_early(directory / SWEEP))
        status = _train_all(sweep, runs, directory, stopped_early)
        _write(sweep, runs, directory, stopped_early)
    if status == STOPPED:
        logger.info(labelled("stopped", "run the same command again to continue"))
    return status


def _print_commands(runs: Sequence[Run], launch: str) -> None:
    """Prints the command of each run that has not ended; it begins with `launch`, if that is not empty."""
    words = shlex.split(launch) or launcher()
    for run in runs:
        if run.result() is None:
            print(shlex.join([*words, *run.flags]))


def _train_all(sweep: Sweep, runs: Sequence[Run], directory: Path, stopped_early: set[str]) -> int:
    """Trains the runs one after another; returns 0, or 75 if a signal has stopped the sweep.

    A run whose loss is not finite does not end the sweep.

    Raises:
      UsageError: a run ended with another error; a mistake in the command, for example, would end all other runs too.
    """
    process = Process(print_log=sweep.print_log)
    if not sweep.print_log:
        text = f"{len(runs)}, of which {_ended(runs)} have ended; the lines of a run are in its train.log"
        logger.info(labelled("runs", text))
    for number, run in enumerate(runs):
        if run.result() is not None or str(run.workdir) in stopped_early:
            continue
        name = f"{number + 1} of {len(runs)}: {run.workdir.relative_to(directory)}"
        if sweep.print_log:
            logger.info(labelled("run", name))
        check = None
        if sweep.stop_behind is not None:
            check = functools.partial(is_behind, run, runs, points=sweep.stop_behind)
        status = process.train(run, is_hopeless=check)
        if process.stopped or (status == STOPPED and check is None):
            return STOPPED
        if status == STOPPED and check is not None:
            stopped_early.add(str(run.workdir))
            logger.info(labelled("hopeless", f"{run.workdir.relative_to(directory)} was stopped, and is saved"))
            _write(sweep, runs, directory, stopped_early, quiet=True)
        elif status not in (0, NonFiniteError.exit_status):
            _fail(status, run)
        else:
            logger.info(labelled("run", f"{name}: {_outcome(run)}"))
    return 0


def _ended(runs: Sequence[Run]) -> int:
    return sum(run.result() is not None for run in runs)


def _outcome(run: Run) -> str:
    """Returns how a run ended, such as 'top-1 98.61 % at step 808, 0:24'."""
    result, top1 = run.result(), run.top1()
    if result is None:
        return "no result"
    if result["stop_reason"] == "non_finite":
        return f"the loss is not finite at step {result['failed_step']}"
    accuracy = "no accuracy" if top1 is None else f"top-1 {100 * top1:.2f} %"
    return f"{accuracy} at step {result['step']:,}, {duration(result['seconds'].get('total', 0.0))}"


def _fail(status: int, run: Run) -> None:
    problem = f"the run in {run.workdir} has ended with status {status}"
    raise UsageError(
        f"{problem}: see its lines above and its train.log; the sweep continues where it was when the same command "
        "runs again"
    )


def _stopped_early(path: Path) -> list[str]:
    """Returns the work directories of runs that an earlier start of the sweep stopped as hopeless."""
    if not path.exists():
        return []
    cure = "move it away: runs that were stopped early will continue"
    found: list[str] = read_json(path, cure=cure, shape={"stopped_early": [str]})["stopped_early"]
    return found


def _write(sweep: Sweep, runs: Sequence[Run], directory: Path, stopped_early: set[str], *, quiet: bool = False) -> None:
    """Writes the table as JSON and CSV, and logs it unless `quiet`."""
    rows = make_table(cell_names(sweep.cells), accuracies(runs, len(sweep.cells)))
    ended = _ended(runs)
    content = {
        "runs": len(runs),
        "ended": ended,
        "seeds": list(sweep.seeds),
        "cells": sweep.cells,
        "rows": as_json(rows),
        "method": "paired t over seeds, Holm's correction",
        "stopped_early": sorted(stopped_early),
        "not_finite": [str(run.workdir) for run in runs if (run.result() or {}).get("stop_reason") == "non_finite"],
        "commands": [["resnet-jax", *run.flags] for run in runs],
    }
    write_json(directory / SWEEP, content)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(csv_rows(rows))
    write_atomically(directory / TABLE, text.getvalue())
    if not quiet:
        left = len(runs) - ended - len(stopped_early)
        for line in table_lines(rows, left=left):
            logger.info(line)
        logger.info(labelled("written", f"{directory}/: {SWEEP}, {TABLE}"))
