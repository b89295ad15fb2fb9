"""Random shapes of questions: any set within any set, as deep as a layout's steps allow.

A shape is one of `families`. CLEVR's 90 families are those that people thought of; here a tree is
grown at random, so that hardly two questions of a batch have the same.
"""

import random

from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.language.composition_kinds import contains_kind

# What is asked: about as often as in CLEVR, fewer numbers, whose sets are short, and more counts,
# which are learnt last.
_ASKED = {"count": 0.34, "exist": 0.17, "query": 0.26, "number": 0.08, "equal": 0.15}
# How often the sets of a question may take so many steps: most are deep, where there is most to
# combine, but those that are given up for want of a fitting scene are deep as well.
_SIZES = {1: 0.3, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0, 6: 2.0, 7: 2.0, 8: 1.0}
_NUMBERS = ("equal_integer", "greater_than", "less_than")
# Two objects rarely have one color.
_COMPARED = {"size": 1.0, "color": 1.5, "material": 1.0, "shape": 1.0}
# A set with room for more steps is seldom one without relations.
_WEIGHTS = {"scene": 0.15, "relate": 1.0, "same": 0.9, "and": 1.0, "either": 1.1}
_EITHER_THING = 0.1  # "the thing that is a cube or a ball" is seldom one object
_OTHERS = 0.25  # of the samenesses: "anything else of the same size"
_SAID = 0.25  # of the unions: "red things that are ..."
_COUNTED_UNIONS = 0.6  # of the sets that are counted: two maps add up if they are of one scale


def draw_shape(rng: random.Random, *, steps: int, held_out: bool = False) -> tuple:
    """A random shape whose sets take ``steps`` at most, when hardly anything is filtered.

    With ``held_out`` it contains none of the kinds of `composition_kinds`.
    """
    while True:
        shape = _question(rng, steps)
        if not (held_out and contains_kind(shape)):
            return shape


def _question(rng: random.Random, steps: int) -> tuple:
    kind = _choose(rng, _ASKED)
    room = _choose(rng, {size: weight for size, weight in _SIZES.items() if size <= steps})
    if kind in ("count", "exist"):
        union = kind == "count" and rng.random() < _COUNTED_UNIONS
        return kind, _set(rng, room, thing=False, union=union)
    if kind == "query":
        return kind, rng.choice(ATTRIBUTES), _set(rng, room, thing=True)
    first = rng.randint(1, max(room - 1, 1))
    rooms = (first, max(room - first, 1))
    if kind == "number":
        return kind, rng.choice(_NUMBERS), *(_set(rng, room, thing=False) for room in rooms)
    return kind, _choose(rng, _COMPARED), *(_set(rng, room, thing=True) for room in rooms)


def _set(
    rng: random.Random, room: int, *, thing: bool, side: bool = False, union: bool = False
) -> tuple | str:
    """A set of ``room`` steps at most, a ``thing`` if it has to be one object.

    As the ``side`` of an intersection it is a relation or a sameness: "red and a cube" is said
    in one description. With ``union`` it is one if there is room.
    """
    least = {"scene": 1, "relate": 2, "same": 2, "and": 5, "either": 3}
    open_to = {kind: weight for kind, weight in _WEIGHTS.items() if least[kind] <= room}
    if side:
        open_to = {kind: open_to[kind] for kind in ("relate", "same")}
    elif union and "either" in open_to:
        open_to = {"either": 1.0}
    elif thing and "either" in open_to:
        open_to["either"] *= _EITHER_THING
    kind = _choose(rng, open_to)
    if kind == "scene":
        return kind
    if kind in ("relate", "same"):
        # What it is related to is described in most cases, which takes a step more if it has a
        # relation of its own.
        anchor = _set(rng, room - 2 if room > 4 else room - 1, thing=True)
        if kind == "relate":
            return kind, anchor
        # Of several things it is also said that they share a value, and nothing else of them.
        others = not thing and not side and rng.random() < _OTHERS
        return "others" if others else kind, rng.choice(ATTRIBUTES), anchor
    smallest = 2 if kind == "and" else 1
    first = rng.randint(smallest, room - 1 - smallest)
    rooms = (first, room - 1 - first)
    sides = tuple(_set(rng, room, thing=False, side=kind == "and") for room in rooms)
    if kind == "and":
        return kind, *sides
    said = (rng.choice(ATTRIBUTES),) if rng.random() < _SAID else ()
    return kind, said, *sides


def _choose(rng: random.Random, weights: dict):
    return rng.choices(list(weights), list(weights.values()))[0]
