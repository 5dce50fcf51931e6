"""The Wilson score interval of a proportion."""

import math
import statistics

CONFIDENCE = 0.95


def wilson(correct: int, count: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the ends of the interval of proportions p with |x - p| <= z sigma(p), where x = correct / count.

    With sigma(p)^2 = p (1 - p) / n, n = count and z the normal quantile of (1 + confidence) / 2, the ends are the roots
    of a quadratic equation:

        (x + z^2 / 2n +- z sqrt(x (1 - x) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    The interval stays within 0..1 and has a positive width even if all examples are correct. Source: E. B. Wilson,
    "Probable inference, the law of succession, and statistical inference", JASA 22, 1927; R. G. Newcombe, Statistics in
    Medicine 17, 1998, compares it (method 3) with six other intervals.

    Args:
      correct: number of correct examples in the sample.
      count: size of the sample; an empty sample gives the interval 0 to 1.
      confidence: the confidence level, such as 0.95.

    Returns:
      The lower and the upper end, in 0..1.

    Raises:
      ValueError: `correct` is not in 0..count.
    """
    if not 0 <= correct <= count:
        raise ValueError(f"correct={correct} is not in 0..count={count}")
    if count == 0:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    proportion, spread = correct / count, z * z / count
    centre = proportion + spread / 2
    reach = math.sqrt(spread * (proportion * (1 - proportion) + spread / 4))
    low, high = (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)
    # Return exactly 0 and 1, not 0 and 1 with a rounding error.
    return 0.0 if correct == 0 else low, 1.0 if correct == count else high
