"""How well a number tells two classes apart: the area under the ROC curve."""

import math
from collections.abc import Sequence

import numpy as np

from snmn.evaluation.intervals import Z95


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> dict | None:
    """The AUROC of scores, with its 95% confidence interval; None where all are of one class.

    It is the probability that a positive case scores higher than a negative one, a tie counting
    half. Interval after J. A. Hanley, B. J. McNeil, The meaning and use of the area under a
    receiver operating characteristic (ROC) curve, Radiology 143, 1982; cut to [0, 1]. Takes cases
    as independent draws.
    """
    scores, positive = np.asarray(scores, float), np.asarray(positive, bool)
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    area = (ranks[positive].sum() - many * (many + 1) / 2) / (many * few)
    both_higher, both_lower = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (many - 1) * (both_higher - area**2)
        + (few - 1) * (both_lower - area**2)
    ) / (many * few)
    spread = Z95 * math.sqrt(max(variance, 0))
    return {
        "positive": many,
        "negative": few,
        "auroc": round(float(area), 6),
        "low": round(max(0.0, float(area - spread)), 6),
        "high": round(min(1.0, float(area + spread)), 6),
    }
