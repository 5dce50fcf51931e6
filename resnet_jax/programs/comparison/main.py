"""Entry point of --mode=compare."""

import csv
import io
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.files import replacing, write_atomically
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.comparison.compare import Comparison, as_json, compare, grouped
from resnet_jax.programs.comparison.lines import comparison_lines, sentence
from resnet_jax.programs.comparison.picture import plot_comparison
from resnet_jax.programs.comparison.runs import Run, find_runs
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import labelled, printable, result_name

logger = logging.getLogger(__name__)

TABLE, CLASSES, PICTURE = "comparison.json", "classes.csv", "comparison.png"


def main(command: Command) -> int:
    """Compares the runs that the command names, by the predictions that --mode=eval stored; returns the exit status.

    It compiles nothing, and loads neither weights nor images.
    """
    show_log()
    words = grouped(command.paths)
    runs = iter(find_runs([word for group in words for word in group]))
    groups = [[next(runs) for _ in group] for group in words]
    comparison = compare(groups)
    logger.info(labelled("data", printable(groups[0][0].answers.subject["data"]["name"])))
    for line in comparison_lines(comparison):
        logger.info(line)
    directory = local_path(command.workdir, name="--workdir") / _name(groups)
    _write(directory, comparison, groups)
    logger.info(labelled("written", f"{directory}/: {TABLE}, {CLASSES}, {PICTURE}"))
    return 0


def _write(directory: Path, comparison: Comparison, groups: Sequence[Sequence[Run]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    figure = plot_comparison(comparison)
    with replacing(directory / PICTURE) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(class_rows(comparison))
    write_atomically(directory / CLASSES, text.getvalue())
    subjects = [[{"directory": str(run.directory), **run.answers.subject} for run in group] for group in groups]
    results = [sentence(comparison, one) for one in comparison.differences]
    content = {**as_json(comparison), "results": results, "subjects": subjects}
    write_atomically(directory / TABLE, json.dumps(content, indent=2, allow_nan=False) + "\n")


def class_rows(comparison: Comparison) -> Iterable[Sequence[Any]]:
    """Yields the rows of `classes.csv`: a header, then one for each pair of groups and each class with images."""
    yield (
        "first",
        "second",
        "class",
        "name",
        "images",
        "only first",
        "only second",
        "p (Holm)",
        "told apart",
    )
    for one in comparison.classes:
        counts = (one.images, one.only_first, one.only_second)
        yield one.first, one.second, one.number, comparison.names[one.number], *counts, f"{one.p:.6g}", one.told_apart


def _name(groups: Sequence[Sequence[Run]]) -> str:
    """Returns the name of the result directory: the first run of up to three groups, and a hash of all evaluations."""
    subjects = [[run.answers.subject for run in group] for group in groups]
    return result_name([Path(group[0].word).name for group in groups[:3]], json.dumps(subjects, sort_keys=True))
