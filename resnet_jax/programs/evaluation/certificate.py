"""The certificate of an evaluation: what was evaluated, on which data, the result and its confidence intervals."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.sources import Source
from resnet_jax.experiment import Evaluation
from resnet_jax.programs.evaluation.calibration import calibration
from resnet_jax.programs.evaluation.confusion import Confusion, count_pairs
from resnet_jax.programs.evaluation.wilson import CONFIDENCE, wilson
from resnet_jax.reporting import provenance
from resnet_jax.text import json_numbers, printable, result_name
from resnet_jax.training import metrics
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.weights.select import SelectedWeights

_HASHED_IMAGES = 16


def describe_subject(evaluation: Evaluation, selected: SelectedWeights) -> dict[str, Any]:
    """Returns what is evaluated as JSON values: weights, network, data, classes and preprocessing.

    Two evaluations for which these values are equal have the same result.
    """
    computation, class_names = evaluation.computation, evaluation.data.class_names
    source, step = evaluation.data.eval_loader.source, computation.eval_step
    return {
        "weights": {
            "sha256": selected.sha256,
            "path": selected.path,
            "step": selected.step,
            "kind": selected.kind,
            **({"statistics_images": selected.statistics_images} if selected.statistics_images else {}),
        },
        "network": computation.network | {"dtype": computation.dtype},
        "data": {"name": source.name, "examples": len(source), "sample_sha256": _sample_hash(source)},
        "classes": {
            "number": len(class_names),
            "outputs": num_outputs(selected),
            "fingerprint": fingerprint(class_names),
            **({} if selected.outputs is None else {"output_of_class": selected.outputs[: len(class_names)]}),
            **({} if step.num_compared is None else {"compared": step.num_compared}),
        },
        # The normalization of the pixels is in "network", as its settings input.*.
        "preprocessing": _without_new_defaults(evaluation.preprocessing) | ({"flip": True} if step.flip else {}),
    }


def _sample_hash(source: Source) -> str:
    """Returns the SHA-256 of 16 evenly spaced images, to tell apart data sets of equal name, size and labels."""
    digest = hashlib.sha256()
    for index in np.linspace(0, len(source) - 1, _HASHED_IMAGES).astype(int).tolist():
        try:
            image = source[index].image
        except (OSError, ValueError):  # no error here: the evaluation itself reports unreadable images later
            image = b"unreadable"
        digest.update(image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _without_new_defaults(preprocessing: EvalPreprocessing) -> dict[str, Any]:
    """Returns the settings as a dict, without `fast_dct` if it is off.

    `fast_dct` is newer than the other settings: evaluations without it keep the directory name of earlier versions.
    """
    settings = dataclasses.asdict(preprocessing)
    return settings if preprocessing.fast_dct else {key: settings[key] for key in settings if key != "fast_dct"}


def directory_name(subject: dict[str, Any]) -> str:
    """Returns the name of the result directory, such as '808-digits-1.0.0-test-16px-trained-3f9a2c'.

    It consists of the file name of the weights (here step 808), the data set, the image size, the kind of weights, and
    six hexadecimal digits of a hash of `subject`. The hash contains the SHA-256 of the weights, not their path: moving
    the weights to another folder keeps the name; other weights, data or preprocessing change it.

    Args:
      subject: what is evaluated, from `describe_subject`.
    """
    weights = subject["weights"]
    hashed = subject | {"weights": weights["sha256"]}
    readable = [
        Path(weights["path"]).name,
        subject["data"]["name"],
        f"{subject['preprocessing']['image_size']}px",
        weights["kind"] or "",
    ]
    return result_name(readable, json.dumps(hashed, sort_keys=True), longest=80)


def num_outputs(selected: SelectedWeights) -> int:
    """Returns the number of outputs of the network, which may exceed the number of classes of the data."""
    return selected.variables["params"]["head"]["bias"].shape[-1]


def output_names(class_names: Sequence[str], outputs: int, *, numbers: Sequence[int] | None = None) -> list[str]:
    """Returns a name for each output of the network: the class names of the data, then names such as 'class 1000'.

    Each name is one line of valid UTF-8: line breaks become spaces, and control characters and bytes that are not
    UTF-8, as a folder name may contain, become backslash escapes.

    Args:
      class_names: class names of the data, which belong to the first outputs.
      outputs: number of outputs; there may be more outputs than classes.
      numbers: index of each output in the weights file, for names such as 'class 1000'; None for 0, 1, 2, ...
    """
    lines = (" ".join(name.encode("utf-8", "backslashreplace").decode().split()) for name in class_names)
    plain = list(map(printable, lines))
    return [*plain, *(f"class {number}" for number in (numbers or range(outputs))[len(class_names) :])]


def count_answers(answers: Answers, totals: Totals, *, num_classes: int, num_outputs: int) -> Confusion:
    """Returns the confusion matrix of all images; raises ValueError if its sums disagree with `totals`."""
    confusion = count_pairs([answers], num_classes=num_classes, num_outputs=num_outputs)
    counted, summed = (confusion.total, int(confusion.correct.sum())), (totals.count, totals.top1)
    if counted != summed:
        raise ValueError(f"the confusion matrix has (examples, correct) = {counted}, the totals have {summed}")
    return confusion


def make_certificate(
    subject: dict[str, Any], totals: Totals, confusion: Confusion, answers: Answers, *, batch_size: int
) -> dict[str, Any]:
    """Returns the certificate as JSON values.

    Args:
      subject: what was evaluated, from `describe_subject`.
      totals: loss and numbers of correct predictions, summed over all examples.
      confusion: the confusion matrix of all examples.
      answers: labels, predictions and probabilities of all images, in order.
      batch_size: number of images in a batch; the certificate states it.
    """
    outputs = subject["classes"]["outputs"]
    top5 = totals.top5 if metrics.top5_is_meaningful(outputs) else None
    start = provenance.describe_start(0)
    del start["start_step"]
    return {
        "eval": json_numbers(metrics.scalars(totals, num_classes=outputs) | {"count": totals.count}),
        "right": {"top1": totals.top1, "top5": top5},
        "interval": {
            "method": "Wilson score",
            "confidence": CONFIDENCE,
            "top1": wilson(totals.top1, totals.count),
            "top5": None if top5 is None else wilson(top5, totals.count),
        },
        "unreadable": {"count": confusion.unreadable, "counted_as": "wrong"},
        "not_finite": {"count": confusion.unanswered - confusion.unreadable, "counted_as": "wrong"},
        "calibration": calibration(answers),
        **subject,
        "data": subject["data"] | {"labels_sha256": hashlib.sha256(answers.label.astype("<i4")).hexdigest()},
        "batch_size": batch_size,
        "provenance": start,
    }


def accuracy_with_interval(certificate: Mapping[str, Any], metric: str) -> str:
    """Formats 'top1' or 'top5' with its confidence interval in percent: 'top-1 99.17 % (97.58 to 99.72)'."""
    low, high = certificate["interval"][metric]
    return f"top-{metric[3:]} {100 * certificate['eval'][metric]:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
