"""Finds the stored predictions of the runs that a user names, and checks that they can be compared.

The predictions of an evaluation, one for each image, are called its answers. They are stored in `answers.npz`.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.files import read_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.evaluation.answers import ANSWERS, StoredAnswers, read
from resnet_jax.text import printable

_CERTIFICATE, _EVALUATIONS = "certificate.json", "evaluations"
_KINDS = {"trained": "trained weights", "ema": "moving average of the weights"}
_SHAPE: dict[str, dict[str, type]] = {
    "data": {"name": str, "examples": int, "sample_sha256": str},
    "classes": {"fingerprint": str},
    "provenance": {"time": str},
}


class Evaluated(NamedTuple):
    """One evaluation of a run."""

    word: str  # the argument of the command line that names the run
    directory: Path  # result directory of the evaluation
    certificate: dict[str, Any]

    @property
    def data(self) -> tuple[str, int, str]:
        """What comparable evaluations share: hash of sample images, number of images, hash of the class list."""
        data = self.certificate["data"]
        return data["sample_sha256"], data["examples"], self.certificate["classes"]["fingerprint"]

    @property
    def about(self) -> str:
        """Name and size of the evaluation set, for messages."""
        return f"{self.certificate['data']['name']} with {self.certificate['data']['examples']:,} images"


class Run(NamedTuple):
    """A run, with the stored predictions (`answers`) of one of its evaluations."""

    word: str
    directory: Path
    answers: StoredAnswers

    @property
    def weights(self) -> str:
        """Description of the evaluated weights, such as 'step 808, trained weights'."""
        weights = self.answers.subject["weights"]
        step, path = weights.get("step"), Path(str(weights.get("path", "")))
        # The name of a checkpoint of a run is its step; other weights have a name of their own.
        parts = [f"step {step:,}" if path.name == str(step) else path.name]
        parts += [_KINDS[weights["kind"]]] if weights.get("kind") in _KINDS else []
        images = weights.get("statistics_images")
        return ", ".join([*parts, *([f"batch norm statistics of {images:,} training crops"] if images else [])])


def find_runs(words: Sequence[str]) -> list[Run]:
    """Finds an evaluation set that all runs share; reads the predictions of each run's newest evaluation on it.

    Args:
      words: for each run its work directory, the result directory of an evaluation, or the path of a
        `certificate.json` or `answers.npz`.

    Raises:
      UsageError: a run has no evaluation, or the runs have no evaluation on the same data and classes.
    """
    found = [_evaluations(word) for word in words]
    shared = set.intersection(*({evaluated.data for evaluated in own} for own in found))
    if not shared:
        raise _nothing_shared(found)
    chosen = [[evaluated for evaluated in own if evaluated.data in shared] for own in found]
    # If all runs share several data sets, take the one of the first run's newest evaluation.
    data = chosen[0][-1].data
    newest = [[evaluated for evaluated in own if evaluated.data == data][-1] for own in chosen]
    runs = [Run(one.word, one.directory, read(one.directory / ANSWERS)) for one in newest]
    for run in runs[1:]:
        _check_same_labels(runs[0], run)
    return runs


def _evaluations(word: str) -> list[Evaluated]:
    """Returns the evaluations in the directory or file that the argument `word` names, the oldest first."""
    path = local_path(word, name="path")
    if path.name in (ANSWERS, _CERTIFICATE) and path.is_file():
        directories = [path.parent]
    elif (path / _CERTIFICATE).exists():
        directories = [path]
    else:
        directories = sorted(file.parent for file in (path / _EVALUATIONS).glob(f"*/{_CERTIFICATE}"))
    if not directories:
        raise UsageError(
            f"{printable(word)} has no evaluation: name a run that --mode=eval has evaluated (--workdir=RUN "
            f"--mode=eval), or the directory of a result, its {_CERTIFICATE} or its {ANSWERS}"
        )
    complete = [directory for directory in directories if (directory / ANSWERS).exists()]
    if not complete:
        raise UsageError(
            f"{printable(str(directories[-1]))} has no {ANSWERS}, which earlier versions did not write: run "
            "--mode=eval again, with the same weights and data"
        )
    evaluations = [Evaluated(word, directory, _certificate(directory)) for directory in complete]
    return sorted(evaluations, key=lambda evaluated: evaluated.certificate["provenance"]["time"])


def _certificate(directory: Path) -> dict[str, Any]:
    path = directory / _CERTIFICATE
    certificate: dict[str, Any] = read_json(path, cure="run --mode=eval again, which writes it anew")
    for section, keys in _SHAPE.items():
        stored = certificate.get(section) if isinstance(certificate, dict) else None
        if not isinstance(stored, dict) or not all(isinstance(stored.get(key), kind) for key, kind in keys.items()):
            raise UsageError(f"{path} is not the certificate of one evaluation: run --mode=eval again, or name another")
    return certificate


def _nothing_shared(found: Sequence[Sequence[Evaluated]]) -> UsageError:
    """Returns the error for runs without a common evaluation set; names two runs that share none, if there are such."""
    data = [{evaluated.data for evaluated in own} for own in found]
    apart = next(((i, j) for i, j in itertools.combinations(range(len(found)), 2) if not data[i] & data[j]), None)
    if apart is None:
        return UsageError(
            "any two of the runs share an evaluation set, but no set is shared by all of them: "
            "compare two at a time, or evaluate all of them on the same data with --mode=eval"
        )
    first, other = (found[k][-1] for k in apart)
    same_images = other.data[:2] == first.data[:2]
    what = "with different classes, or the same in another order" if same_images else "on different images"
    return UsageError(
        f"{printable(first.word)} and {printable(other.word)} were evaluated {what} ({printable(first.about)}; "
        f"{printable(other.about)}): evaluate both on the same data with --mode=eval"
    )


def _check_same_labels(first: Run, other: Run) -> None:
    """Raises UsageError if an image has different labels in the two runs; unreadable images are skipped."""
    one, two = first.answers.label, other.answers.label
    different = np.flatnonzero((one != two) & (one >= 0) & (two >= 0)) if len(one) == len(two) else np.zeros(1, int)
    if len(different):
        image = printable(first.answers.ids[different[0]].decode("utf-8", "backslashreplace"))
        raise UsageError(
            f"{printable(first.word)} and {printable(other.word)} were evaluated with different labels, for example "
            f"of {image}: evaluate both on the same data with --mode=eval"
        )
