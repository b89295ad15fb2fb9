"""In which order the steps of an expert layout read their words, which follows from it alone.

English says what is related before what it is related to, and the first of two things before the
second. `snmn.training.reading_order_loss` holds attention to that.
"""

from collections.abc import Sequence
from functools import cache

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
