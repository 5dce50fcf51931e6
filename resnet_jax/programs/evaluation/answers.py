"""`answers.npz`: the predictions (answers) of an evaluation for each image, kept for later comparisons."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resnet_jax.data.regular_files import open_regular
from resnet_jax.errors import UsageError
from resnet_jax.text import printable
from resnet_jax.training.metrics import Answers

ANSWERS = "answers.npz"
_VERSION = 1  # version of the file format


@dataclasses.dataclass(frozen=True)
class StoredAnswers:
    """The predictions for N images, in the order of the data; k = min(5, number of outputs).

    Attributes:
      subject: what was evaluated, from `certificate.describe_subject`.
      names: name of each output of the network; the first are the classes of the data.
      ids: [N] bytes (UTF-8), name of each image within the data, the same on every machine.
      label: [N] int32, true class; -1 for an image that could not be read.
      top: [N, k] int32, the likeliest outputs in descending order; -1 if the image is unreadable or a logit is NaN.
      probability: [N, k] float32, probabilities of `top`.
      label_log_probability: [N] float32, natural logarithm of the probability of the label; NaN where `top` is -1.
    """

    subject: dict[str, Any]
    names: tuple[str, ...]
    ids: np.ndarray
    label: np.ndarray
    top: np.ndarray
    probability: np.ndarray
    label_log_probability: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """[N] bool, whether each image was classified correctly."""
        return (self.top[:, 0] == self.label) & (self.label >= 0)


def join(batches: Sequence[Answers]) -> Answers:
    """Concatenates the predictions of all batches, without the padding rows."""
    masks = [batch.mask for batch in batches]

    def without_padding(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(leaf)[mask] for leaf, mask in zip(leaves, masks, strict=True)])

    joined: Answers = jax.tree.map(without_padding, *batches)
    return joined


def to_store(answers: Answers, subject: dict[str, Any], names: Sequence[str], ids: Iterable[str]) -> StoredAnswers:
    """Returns the predictions of an evaluation as `answers.npz` stores them.

    Args:
      answers: from `join`.
      subject: what was evaluated, from `certificate.describe_subject`.
      names: name of each output of the network.
      ids: name of each image, from `sources.example_ids`.
    """
    scores = answers.scores
    return StoredAnswers(
        subject=subject,
        names=tuple(names),
        ids=np.array([text.encode("utf-8", "surrogateescape") for text in ids]),
        label=answers.label,
        top=scores.top,
        probability=np.exp(scores.log_probability),
        label_log_probability=scores.label_log_probability,
    )


def write(path: Path, stored: StoredAnswers) -> None:
    """Writes `answers.npz`; equal predictions give equal bytes."""
    arrays = {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}
    about = {"version": _VERSION, "subject": arrays.pop("subject"), "names": arrays.pop("names")}
    text = json.dumps(about, sort_keys=True).encode()
    with path.open("wb") as file:
        np.savez_compressed(file, about=np.frombuffer(text, np.uint8), **arrays)


def read(path: Path) -> StoredAnswers:
    """Reads `answers.npz`. Raises UsageError if it cannot be read or has another format."""
    cure = "run --mode=eval again, which writes it anew"
    try:
        with os.fdopen(open_regular(path), "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        if about["version"] != _VERSION:
            raise UsageError(f"{path} has format {about['version']!r}, not {_VERSION}, of another version: {cure}")
        stored = StoredAnswers(subject=about["subject"], names=tuple(about["names"]), **arrays)
        count = len(stored.label)
        if any(len(array) != count for array in arrays.values()) or stored.top.shape != stored.probability.shape:
            raise ValueError("its arrays do not have the same length")
    except UsageError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many types for a damaged file
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read ({reason}): {cure}") from None
    return stored


def error_rows(stored: StoredAnswers) -> Iterable[Sequence[Any]]:
    """Yields the rows of `errors.csv`: a header, then the misclassified images, sorted by confidence.

    The most confident predictions come first. Images without a prediction come last, with empty cells.
    """
    yield "image", "label", "predicted", "probability", "probability of label"
    confidence = np.where(stored.top[:, 0] >= 0, np.nan_to_num(stored.probability[:, 0], nan=-1.0), -1.0)
    wrong = np.flatnonzero(~stored.right)
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")].tolist():
        label, predicted = int(stored.label[row]), int(stored.top[row, 0])
        shares = (stored.probability[row, 0], np.exp(stored.label_log_probability[row]))
        cells = ["" if predicted < 0 or np.isnan(share) else f"{share:.6f}" for share in shares]
        names = ("" if number < 0 else stored.names[number] for number in (label, predicted))
        yield printable(stored.ids[row].decode("utf-8", "backslashreplace")), *names, *cells
