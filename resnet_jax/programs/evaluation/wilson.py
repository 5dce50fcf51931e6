"""How sure a proportion is that was counted in a sample."""

import math
import statistics

CONFIDENCE = 0.95


def wilson(right: int, count: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927): the p for which |right / count - p| is at most z sigma(p).

    With sigma(p)^2 = p (1 - p) / count, x = right / count and z the normal quantile of (1 + confidence) / 2, its ends
    solve a quadratic equation:

        (x + z^2 / 2n +- z sqrt(x (1 - x) / n + z^2 / 4n^2)) / (1 + z^2 / n),  n = count

    It never leaves 0..1 and has a width even where all were right (E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 22, 1927; compared with six others in R. G. Newcombe, Statistics in
    Medicine 17, 1998, method 3).

    Args:
      right: how many of the sample were right.
      count: size of the sample; of none nothing is known: 0 to 1.
      confidence: how often, of many such samples, the interval is to hold the proportion of the whole.

    Returns:
      Its lower and upper end, in 0..1.

    Raises:
      ValueError: `right` is not in 0..count.
    """
    if not 0 <= right <= count:
        raise ValueError(f"{right} right of {count}")
    if count == 0:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    proportion, spread = right / count, z * z / count
    centre = proportion + spread / 2
    reach = math.sqrt(spread * (proportion * (1 - proportion) + spread / 4))
    low, high = (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)
    # Exact where rounding would leave a last digit.
    return 0.0 if right == 0 else low, 1.0 if right == count else high
