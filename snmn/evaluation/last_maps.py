"""The maps that an answer is made from."""

from collections.abc import Mapping

import numpy as np

from snmn.figures.trace import Trace
from snmn.network.model import SNMN

DESCRIBES = {"_DescribeOne": 1, "_DescribeTwo": 2}  # and how many maps they take


def answering_modules(model: SNMN) -> dict[str, int]:
    """A model's modules that answers are made by, and how many maps each takes."""
    return {name: module.inputs for name, module in model.nmn.answer_modules.items()}


def last_maps(traced: Trace, answering: Mapping[str, int] = DESCRIBES) -> list[np.ndarray]:
    """The maps [H,W] that the answer is made from: the last one, for DescribeTwo the last two.

    They are those before the last Describe, which may leave zeros behind; ``answering`` as for
    `answering_modules`.
    """
    steps = traced.active_steps
    if not steps:
        return []
    last = steps[-1].module
    state = steps[-2] if last in answering and len(steps) > 1 else steps[-1]
    top, count = int(state.pointer.argmax()), answering.get(last, 1)
    below = [state.stack[place] for place in range(top - 1, max(top - count, -1), -1)]
    return [state.attention, *below][:count]
