"""The log lines that summarize an evaluation: accuracy, the worst classes and the most frequent confusions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.programs.evaluation.certificate import accuracy_with_interval
from resnet_jax.programs.evaluation.confusion import Confusion
from resnet_jax.programs.evaluation.result_directory import BAD_EXAMPLES, Results
from resnet_jax.programs.evaluation.table import Row
from resnet_jax.text import four_decimals, labelled, labelled_lines, printable

_LISTED = 5  # number of worst classes, and of most frequent confusions, in the summary


def summary_lines(results: Results, directory: Path) -> list[str]:
    """Returns the log lines that summarize one evaluation, whose results were written to `directory`."""
    certificate, confusion, names, _ = results
    known = [metric for metric in ("top1", "top5") if certificate["interval"][metric] is not None]
    accuracies = [accuracy_with_interval(certificate, metric) for metric in known]
    loss, unreadable, not_finite = certificate["eval"]["loss"], confusion.unreadable, certificate["not_finite"]["count"]
    sections = {
        "accuracy": [f"{', '.join(accuracies)}, n = {confusion.total:,}"],
        "several": _several_labels(certificate.get("several_labels")),
        "loss": ["not finite" if loss is None else four_decimals(loss)],
        "unreadable": [f"{unreadable:,} images, counted as wrong: {BAD_EXAMPLES}"] if unreadable else [],
        "no answer": [f"for {not_finite:,} images, counted as wrong: outputs are NaN"] if not_finite else [],
        "calibration": _calibration(certificate["calibration"]),
        "worst": _worst(confusion, names),
        "confused": _most_confused(confusion, names),
        "results": [f"{directory}/", ", ".join(results.files)],
    }
    return [line for label, lines in sections.items() for line in labelled_lines(label, lines)]


def progress_lines(row: Row) -> list[str]:
    """Returns the log line for one of several evaluations, to be logged as soon as this one is done."""
    accuracy = f"{accuracy_with_interval(row.certificate, 'top1')}, n = {row.certificate['eval']['count']:,}"
    return [labelled("evaluated", f"{printable(row.set_name)} at {row.size} px: {accuracy}")]


def _several_labels(several: dict[str, Any] | None) -> list[str]:
    if not several or several["top1"] is None:
        return []
    low, high = (100 * end for end in several["interval"])
    return [
        f"right labels: top-1 {100 * several['top1']:.2f} % ({low:.2f} to {high:.2f}), n = {several['count']:,}; "
        f"{several['without_label']:,} images without a label are left out"
    ]


def _calibration(calibration: dict[str, Any] | None) -> list[str]:
    if calibration is None:
        return []
    temperature = calibration["temperature"]
    before, after = (100 * temperature[when]["ece"] for when in ("before", "after"))
    return [
        f"ECE {100 * calibration['ece']:.2f} %, adaptive {100 * calibration['adaptive_ece']:.2f} %, "
        f"Brier {calibration['brier']:.4f}",
        f"temperature {temperature['value']:.3f}: logits divided by it, as fits half of the images best, "
        f"change the ECE of the other half from {before:.2f} to {after:.2f} %",
    ]


def _worst(confusion: Confusion, names: Sequence[str]) -> list[str]:
    """Returns a line for each of the five classes of lowest accuracy; classes without mistakes are left out."""
    correct, support = confusion.correct, confusion.support
    imperfect = np.flatnonzero(correct < support)
    worst = imperfect[np.argsort(correct[imperfect] / support[imperfect], kind="stable")][:_LISTED]
    width = len(f"{support.max(initial=0):,}")
    return [
        f"{correct[k]:>{width},} of {support[k]:>{width},} {100 * correct[k] / support[k]:6.2f} %  {names[k]}"
        for k in worst
    ]


def _most_confused(confusion: Confusion, names: Sequence[str]) -> list[str]:
    # The prediction of an image without an answer is NO_ANSWER, -1; index -1 selects the last name, "nothing".
    pairs, names = confusion.most_confused(_LISTED), [*names, "nothing"]
    width = max((len(f"{pair.times:,}") for pair in pairs), default=0)
    return [f"{pair.times:>{width},} x  {names[pair.label]}  taken for  {names[pair.predicted]}" for pair in pairs]
