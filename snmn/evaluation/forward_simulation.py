"""Forward simulation: how well a trace alone tells whether its answer is right.

The paper asks people to predict from the steps whether the network is right (its section 4.3).
Here a logistic regression does, from a few quantities of the trace: none is the answer, or how
sure it is. The regression is cross-validated: questions are predicted by one that was fitted to the
questions about other images. An AUROC of one half is that of someone who learns nothing from the
steps.
"""

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from snmn.common.logistic_regression import fit_logistic_regression
from snmn.evaluation.last_maps import last_maps
from snmn.evaluation.marks import MARKS, Look, Mark
from snmn.figures.trace import Trace

FOLDS = 5
QUANTITIES = (
    "steps",
    "least module weight",
    "mean module weight",
    "least certain pointer",
    "mean spread over words",
    "most spread over words",
    "mean spread of maps",
    "least spread of maps",
    "peak of the last maps",
    "last maps on objects",
    *MARKS,
)


def trace_quantities(
    traced: Trace, marks: Sequence[Mark], look: Look | None, answering: Mapping[str, int]
) -> np.ndarray:
    """`QUANTITIES` of a trace with its marks. Without a look at the image no map lies on objects.

    ``answering`` as of `answering_modules`.
    The spread of weights is their entropy, as a share of that of even ones.
    """
    steps = traced.active_steps or traced.steps[:1]
    weights = [step.probability for step in steps]
    words = [_spread(step.words) for step in steps]
    maps = [_spread(step.attention.ravel()) for step in steps]
    last = last_maps(traced, answering)
    on_objects = [float((one * look.objects).sum()) for one in last] if look else []
    names = {mark.name for mark in marks}
    return np.array(
        [
            len(steps),
            min(weights),
            np.mean(weights),
            min(step.pointer.max() for step in steps),
            np.mean(words),
            max(words),
            np.mean(maps),
            min(maps),
            max((float(one.max()) for one in last), default=0.0),
            max(on_objects, default=0.0),
            *(name in names for name in MARKS),
        ],
        dtype=float,
    )


def _spread(weights: np.ndarray) -> float:
    positive = weights[weights > 0]
    return float(-(positive * np.log(positive)).sum() / max(np.log(len(weights)), 1e-6))


def cross_validated(
    quantities: np.ndarray, right: np.ndarray, images: Sequence[str]
) -> np.ndarray | None:
    """The log odds [Q] of being right that quantities [Q,F] give, fold by fold.

    ``images`` are the questions' file names: all questions about one are in one fold. None where
    some fold's others are all right or all wrong.
    """
    folds = np.array([crc32(name.encode()) % FOLDS for name in images])
    logits = np.zeros(len(right))
    for fold in range(FOLDS):
        held_out = folds == fold
        seen = quantities[~held_out]
        if not held_out.any():
            continue
        if not len(seen) or right[~held_out].all() or not right[~held_out].any():
            return None
        centre, scale = seen.mean(axis=0), seen.std(axis=0)
        scale[scale < 1e-9] = 1.0
        regression = fit_logistic_regression((seen - centre) / scale, right[~held_out])
        logits[held_out] = regression.logits((quantities[held_out] - centre) / scale)
    return logits
