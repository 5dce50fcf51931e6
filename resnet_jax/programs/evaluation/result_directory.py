"""Writes the result directory of an evaluation, `<name>`: certificate, answers, tables and pictures.

`<name>` appears only when it is complete: the files are written to `<name>.part`, which is then renamed to `<name>`. A
previous result of that name is kept as `<name>.old` until the rename is done.
"""

import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.files import delete
from resnet_jax.programs.evaluation import answers
from resnet_jax.programs.evaluation.answers import ANSWERS, StoredAnswers
from resnet_jax.programs.evaluation.calibration_picture import plot_calibration
from resnet_jax.programs.evaluation.certificate import accuracy_with_interval
from resnet_jax.programs.evaluation.confusion import Confusion
from resnet_jax.programs.evaluation.confusion_picture import plot_confusion
from resnet_jax.programs.evaluation.wilson import wilson

CERTIFICATE, PER_CLASS, MATRIX, PICTURE = "certificate.json", "per_class.csv", "confusion.csv", "confusion.png"
CALIBRATION, ERRORS, BAD_EXAMPLES = "calibration.png", "errors.csv", "bad_examples.jsonl"


class Results(NamedTuple):
    """The results of one evaluation."""

    certificate: dict[str, Any]  # from `make_certificate`
    confusion: Confusion
    names: Sequence[str]  # names of the network's outputs
    answers: StoredAnswers

    @property
    def files(self) -> list[str]:
        """Names of the files: those that are always written, and `CALIBRATION` if the certificate has a calibration."""
        drawn = [CALIBRATION] if self.certificate["calibration"] else []
        return [CERTIFICATE, ANSWERS, PER_CLASS, MATRIX, ERRORS, PICTURE, *drawn]


def begin(directory: Path) -> Path:
    """Creates an empty `<name>.part` for the results and returns it; `finish` renames it to `directory`.

    Removes every `*.part` that an interrupted evaluation left in the same work directory. Renames `<name>.old` back to
    `<name>` if an evaluation was killed while it replaced an earlier result.
    """
    part, old = _beside(directory, ".part"), _beside(directory, ".old")
    if old.exists() and not directory.exists():
        old.rename(directory)
    # No running evaluation writes to these: this process has locked the work directory.
    for stale in directory.parent.glob("*.part"):
        delete(stale)
    part.mkdir(parents=True)
    return part


def discard(directory: Path) -> None:
    """Removes `<name>.part`, the unfinished results for `directory`, if it exists."""
    delete(_beside(directory, ".part"))


def finish(directory: Path, results: Results) -> None:
    """Writes the result files to `<name>.part` and renames it to `directory`; after an error removes `<name>.part`.

    Args:
      directory: the final directory; an existing one is replaced.
      results: what to write.
    """
    part, old = _beside(directory, ".part"), _beside(directory, ".old")
    try:
        _write_files(part, results)
        delete(old)
        if directory.exists():
            directory.rename(old)
        part.rename(directory)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_files(directory: Path, results: Results) -> None:
    certificate, confusion, names, stored = results
    _write_csv(directory / PER_CLASS, per_class_rows(confusion, names))
    _write_csv(directory / MATRIX, matrix_rows(confusion, names))
    _write_csv(directory / ERRORS, answers.error_rows(stored))
    answers.write(directory / ANSWERS, stored)
    title = f"{certificate['data']['name']}\n{accuracy_with_interval(certificate, 'top1')}, n = {confusion.total:,}"
    figures = {PICTURE: plot_confusion(confusion, names[: confusion.num_classes], title=title)}
    if certificate["calibration"]:
        figures[CALIBRATION] = plot_calibration(certificate["calibration"], title=title)
    for name, figure in figures.items():
        figure.savefig(directory / name, metadata={"Software": None})
    (directory / CERTIFICATE).write_text(json.dumps(certificate, indent=2, allow_nan=False) + "\n")


def per_class_rows(confusion: Confusion, names: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Yields the rows of `per_class.csv`: a header, then one for each class of the data.

    The accuracy of a class without images and its confidence interval are empty cells.
    """
    yield "class", "name", "images", "right", "accuracy", "low", "high", "predictions"
    columns = zip(confusion.support.tolist(), confusion.correct.tolist(), strict=True)
    predictions = confusion.predictions.tolist()
    for number, (images, correct) in enumerate(columns):
        shares = (correct / images, *wilson(correct, images)) if images else ()
        cells = [f"{share:.6f}" for share in shares] or ["", "", ""]
        yield number, names[number], images, correct, *cells, predictions[number]


def matrix_rows(confusion: Confusion, names: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Yields the rows of `confusion.csv`: a header, then the rows of the confusion matrix.

    The column '(none)' for images without a prediction and the row '(unreadable)' are included only if not empty.
    """
    width = len(names) + bool(confusion.unanswered)
    yield "true class", *[*names, "(none)"][:width]
    height = confusion.num_classes + bool(confusion.unreadable)
    for name, row in zip([*names[: confusion.num_classes], "(unreadable)"][:height], confusion.rows(), strict=False):
        yield name, *row[:width].tolist()


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _beside(directory: Path, ending: str) -> Path:
    return directory.with_name(directory.name + ending)
