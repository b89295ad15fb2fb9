"""In which order a layout's steps find their words in the sentence: a signal on word attention.

Answers and layouts leave open which phrase a step reads. "Do the cylinder and the cube in front of
the brown object have the same color?" takes Find, Find, Transform, Filter, DescribeTwo, and is also
answered by whoever finds the brown object first, goes from the cylinder to what has its color, and
compares places. And a chain's first object often need not be found at all: the leftmost cube is the
cube left of the sphere, whatever the sphere.

English settles it without any label: what is related is named before what it is related to, and the
first of two things before the second. So the words of a layout's steps stand in the order that
`next_read` gives, which follows from the layout alone.

Not in the paper, and off in the published configurations. It needs expert layouts.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from snmn.vocabulary import MODULES

NOBODY = -1  # no step is known to be read next


@cache
def next_read(layout: tuple[str, ...]) -> tuple[int, ...]:
    """For each step of a layout, the step whose words come next in the sentence, or `NOBODY`.

    Only steps whose words name objects or relations have an order; Scene and the Describes have no
    words of their own. "There is a sphere; how many cubes are left of it?" says the last relation
    after what it starts from, so a last relation that one Describe follows is left unordered.
    Steps that take from an empty stack end the order: the layout is none.
    """
    phrases: list[list[int]] = []  # Of each set on the stack: its steps as they are read.
    following = [NOBODY] * len(layout)

    def order(steps: Sequence[int]) -> None:
        for step, after in zip(steps, steps[1:], strict=False):
            following[step] = after

    for step, module in enumerate(layout):
        if module == "_NoOp":
            continue
        if module == "_Find":
            phrases.append([step])
        elif module == "_Scene":
            phrases.append([])
        elif module in ("_Transform", "_Filter") and phrases:
            phrases[-1].insert(0, step)
        elif module in ("_And", "_Or", "_DescribeTwo") and len(phrases) > 1:
            second = phrases.pop()
            phrases[-1] += second
        elif module == "_DescribeOne" and phrases:
            related = _last_relation(layout[:step])
            order(phrases[-1][:related])
            phrases[-1] = phrases[-1][related:]
        else:
            break
    for steps in phrases:
        order(steps)
    return tuple(following)


def _last_relation(layout: Sequence[str]) -> int:
    """How many steps a relation takes that ends a layout: a Transform, and maybe its Filter."""
    filtered = layout[-1] == "_Filter"
    return 1 + filtered if layout[-1 - filtered] == "_Transform" else 0


def reading_order_loss(attention: Tensor, layout: Tensor, length: Tensor) -> Tensor:
    """How far the words of steps stand from their order in the sentence, 0 where they follow it.

    A step's place is the mean position of the words it attends to. Each step should be at least
    a word before the one that is read next; what is missing to that is summed over steps, as a
    share of the question's length, and averaged over questions.

    Shapes: attention [N,T,S] to words, layout [N,T] module indices, length [N] words.
    """
    rows = [next_read(tuple(MODULES[index] for index in row)) for row in layout.tolist()]
    following = torch.tensor(rows, device=attention.device)  # [N,T]
    positions = torch.arange(attention.shape[2], device=attention.device, dtype=attention.dtype)
    place = attention @ positions  # [N,T]
    after = place.gather(1, following.clamp_min(0))
    missing = (1 + place - after).clamp_min(0) * (following != NOBODY)
    return (missing.sum(1) / length).mean()
