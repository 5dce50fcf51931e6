"""Calibration: how well the probabilities of a network match its accuracy, and the temperature that fits best.

A temperature is given by its `position`, an index in `INVERSE_TEMPERATURES`, a table of values b = 1 / temperature. The
position may be fractional: it then lies between two entries.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from resnet_jax.training.metrics import Answers
from resnet_jax.training.scores import INVERSE_TEMPERATURES

BINS = 15  # number of bins in C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
_STEPS = 12  # number of entries of `INVERSE_TEMPERATURES` from a value b to 2 b
# The range in which the position is fitted. It ends at half of the largest b: the Brier score at b needs values at 2 b.
_LOWEST, _HIGHEST = 0, len(INVERSE_TEMPERATURES) - 1 - _STEPS
TEMPERATURES = tuple(1 / float(INVERSE_TEMPERATURES[position]) for position in (_HIGHEST, _LOWEST))


class Bin(NamedTuple):
    """A bin of the reliability diagram."""

    low: float  # the bin contains the images with low < confidence <= high
    high: float
    images: int  # number of images in the bin
    confidence: float | None  # mean probability of their predicted classes; None for an empty bin
    accuracy: float | None  # fraction of the images that are predicted correctly; None for an empty bin


class Probabilities(NamedTuple):
    """Log-probabilities of N images at temperature 1, and what is needed to compute them at other temperatures."""

    top: np.ndarray  # [N] float64, log-probability of the predicted class
    label: np.ndarray  # [N] float64, log-probability of the correct class, the label
    partition: np.ndarray  # [N, J] float64, log(sum over classes of p^b) for each of the J inverse temperatures b
    right: np.ndarray  # [N] bool, whether the predicted class is the label

    def choose(self, rows: slice) -> "Probabilities":
        """Returns the probabilities of the images that `rows` selects."""
        return Probabilities(*(array[rows] for array in self))

    def confidence(self, position: float) -> np.ndarray:
        """Returns the probability of the predicted class of each image, [N], at the temperature of a position."""
        return np.exp(_inverse(position) * self.top - _interpolated(self.partition, position))

    def nll(self, position: float) -> float:
        """Returns the mean negative log-likelihood of the labels at the temperature of a position, in nats."""
        # The interpolation is linear in the values of the table, so averaging over images first gives the same result.
        partition = _interpolated(self.partition.mean(axis=0, keepdims=True), position)
        return float(partition[0] - _inverse(position) * self.label.mean())

    def brier(self, position: float) -> float:
        """Returns the Brier score at the temperature of a position: the mean of sum_k (p_k - y_k)^2, 0 to 2.

        For a one-hot y the sum is 1 - 2 p_label + sum_k p_k^2. Source: G. W. Brier, Monthly Weather Review 78, 1950.
        """
        partition = _interpolated(self.partition, position)
        squares = np.exp(_interpolated(self.partition, position + _STEPS) - 2 * partition)
        label = np.exp(_inverse(position) * self.label - partition)
        return float(np.mean(1 - 2 * label + squares))


def calibration(answers: Answers) -> dict[str, Any] | None:
    """Returns the calibration of an evaluation as JSON values; None if fewer than two images have a prediction.

    The temperature is fitted on every second image and evaluated on the other images, to avoid an optimistic result.

    Args:
      answers: predictions and probabilities of all images, without padding rows.
    """
    probabilities = _known(answers)
    if len(probabilities.right) < 2:
        return None
    fitted, judged = probabilities.choose(slice(0, None, 2)), probabilities.choose(slice(1, None, 2))
    one = (len(INVERSE_TEMPERATURES) - 1) // 2  # position of temperature 1, in the middle of the table
    best = float(minimize_scalar(fitted.nll, bounds=(_LOWEST, _HIGHEST), method="bounded", options={"xatol": 1e-6}).x)
    return {
        "count": len(probabilities.right),
        **_judge(probabilities, one),
        "bins": BINS,
        "reliability": [bin_._asdict() for bin_ in reliability(probabilities.confidence(one), probabilities.right)],
        "temperature": {
            "value": 1 / _inverse(best),
            "range": TEMPERATURES,
            "fitted_on": len(fitted.right),
            "judged_on": len(judged.right),
            "before": _judge(judged, one),
            "after": _judge(judged, best),
        },
    }


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Returns the reliability diagram in `BINS` bins of equal width.

    Args:
      confidence: [N], probability of the predicted class.
      right: [N] bool, whether the predicted class is the label.
    """
    numbers = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for number in range(BINS):
        inside = numbers == number
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        bins.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return bins


def expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error (ECE): the mean of |accuracy - confidence| over bins of equal width.

    Each bin is weighted by its number of images. Source: M. P. Naeini et al., AAAI 2015; Guo et al., ICML 2017.

    Args:
      confidence: [N], probability of the predicted class.
      right: [N] bool, whether the predicted class is the label.
    """
    bins = reliability(confidence, right)
    gaps = [bin_.images * abs((bin_.accuracy or 0.0) - (bin_.confidence or 0.0)) for bin_ in bins]
    return sum(gaps) / len(right)


def adaptive_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Returns the ECE over bins with equal numbers of images instead of equal width.

    Source: J. Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020, after K. Nguyen and
    B. O'Connor, EMNLP 2015. Images are sorted by confidence, those of equal confidence by their index.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    gaps = [len(part) * abs(right[part].mean() - confidence[part].mean()) for part in parts]
    return float(sum(gaps) / len(right))


def _judge(probabilities: Probabilities, position: float) -> dict[str, float]:
    confidence = probabilities.confidence(position)
    return {
        "nll": probabilities.nll(position),
        "brier": probabilities.brier(position),
        "ece": expected_error(confidence, probabilities.right),
        "adaptive_ece": adaptive_error(confidence, probabilities.right),
    }


def _known(answers: Answers) -> Probabilities:
    """Returns the probabilities of all images except unreadable ones and those with a NaN among their outputs."""
    scores = answers.scores
    top, label, partition = scores.log_probability[:, 0], scores.label_log_probability, scores.log_partition
    known = (scores.top[:, 0] >= 0) & np.isfinite(top) & np.isfinite(label) & np.isfinite(partition).all(axis=1)
    right = answers.predicted == answers.label
    top, label, partition = (array[known].astype(np.float64) for array in (top, label, partition))
    return Probabilities(top, label, partition, right[known])


def _inverse(position: float) -> float:
    """Returns the inverse temperature at a position in `INVERSE_TEMPERATURES`, which may be fractional."""
    return float(INVERSE_TEMPERATURES[0] * 2 ** (position / _STEPS))


def _interpolated(table: np.ndarray, position: float) -> np.ndarray:
    """Interpolates [N, J] at a fractional column: a cubic polynomial through the four nearest columns. Returns [N]."""
    first = int(np.clip(np.floor(position) - 1, 0, table.shape[1] - 4))
    nodes = np.arange(first, first + 4)
    weights = [np.prod([(position - other) / (node - other) for other in nodes if other != node]) for node in nodes]
    return table[:, nodes] @ np.array(weights)
