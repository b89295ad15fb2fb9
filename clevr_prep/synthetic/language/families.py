"""The families of CLEVR's questions: which shapes of meaning are asked, and how often.

A shape is a meaning without its words: descriptions and directions are left out. A family is one
shape; `question_family_index` is its place in ``FAMILIES``, or in ``EXPRESSION_FAMILIES`` for a
referring expression. The weights make the mix of question
types that of CLEVR: about .24 count, .13 exist, .36 query, .10 number comparisons, .18 attribute
comparisons.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.language.meaning import NOTHING_SAID

# Some questions cannot be asked of every scene: few have two objects of one color, few have an
# object that is the only one of its size. So they get more weight where they can be asked.
_SHARED = {"size": 1, "color": 1.35, "material": 1, "shape": 1}
_COMPARED = {"size": 1, "color": 2.2, "material": 1, "shape": 1}
_ANYTHING_ELSE = {"size": 2.6, "color": 1.3, "material": 3, "shape": 1.6}

_CHAINS = ["scene"]
for _ in range(3):
    _CHAINS.append(("relate", _CHAINS[-1]))


class Family(NamedTuple):
    """One shape of question, its relative frequency and its number of hops."""

    shape: tuple
    weight: float
    hops: int


def _set_shape(meaning: tuple):
    kind, description, *rest = meaning
    if kind == "scene":
        return "scene"
    if kind == "relate":
        return ("relate", _set_shape(rest[1]))
    if kind == "same":
        return ("same", rest[0], _set_shape(rest[1]))
    if kind == "both":
        return ("both", _set_shape(rest[1]), _set_shape(rest[3]))
    if kind == "and":
        return ("and", _set_shape(rest[0]), _set_shape(rest[1]))
    said = tuple(a for a, v in zip(ATTRIBUTES, description[1:], strict=True) if v is not None)
    return ("either", said, _set_shape(rest[0]), _set_shape(rest[1]))


def shape_of(question: tuple) -> tuple:
    """The shape of a question's meaning, as the families give it."""
    kind, first, *_ = question
    if kind in ("count", "exist") and first[:2] == ("same", NOTHING_SAID):
        # "Is there anything else of the same size?" is a family beside "is there another cube ..."
        return (kind, ("others", *_set_shape(first)[1:]))
    return tuple(_set_shape(part) if isinstance(part, tuple) else part for part in question)


def hops_of(shape) -> int:
    """How many steps from object to object a question's or a set's shape has."""
    if not shape or isinstance(shape, str):
        return 0
    own = {"relate": 1, "same": 1, "others": 1, "both": 2}.get(shape[0], 0)
    return own + sum(hops_of(part) for part in shape[1:])


def is_intersection(shape) -> bool:
    """Whether a question's or a set's shape has things in two relations at once."""
    if isinstance(shape, str) or not shape:
        return False
    return shape[0] == "both" or any(is_intersection(part) for part in shape[1:])


def family_choices(
    families: Sequence[Family], max_hops: int | None = None, intersecting: float = 1.0
) -> tuple[list[int], list[float]]:
    """Which of the families have at most ``max_hops``, and their weights.

    ``intersecting`` multiplies those of intersections. ValueError where none is left.
    """
    kept = [i for i, f in enumerate(families) if max_hops is None or f.hops <= max_hops]
    if not kept:
        raise ValueError(f"max_hops must be at least 0, got {max_hops}")
    more = [intersecting if is_intersection(families[i].shape) else 1.0 for i in kept]
    return kept, [families[i].weight * m for i, m in zip(kept, more, strict=True)]


def _all_families() -> list[Family]:
    shapes: list[tuple[tuple, float]] = []
    for chain in _CHAINS:
        shapes += [(("count", chain), 1), (("exist", chain), 1)]
        shapes += [(("query", a, chain), 1) for a in ATTRIBUTES]
    for shared in ATTRIBUTES:
        same = ("same", shared, "scene")
        others = ("others", shared, "scene")
        shapes += [(("count", same), 1), (("count", others), 1), (("exist", same), 1)]
        shapes.append((("exist", others), _ANYTHING_ELSE[shared]))
        shapes += [(("query", a, same), _SHARED[shared]) for a in ATTRIBUTES if a != shared]
    both = ("both", "scene", "scene")
    shapes += [(("count", both), 1), *((("query", a, both), 1) for a in ATTRIBUTES)]
    near, far = _CHAINS[:2]
    for said in ((), *((a,) for a in ATTRIBUTES)):
        shapes.append((("count", ("either", said, near, near)), 1))
    for left, right in ((far, near), (near, far), (far, far)):
        shapes.append((("count", ("either", (), left, right)), 1))
    for comparison in ("equal_integer", "greater_than", "less_than"):
        for left, right in ((near, near), (far, near), (far, far)):
            shapes.append((("number", comparison, left, right), 1))
    for attribute in ATTRIBUTES:
        for left in (near, far):
            for right in (near, far):
                shapes.append((("equal", attribute, left, right), _COMPARED[attribute]))
    return [Family(shape, weight, hops_of(shape)) for shape, weight in shapes]


def _expression_families() -> list[Family]:
    # Weighted so that all types come about equally often, though some find a target less easily.
    weights = (0.85, 0.9, 0.9, 1.1)
    shapes: list[tuple[object, float]] = list(zip(_CHAINS, weights, strict=True))
    shapes += [(("same", a, "scene"), 0.4 if a == "color" else 0.25) for a in ATTRIBUTES]
    shapes.append((("both", "scene", "scene"), 0.85))
    near, far = _CHAINS[:2]
    for said in combinations(ATTRIBUTES, 1):
        for left, right in ((near, near), (far, near), (near, far), (far, far)):
            shapes.append((("either", said, left, right), 0.075))
    for said in combinations(ATTRIBUTES, 2):
        shapes.append((("either", said, near, near), 0.075))
    return [Family(("refer", shape), weight, hops_of(shape)) for shape, weight in shapes]


FAMILIES = tuple(_all_families())
EXPRESSION_FAMILIES = tuple(_expression_families())
_INDEX = {
    family.shape: index
    for families in (FAMILIES, EXPRESSION_FAMILIES)
    for index, family in enumerate(families)
}


def family_index(question: tuple) -> int | None:
    """The family of a question or expression; None when no family has its shape."""
    return _INDEX.get(shape_of(question))
