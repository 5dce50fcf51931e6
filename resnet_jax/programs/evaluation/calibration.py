"""Calibration: whether the probabilities of a network are right as often as they say, and the best temperature."""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from resnet_jax.training.metrics import Answers
from resnet_jax.training.scores import INVERSE_TEMPERATURES

BINS = 15  # of C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
_STEPS = 12  # steps of `INVERSE_TEMPERATURES` in a factor of 2
# Inverse temperatures that are tried, as positions in the table. The Brier score of b needs the entry of 2 b.
_LOWEST, _HIGHEST = 0, len(INVERSE_TEMPERATURES) - 1 - _STEPS
TEMPERATURES = tuple(1 / float(INVERSE_TEMPERATURES[position]) for position in (_HIGHEST, _LOWEST))


class Bin(NamedTuple):
    """A bin of the reliability diagram."""

    low: float  # the bin has the images with low < confidence <= high
    high: float
    images: int  # number of images
    confidence: float | None  # their mean probability of the predicted class; None without images
    accuracy: float | None  # fraction of them that are right; None without images


class Probabilities(NamedTuple):
    """The log-probabilities of N images, and the logarithms of the sums that change their temperature."""

    top: np.ndarray  # [N] float64, log-probability of the predicted class
    label: np.ndarray  # [N] float64, log-probability of the correct class, the label
    partition: np.ndarray  # [N, J] float64, see `Scores.log_partition`
    right: np.ndarray  # [N] bool, whether the predicted class is the label

    def choose(self, rows: slice) -> "Probabilities":
        """Returns the images of some rows."""
        return Probabilities(*(array[rows] for array in self))

    def confidence(self, position: float) -> np.ndarray:
        """Returns the probability of the predicted class at an inverse temperature, given by position: [N]."""
        return np.exp(_inverse(position) * self.top - _interpolated(self.partition, position))

    def nll(self, position: float) -> float:
        """Returns the mean negative log-likelihood of the labels at an inverse temperature, in nats."""
        # Linear in the table, so the mean is taken first.
        partition = _interpolated(self.partition.mean(axis=0, keepdims=True), position)
        return float(partition[0] - _inverse(position) * self.label.mean())

    def brier(self, position: float) -> float:
        """Returns the Brier score at an inverse temperature: the mean of sum_k (p_k - y_k)^2, 0 to 2.

        It is 1 - 2 p_label + sum_k p_k^2. Source: G. W. Brier, Monthly Weather Review 78, 1950.
        """
        partition = _interpolated(self.partition, position)
        squares = np.exp(_interpolated(self.partition, position + _STEPS) - 2 * partition)
        label = np.exp(_inverse(position) * self.label - partition)
        return float(np.mean(1 - 2 * label + squares))


def calibration(answers: Answers) -> dict[str, Any] | None:
    """Returns the calibration of an evaluation as JSON values; None if fewer than two images have an answer.

    The temperature is fitted on every second image and judged on the others: a number that was fitted to the images on
    which it is judged would look better than it is.

    Args:
      answers: of all images, without padding.
    """
    probabilities = _known(answers)
    if len(probabilities.right) < 2:
        return None
    fitted, judged = probabilities.choose(slice(0, None, 2)), probabilities.choose(slice(1, None, 2))
    one = (len(INVERSE_TEMPERATURES) - 1) // 2  # the position of temperature 1
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
    """Returns the reliability diagram in `BINS` bins of equal width; [N] float, [N] bool."""
    numbers = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for number in range(BINS):
        inside = numbers == number
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        bins.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return bins


def expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error (ECE): the mean of |accuracy - confidence| over bins of equal width.

    Bins count by their number of images. Source: M. P. Naeini et al., AAAI 2015; Guo et al., ICML 2017.

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
    B. O'Connor, EMNLP 2015. Images are sorted by confidence, those of equal confidence by their place in the data.
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
    """Returns the probabilities of the images that were read and have an answer."""
    scores = answers.scores
    top, label, partition = scores.log_probability[:, 0], scores.label_log_probability, scores.log_partition
    known = (scores.top[:, 0] >= 0) & np.isfinite(top) & np.isfinite(label) & np.isfinite(partition).all(axis=1)
    right = answers.predicted == answers.label
    top, label, partition = (array[known].astype(np.float64) for array in (top, label, partition))
    return Probabilities(top, label, partition, right[known])


def _inverse(position: float) -> float:
    """Returns the inverse temperature at a position, perhaps between two entries of `INVERSE_TEMPERATURES`."""
    return float(INVERSE_TEMPERATURES[0] * 2 ** (position / _STEPS))


def _interpolated(table: np.ndarray, position: float) -> np.ndarray:
    """Interpolates a table [N, J] between its columns by a polynomial of degree 3 through the nearest four: [N]."""
    first = int(np.clip(np.floor(position) - 1, 0, table.shape[1] - 4))
    nodes = np.arange(first, first + 4)
    weights = [np.prod([(position - other) / (node - other) for other in nodes if other != node]) for node in nodes]
    return table[:, nodes] @ np.array(weights)
