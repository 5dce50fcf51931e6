"""What an evaluation leaves: a certificate, tables and a picture, in a directory that is whole or not there."""

import csv
import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.sources import Source
from resnet_jax.experiment import Experiment
from resnet_jax.programs.evaluation.confusion import Confusion, count_pairs
from resnet_jax.programs.evaluation.confusion_picture import draw
from resnet_jax.programs.evaluation.wilson import CONFIDENCE, wilson
from resnet_jax.reporting import provenance
from resnet_jax.text import json_numbers
from resnet_jax.training import metrics
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.weights.select import SelectedWeights

CERTIFICATE, PER_CLASS, MATRIX, PICTURE = "certificate.json", "per_class.csv", "confusion.csv", "confusion.png"
BAD_EXAMPLES = "bad_examples.jsonl"
_SAMPLE = 16  # images


def subject(experiment: Experiment, selected: SelectedWeights) -> dict[str, Any]:
    """What is evaluated, and on what, in JSON values: of equal ones the results are equal, up to rounding."""
    return {
        "weights": {
            "sha256": selected.sha256,
            "path": selected.path,
            "step": selected.step,
            "kind": selected.kind,
        },
        "network": experiment.computation.network | {"dtype": experiment.computation.dtype},
        "data": experiment.data.identity["eval"] | {"sample_sha256": _sample_hash(experiment.data.eval_loader.source)},
        "classes": {
            "number": len(experiment.data.class_names),
            "outputs": num_outputs(selected),
            "fingerprint": fingerprint(experiment.data.class_names),
        },
        "preprocessing": dataclasses.asdict(
            experiment.preprocessing
        ),  # up to the normalisation, which is the network's
    }


def _sample_hash(source: Source) -> str:
    """The SHA-256 of 16 images, evenly spaced: what tells data of the same name, number and labels apart."""
    digest = hashlib.sha256()
    for index in np.linspace(0, len(source) - 1, _SAMPLE).astype(int).tolist():
        try:
            image = source[index].image
        except (OSError, ValueError):  # listed by the evaluation itself
            image = b"unreadable"
        digest.update(image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def directory_name(about: dict[str, Any]) -> str:
    """A name for the evaluation of a subject, as '808-digits-1.0.0-test-16px-trained-3f9a2c'.

    Its end is that of a hash of all but the place of the weights: another kernel or other weights have another name.
    """
    weights = about["weights"]
    same = about | {"weights": weights["sha256"]}
    readable = [
        Path(weights["path"]).name,
        about["data"]["name"],
        f"{about['preprocessing']['image_size']}px",
        weights["kind"] or "",
    ]
    parts = [re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.")[:80] for part in readable]
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
    return "-".join(filter(None, [*parts, digest[:6]]))


def num_outputs(selected: SelectedWeights) -> int:
    """How many classes a network tells apart, which may be more than the data have."""
    return selected.variables["params"]["head"]["bias"].shape[-1]


def count_answers(answers: Sequence[Answers], totals: Totals, *, num_classes: int, num_outputs: int) -> Confusion:
    """Counts the answers to all batches; raises ValueError if they are not those that the totals count."""
    confusion = count_pairs(answers, num_classes=num_classes, num_outputs=num_outputs)
    counted, summed = (confusion.total, int(confusion.right.sum())), (totals.count, totals.top1)
    if counted != summed:
        raise ValueError(f"the confusion matrix has {counted} examples and right ones, the totals {summed}")
    return confusion


def certify(about: dict[str, Any], totals: Totals, confusion: Confusion, answers: Sequence[Answers]) -> dict[str, Any]:
    """The certificate in JSON values.

    Args:
      about: see `subject`.
      totals: of the evaluation.
      confusion: likewise.
      answers: to its batches, in order.
    """
    labels = np.concatenate([batch.label[batch.mask] for batch in answers]).astype("<i4")
    start = provenance.describe_start(0)
    del start["start_step"]
    return {
        "eval": json_numbers(metrics.scalars(totals) | {"count": totals.count}),
        "right": {"top1": totals.top1, "top5": totals.top5},
        "interval": {
            "method": "Wilson score",
            "confidence": CONFIDENCE,
            "top1": wilson(totals.top1, totals.count),
            "top5": wilson(totals.top5, totals.count),
        },
        "unreadable": {"count": confusion.unreadable, "counted_as": "wrong"},
        "not_finite": {"count": confusion.unanswered - confusion.unreadable, "counted_as": "wrong"},
        **about,
        "data": about["data"] | {"labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest()},
        "batch_size": len(answers[0].label),
        "provenance": start,
    }


def names_of_outputs(class_names: Sequence[str], outputs: int) -> list[str]:
    """Those of the data's classes, then 'class 1000' and so on: each on one line, in UTF-8 (a folder's may be none)."""
    plain = [" ".join(name.encode("utf-8", "backslashreplace").decode().split()) for name in class_names]
    return [*plain, *(f"class {number}" for number in range(len(class_names), outputs))]


def begin(directory: Path) -> Path:
    """Makes an empty directory to be filled; it takes the place of `directory` when it is `finish`ed.

    What an earlier evaluation in the same work directory did not finish goes.
    """
    part, old = _beside(directory, ".part"), _beside(directory, ".old")
    if old.exists() and not directory.exists():  # a kill came while it was being replaced
        old.rename(directory)
    for stale in directory.parent.glob("*.part"):  # only one process evaluates at a time in a work directory
        shutil.rmtree(stale)
    part.mkdir(parents=True)
    return part


def discard(directory: Path) -> None:
    """Takes away what was begun, if anything."""
    if _beside(directory, ".part").exists():
        shutil.rmtree(_beside(directory, ".part"))


def finish(directory: Path, certificate: dict[str, Any], confusion: Confusion, names: Sequence[str]) -> None:
    """Writes the files and puts the directory in its place; where that fails, what was begun goes.

    Args:
      directory: may be there, and is replaced.
      certificate: see `certify`.
      confusion: what it certifies.
      names: of the outputs.
    """
    part, old = _beside(directory, ".part"), _beside(directory, ".old")
    try:
        _write_csv(part / PER_CLASS, _per_class(confusion, names))
        _write_csv(part / MATRIX, _matrix(confusion, names))
        title = f"{certificate['data']['name']}\n{_with_interval(certificate, 'top1')}, n = {confusion.total:,}"
        draw(confusion, names[: confusion.num_classes], title=title).savefig(
            part / PICTURE, metadata={"Software": None}
        )
        (part / CERTIFICATE).write_text(json.dumps(certificate, indent=2, allow_nan=False) + "\n")
        shutil.rmtree(old, ignore_errors=True)
        if directory.exists():
            directory.rename(old)
        part.rename(directory)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def lines(certificate: dict[str, Any], confusion: Confusion, names: Sequence[str], directory: Path) -> list[str]:
    """What a person wants to read of an evaluation."""
    accuracies, count = [_with_interval(certificate, name) for name in ("top1", "top5")], confusion.total
    loss, unreadable, not_finite = (
        certificate["eval"]["loss"],
        confusion.unreadable,
        certificate["not_finite"]["count"],
    )
    said = {
        "accuracy": [f"{', '.join(accuracies)}, n = {count:,}"],
        "loss": ["not finite" if loss is None else f"{loss:.4f}"],
        "unreadable": [f"{unreadable:,} images, counted as wrong: {BAD_EXAMPLES}"] if unreadable else [],
        "no answer": [f"to {not_finite:,} images, counted as wrong: outputs are NaN"] if not_finite else [],
        "worst": _worst(confusion, names, 5),
        "confused": _most_confused(confusion, names, 5),
        "results": [f"{directory}/", f"{CERTIFICATE}, {PER_CLASS}, {MATRIX}, {PICTURE}"],
    }
    return [f"{part if k == 0 else '':<12} {line}" for part, own in said.items() for k, line in enumerate(own)]


def _with_interval(certificate: dict[str, Any], name: str) -> str:
    """As 'top-1 99.17 % (97.58 to 99.72)'."""
    low, high = certificate["interval"][name]
    return f"top-{name[3:]} {100 * certificate['eval'][name]:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _worst(confusion: Confusion, names: Sequence[str], number: int) -> list[str]:
    """The classes of which the smallest share is right; those without a mistake are none."""
    right, support = confusion.right, confusion.support
    wrong = np.flatnonzero(right < support)
    first = wrong[np.argsort(right[wrong] / support[wrong], kind="stable")][:number]
    width = len(f"{support.max(initial=0):,}")
    return [
        f"{right[k]:>{width},} of {support[k]:>{width},} {100 * right[k] / support[k]:6.2f} %  {names[k]}"
        for k in first
    ]


def _most_confused(confusion: Confusion, names: Sequence[str], number: int) -> list[str]:
    pairs, names = confusion.most_confused(number), [*names, "nothing"]  # NO_ANSWER, -1, is the last
    width = max((len(f"{pair.times:,}") for pair in pairs), default=0)
    return [f"{pair.times:>{width},} x  {names[pair.label]}  taken for  {names[pair.predicted]}" for pair in pairs]


def _per_class(confusion: Confusion, names: Sequence[str]) -> Iterable[Sequence[Any]]:
    yield "class", "name", "images", "right", "accuracy", "low", "high", "predictions"
    columns = zip(confusion.support.tolist(), confusion.right.tolist(), strict=True)
    predictions = confusion.predictions.tolist()
    for number, (images, right) in enumerate(columns):
        numbers = [f"{share:.6f}" for share in (right / images, *wilson(right, images))] if images else ["", "", ""]
        yield number, names[number], images, right, *numbers, predictions[number]


def _matrix(confusion: Confusion, names: Sequence[str]) -> Iterable[Sequence[Any]]:
    """A column for images without an answer, and a row for unreadable ones, where there are any."""
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
