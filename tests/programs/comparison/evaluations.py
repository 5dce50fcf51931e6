"""Results of made-up evaluations on disk."""

import json
from pathlib import Path

import numpy as np

from resnet_jax.programs.evaluation import answers
from resnet_jax.programs.evaluation.answers import StoredAnswers

NAMES = ("cat", "dog", "emu", "class 3")
DATA = {"name": "digits:1.0.0/test", "sample_sha256": "ab" * 32}


def evaluated(
    directory: Path, right, *, label=None, data=None, fingerprint="f0", time="2026-01-01T00:00:00", weights=None
) -> Path:
    """Writes the result of an evaluation in which the images marked in `right` [N] are right; returns its directory."""
    right = np.asarray(right, bool)
    label = np.arange(len(right), dtype=np.int32) % 3 if label is None else np.asarray(label, np.int32)
    first = np.where(right, label, (label + 1) % 3).astype(np.int32)
    first[label < 0] = -1
    subject = {
        "weights": {"path": str(directory), "sha256": directory.name, **(weights or {})},
        "data": {**DATA, "examples": len(right), **(data or {})},
        "classes": {"number": 3, "outputs": 4, "fingerprint": fingerprint},
    }
    stored = StoredAnswers(
        subject=subject,
        names=NAMES,
        ids=np.array([f"{k}.jpg".encode() for k in range(len(right))]),
        label=label,
        top=np.stack([first, (first + 1) % 3], axis=1).astype(np.int32),
        probability=np.tile(np.float32([0.75, 0.25]), (len(right), 1)),
        label_log_probability=np.log(np.where(right, 0.75, 0.25)).astype(np.float32),
    )
    directory.mkdir(parents=True)
    answers.write(directory / "answers.npz", stored)
    certificate = subject | {"provenance": {"time": time}}
    (directory / "certificate.json").write_text(json.dumps(certificate))
    return directory


def run(path: Path, right, **options) -> str:
    """The same below the work directory of a run; returns its path."""
    evaluated(path / "evaluations" / options.pop("name", "1-digits"), right, **options)
    return str(path)


def accuracies(count: int, *wrong) -> np.ndarray:
    """Marks all of `count` images as right but those whose numbers are given."""
    right = np.ones(count, bool)
    right[list(wrong)] = False
    return right
