"""Whether a model's confidence is the share of its predictions that are right.

Definitions: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On calibration of modern neural networks,
ICML 2017, section 2. Confidence is the softmax probability of the predicted answer (or cell).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from snmn.evaluation.intervals import Z95

BINS = 10


def reliability(confidences: Sequence[float], correct: Sequence[int]) -> dict:
    """Expected calibration error, and the bins it is made of.

    Ten bins of equal width; the upper edge of a bin belongs to it. ``ece`` is the mean, weighted
    by the number of predictions, of each bin's distance between confidence and accuracy. Empty
    bins have neither.
    """
    members: list[list[tuple[float, int]]] = [[] for _ in range(BINS)]
    for pair in zip(confidences, correct, strict=True):
        members[max(0, math.ceil(pair[0] * BINS) - 1)].append(pair)
    bins, error = [], 0.0
    for place, pairs in enumerate(members):
        entry = {"from": place / BINS, "to": (place + 1) / BINS, "predictions": len(pairs)}
        if pairs:
            confidence = sum(pair[0] for pair in pairs) / len(pairs)
            accuracy = sum(pair[1] for pair in pairs) / len(pairs)
            entry |= {"confidence": confidence, "accuracy": accuracy}
            error += len(pairs) * abs(confidence - accuracy)
        bins.append(entry)
    return {"ece": error / max(1, len(confidences)), "bins": bins}


def separation(higher: Sequence[float], lower: Sequence[float]) -> dict:
    """How well a threshold on confidence tells two groups apart: the area under the ROC curve.

    It is the probability that one drawn from ``higher`` has more confidence than one from
    ``lower``, ties half: 1 where it always has, 0.5 where confidence tells nothing. ``low`` and
    ``high`` are a 95% interval, of J. Hanley and B. McNeil, The meaning and use of the area under a
    receiver operating characteristic curve, Radiology 143, 1982. Raises ``ValueError`` for an empty
    group.
    """
    if not (higher and lower):
        raise ValueError("a group is empty")
    ascending = sorted(lower)
    wins = sum(bisect_left(ascending, c) + bisect_right(ascending, c) for c in higher) / 2
    n, m = len(higher), len(lower)
    area = wins / (n * m)
    above, below = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (above - area**2) + (m - 1) * (below - area**2)
    width = Z95 * math.sqrt(max(0.0, spread) / (n * m))
    return {
        "area": round(area, 6),
        "low": round(max(0.0, area - width), 6),
        "high": round(min(1.0, area + width), 6),
    }
