"""The families of CLEVR's questions: which shapes of meaning are asked, and how often.

A shape is a meaning without its words: descriptions and directions are left out. A family is one
shape; `question_family_index` is its place in ``FAMILIES``. The weights make the mix of question
types that of CLEVR (about a quarter count, an eighth exist, a third queries, a fifth attribute
comparisons, a tenth number comparisons).
"""

from typing import NamedTuple

from clevr_prep.synthetic.scene_masks import ATTRIBUTES

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
    said = tuple(a for a, v in zip(ATTRIBUTES, description[1:], strict=True) if v is not None)
    return ("either", said, _set_shape(rest[0]), _set_shape(rest[1]))


def shape_of(question: tuple) -> tuple:
    """The shape of a question's meaning, as the families give it."""
    return tuple(_set_shape(part) if isinstance(part, tuple) else part for part in question)


def _hops(shape) -> int:
    if not shape or isinstance(shape, str):
        return 0
    own = {"relate": 1, "same": 1, "both": 2}.get(shape[0], 0)
    return own + sum(_hops(part) for part in shape[1:])


def _all_families() -> list[Family]:
    # Many scenes have no two objects of one color, so such questions are tried more often.
    rarity = {attribute: 1.35 if attribute == "color" else 1 for attribute in ATTRIBUTES}
    shapes: list[tuple[tuple, float]] = []
    for chain in _CHAINS:
        shapes += [(("count", chain), 1), (("exist", chain), 1)]
        shapes += [(("query", a, chain), 1) for a in ATTRIBUTES]
    for shared in ATTRIBUTES:
        same = ("same", shared, "scene")
        # Twice, because the same question is asked with and without saying what to look for.
        shapes += [(("count", same), 2), (("exist", same), 2)]
        shapes += [(("query", a, same), rarity[shared]) for a in ATTRIBUTES if a != shared]
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
            shapes += [
                (("equal", attribute, left, right), rarity[attribute]) for right in (near, far)
            ]
    return [Family(shape, weight, _hops(shape)) for shape, weight in shapes]


FAMILIES = tuple(_all_families())
_INDEX = {family.shape: index for index, family in enumerate(FAMILIES)}


def family_index(question: tuple) -> int | None:
    """The family of a question's meaning; None when no family has its shape."""
    return _INDEX.get(shape_of(question))
