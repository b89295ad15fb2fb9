"""How far a share that was counted may lie from the true one."""

import math

Z95 = 1.959964  # the normal distribution has 95% of its mass within this many deviations


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95% confidence interval of a share: Wilson's score interval.

    Unlike the usual share +- 1.96 deviations it stays within [0, 1] and has a width for shares of
    0 and 1. Takes questions as independent draws; those about one image are not quite.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 1927. Raises ``ValueError`` for a total
    below 1.
    """
    if total < 1:
        raise ValueError("a share of nothing has no interval")
    share, weight = correct / total, Z95**2 / total
    centre = share + weight / 2
    spread = Z95 * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    low, high = ((centre + sign * spread) / (1 + weight) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)
