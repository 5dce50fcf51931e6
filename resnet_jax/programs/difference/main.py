"""Entry point of --mode=diff."""

import csv
import io
import logging
import shlex
from pathlib import Path
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.files import write_atomically, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.difference.batches import Batches, batch_size, compare_batches, file_names
from resnet_jax.programs.difference.compare import changes_within, differences
from resnet_jax.programs.difference.lines import conclusion, difference_lines
from resnet_jax.programs.difference.parting import Parting, find_parting
from resnet_jax.programs.difference.runs import Run, read_run
from resnet_jax.programs.recipes import launcher
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.run_record import short_path
from resnet_jax.text import json_number, labelled, labelled_lines, result_name

logger = logging.getLogger(__name__)

RESULT, ROWS = "diff.json", "batch.csv"


def main(command: Command) -> int:
    """Compares the records of the two runs that the command names; returns the exit status.

    It computes no training step, and writes to neither work directory.
    """
    show_log()
    if len(command.paths) != 2:
        raise UsageError(f"--mode=diff compares two runs, not {len(command.paths)}: --mode=diff RUN RUN")
    first, second = (read_run(word) for word in command.paths)
    found = differences(first, second)
    sizes = (batch_size(first) or 1, batch_size(second) or 1)
    parting = find_parting(first, second, batch_sizes=sizes)
    batches = compare_batches(first, second, parting.last) if isinstance(parting, Parting) else None
    changes = (changes_within(first), changes_within(second))
    for line in difference_lines((first, second), found, parting, batches, changes):
        logger.info(line)
    content: dict[str, Any] = {
        "runs": [str(run.workdir.path) for run in (first, second)],
        "differences": [one._asdict() for one in found],
        "parting": _as_json(parting),
        "later_starts": changes,
        "result": conclusion(found, parting),
    }
    directory = local_path(command.workdir, name="--workdir") / _name(first, second)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / RESULT, content)
    if batches:
        _write_rows(directory / ROWS, batches, first, second)
    logger.info(labelled("written", f"{directory}/: {', '.join([RESULT, *([ROWS] if batches else [])])}"))
    if isinstance(parting, Parting):
        for line in labelled_lines("to see it", [_replay(run, parting.last) for run in (first, second)]):
            logger.info(line)
    return 0


def _as_json(parting: Any) -> dict[str, Any]:
    pairs = {"losses", "grad_norms"}
    return {
        name: [json_number(number) for number in value] if name in pairs else value
        for name, value in parting._asdict().items()
    }


def _name(first: Run, second: Run) -> str:
    """Returns the name of the result directory, from the names of the runs and their paths: 'first-second-3f9a2c'."""
    paths = [run.workdir.path for run in (first, second)]
    return result_name([path.name for path in paths], "\n".join(map(str, paths)))


def _write_rows(path: Path, batches: Batches, first: Run, second: Run) -> None:
    """Writes a CSV file: for each index in the batch, the example of each run and its file name ('' if unknown)."""
    where = file_names(first), file_names(second)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "index in A", "file in A", "index in B", "file in B", "equal"))
    one, other = batches.first.tolist(), batches.second.tolist()
    for row in range(max(len(one), len(other))):
        cells = [
            (own[row], find(own[row])) if row < len(own) else ("", "")
            for own, find in zip((one, other), where, strict=True)
        ]
        equal = batches.same_data and cells[0][0] == cells[1][0]
        writer.writerow((row, *cells[0], *cells[1], int(equal)))
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _replay(run: Run, step: int) -> str:
    workdir = shlex.quote(f"--workdir={short_path(run.workdir.path)}")
    return " ".join([*launcher(), workdir, "--mode=replay", f"--config.replay.step={step}"])
