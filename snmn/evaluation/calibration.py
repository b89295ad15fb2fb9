"""Whether a model's confidence is the share of its predictions that are right.

Definitions: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On calibration of modern neural networks,
ICML 2017, section 2. Confidence is the softmax probability of the predicted answer (or cell).
"""

import math
from collections.abc import Sequence

from snmn.evaluation.auroc import auroc

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

    It is 1 where one of ``higher`` always has more confidence than one of ``lower``, 0.5 where
    confidence tells nothing; ``low`` and ``high`` as of `auroc`. Raises ``ValueError`` for an empty
    group.
    """
    found = auroc([*higher, *lower], [True] * len(higher) + [False] * len(lower))
    if found is None:
        raise ValueError("a group is empty")
    return {"area": found["auroc"], "low": found["low"], "high": found["high"]}
