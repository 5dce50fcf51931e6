"""Compares with published numbers, closed forms and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from resnet_jax.programs.comparison.statistics import cochran, holm, mcnemar, over_images, over_seeds, paired_interval
from resnet_jax.programs.evaluation.wilson import wilson


def test_mcnemar_is_the_sum_of_exact_probabilities():
    for first, second in [(0, 0), (0, 5), (6, 0), (7, 1), (3, 9), (40, 61)]:
        total = first + second
        tail = sum(math.comb(total, k) for k in range(min(first, second) + 1)) / 2**total
        assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
        if total:
            assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, total).pvalue, rel=1e-9)
    # Airway hyper-responsiveness, Bentur et al. 2009: 1 against 7, exact p = 0.0703 (Fagerland et al. 2013).
    assert mcnemar(1, 7) == pytest.approx(0.0703125)


def test_mcnemar_of_many_images_does_not_overflow():
    assert mcnemar(20_000, 20_500) == pytest.approx(2 * stats.norm.sf(499 / math.sqrt(40_500)), rel=1e-3)
    assert mcnemar(np.array([0, 3]), np.array([0, 0])).tolist() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("only_first", "only_second", "count", "confidence", "ends"),
    [
        # Bentur et al. 2009 by Tango's interval, in M. W. Fagerland et al., Statistics in Medicine 33, 2014.
        (7, 1, 21, 0.95, (-0.517, -0.026)),
        # scoreci.mp(25, 28, 618, conf.level = 0.9) of the R package PropCIs.
        (25, 28, 618, 0.90, (-0.0148, 0.0247)),
    ],
)
def test_the_interval_has_the_published_ends(only_first, only_second, count, confidence, ends):
    found = paired_interval(only_first, only_second, count, confidence=confidence)
    digits = 3 if count == 21 else 4
    assert tuple(round(end, digits) for end in found) == ends


def test_the_ends_solve_the_score_equation_whose_likelihood_is_maximal():
    only_first, only_second, count = 12, 30, 400
    for d in paired_interval(only_first, only_second, count):
        q = np.linspace(max(0, -d) + 1e-9, (1 - d) / 2 - 1e-9, 2_000_001)  # q: only first right, q + d: only second
        rest = count - only_first - only_second
        likelihood = only_first * np.log(q) + only_second * np.log(q + d) + rest * np.log(1 - 2 * q - d)
        best = q[likelihood.argmax()]
        score = (only_second - only_first - count * d) / math.sqrt(count * (2 * best + d * (1 - d)))
        assert abs(score) == pytest.approx(1.959964, rel=1e-4)


def test_the_interval_is_that_of_a_proportion_if_one_network_is_never_right_alone():
    # The difference is then one proportion, and d = z^2 / (n + z^2) the upper end of Wilson for none of n.
    assert paired_interval(0, 0, 100) == pytest.approx((-wilson(0, 100)[1], wilson(0, 100)[1]), rel=1e-9)
    assert paired_interval(0, 100, 100)[1] == 1.0 and paired_interval(100, 0, 100)[0] == -1.0


def test_the_interval_mirrors_and_excludes_0_whenever_the_exact_test_rejects():
    for first in range(0, 60, 3):
        for second in range(0, 60, 4):
            low, high = paired_interval(first, second, 500)
            assert (-high, -low) == pytest.approx(paired_interval(second, first, 500), abs=1e-9)
            assert low <= (second - first) / 500 <= high
            if mcnemar(first, second) < 0.05:
                assert low > 0 or high < 0


def test_the_interval_contains_the_true_difference_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(300, [0.06, 0.10, 0.84], size=800)
    hits = [low <= 0.04 <= high for low, high in (paired_interval(a, b, 300) for a, b, _ in counts.tolist())]
    assert 0.93 < np.mean(hits) < 0.97


def test_cochran_has_the_published_value():
    # Cochran 1950, table 1: growth of 69 specimens of diphtheria bacilli on four media.
    patterns = {(1, 1, 1, 1): 4, (1, 1, 0, 1): 2, (0, 1, 1, 1): 3, (0, 1, 0, 1): 1, (0, 0, 0, 0): 59}
    right = np.repeat(np.array(list(patterns)), list(patterns.values()), axis=0).T.astype(bool)
    q, p = cochran(right)
    assert right.sum(axis=1).tolist() == [6, 10, 7, 10]
    assert q == pytest.approx(8.05, abs=0.005) and p == pytest.approx(0.045, abs=0.0005)


def test_cochran_of_two_is_mcnemar_without_correction():
    rng = np.random.default_rng(1)
    right = rng.random((2, 200)) < 0.7
    first, second = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    assert cochran(right)[0] == pytest.approx((first - second) ** 2 / (first + second))
    assert cochran(right[[0, 0, 0]]) == (0.0, 1.0)


def test_holm_has_the_numbers_of_its_definition():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0] and holm(np.array([])).tolist() == []


def test_seeds_have_the_interval_and_the_test_of_scipy():
    differences = np.array([0.012, -0.003, 0.009, 0.011, 0.004])
    found, expected = over_seeds(differences), stats.ttest_1samp(differences, 0.0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found[:3] == pytest.approx((np.mean(differences), *expected.confidence_interval(0.95)), rel=1e-9)


def test_equal_differences_tell_nothing_apart():
    assert over_seeds(np.array([0.01, 0.01])) == (0.01, -math.inf, math.inf, 1.0)


def test_images_give_difference_interval_and_test():
    first, second = np.zeros(400, bool), np.zeros(400, bool)
    first[:12], second[5:40] = True, True  # 5 right only by the first, 28 only by the second
    found = over_images(first, second)
    assert found.value == pytest.approx(23 / 400)
    assert (found.low, found.high) == paired_interval(5, 28, 400) and found.p == mcnemar(5, 28)
