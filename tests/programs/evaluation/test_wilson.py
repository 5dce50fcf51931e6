import math

import pytest

from resnet_jax.programs.evaluation.wilson import wilson


# R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3, to the four digits printed there.
@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_equals_newcombes_table(correct, count, low, high):
    assert wilson(correct, count) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize(("correct", "count"), [(1, 3), (357, 360), (38_000, 50_000)])
@pytest.mark.parametrize("z", [1.959963984540054])
def test_the_ends_lie_z_standard_deviations_from_the_proportion(correct, count, z):
    for end in wilson(correct, count):
        assert abs(correct / count - end) == pytest.approx(z * math.sqrt(end * (1 - end) / count), rel=1e-9)


def test_the_ends_are_exact_and_symmetric_if_none_or_all_are_correct():
    z2 = 1.959963984540054**2
    assert wilson(0, 50) == (0.0, pytest.approx(z2 / (50 + z2)))
    assert wilson(50, 50) == (pytest.approx(50 / (50 + z2)), 1.0)


def test_more_confidence_is_wider_and_an_empty_sample_gives_0_to_1():
    (low, high), (lower, higher) = wilson(9, 10, confidence=0.5), wilson(9, 10, confidence=0.99)
    assert lower < low < 0.9 < high < higher
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="correct=3 is not in 0..count=2"):
        wilson(3, 2)
