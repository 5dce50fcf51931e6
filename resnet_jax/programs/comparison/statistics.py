"""Significance tests and confidence intervals: for networks evaluated on the same images, and for several seeds."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A difference, the ends of its confidence interval, and the p-value of the hypothesis that it is 0."""

    value: float
    low: float
    high: float
    p: float


def mcnemar(only_first: np.ndarray | int, only_second: np.ndarray | int) -> np.ndarray:
    """Returns the two-sided p-value of McNemar's exact test.

    Of the images that exactly one of two equally good networks gets right, each network gets half on average:
    `only_first` is binomial with probability 1/2. Source: Q. McNemar, Psychometrika 12, 1947, with exact probabilities.

    Args:
      only_first: number of images that only the first network gets right; any shape, with one test for each element.
      only_second: number of images that only the second network gets right, of the same shape.
    """
    first, second = np.asarray(only_first), np.asarray(only_second)
    return np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(first, second), first + second, 0.5))


def paired_interval(
    only_first: int, only_second: int, count: int, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Returns the confidence interval of the second network's accuracy minus the first's, on the same images.

    It contains every difference d that a score test does not reject. Let n = count, b = only_first, c = only_second.
    If the difference is d, the maximum likelihood estimate of the probability that only the first network gets an image
    right is the root q of 2 n q^2 + B q + C = 0 with

        B = -b - c + (2 n - c + b) d,    C = -b d (1 - d),

    and the interval ends where |c - b - n d| = z sqrt(n (2 q + d (1 - d))). It excludes 0 exactly if McNemar's test
    without correction rejects. Source: T. Tango, Statistics in Medicine 17, 1998, pages 891 to 908.

    Args:
      only_first: number of images that only the first network gets right.
      only_second: the same for the second network.
      count: number of all images.
      confidence: the confidence level, such as 0.95.
    """
    z = stats.norm.ppf((1 + confidence) / 2)
    return -_upper_end(only_second, only_first, count, z), _upper_end(only_first, only_second, count, z)


def _upper_end(only_first: int, only_second: int, count: int, z: float) -> float:
    difference = (only_second - only_first) / count

    def excess(d: float) -> float:
        b = -only_first - only_second + (2 * count - only_second + only_first) * d
        c = -only_first * d * (1 - d)
        root = (math.sqrt(max(0.0, b * b - 8 * count * c)) - b) / (4 * count)
        return only_second - only_first - count * d + z * math.sqrt(max(0.0, count * (2 * root + d * (1 - d))))

    # If both networks get the same images right, `difference` is a root too; the end of the interval lies above it.
    start = difference + 1e-12
    return 1.0 if start >= 1 else float(brentq(excess, start, 1.0, xtol=1e-12))


def cochran(right: np.ndarray) -> tuple[float, float]:
    """Returns Cochran's Q and its p-value, a test of whether k networks are equally accurate on the same images.

    With G_j the number of images that network j gets right, L_i the number of networks that get image i right:

        Q = (k - 1) (k sum G_j^2 - (sum G_j)^2) / (k sum L_i - sum L_i^2)

    which has about a chi-squared distribution of k - 1 degrees of freedom. Source: W. G. Cochran, Biometrika 37, 1950.

    Args:
      right: [k, N] bool, whether network j gets image i right.
    """
    networks = len(right)
    columns, rows = right.sum(axis=1).astype(float), right.sum(axis=0).astype(float)
    spread = networks * rows.sum() - (rows**2).sum()
    if spread == 0:  # all networks get the same images right
        return 0.0, 1.0
    q = (networks - 1) * (networks * (columns**2).sum() - columns.sum() ** 2) / spread
    return float(q), float(stats.chi2.sf(q, networks - 1))


def holm(p: np.ndarray) -> np.ndarray:
    """Returns p-values adjusted for multiple tests by Holm's method, which controls the family-wise error rate.

    The k-th smallest of m p-values is multiplied by m - k + 1; the results are then made non-decreasing in k. The tests
    may depend on each other. Source: S. Holm, Scandinavian Journal of Statistics 6, 1979.

    Args:
      p: [m], the unadjusted p-values.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result = np.empty(len(p))
    result[order] = adjusted
    return result


def over_images(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Returns the second accuracy minus the first, with its `paired_interval` and the p-value of `mcnemar`.

    Args:
      first: [N] bool, whether the first network classified each image correctly.
      second: [N] bool, the same for the second network.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = paired_interval(only_first, only_second, len(first))
    return Estimate((only_second - only_first) / len(first), low, high, float(mcnemar(only_first, only_second)))


def over_seeds(differences: np.ndarray) -> Estimate:
    """Returns the mean of paired differences with its t interval and the p-value of the t test.

    Interval and test have n - 1 degrees of freedom. If all differences are equal, their variance cannot be estimated:
    the interval is unbounded and p is 1.

    Args:
      differences: [n], at least two, one for each seed.
    """
    count, mean = len(differences), float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    if error <= 1e-12:
        return Estimate(mean, -math.inf, math.inf, 1.0)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Estimate(mean, mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, count - 1)))
