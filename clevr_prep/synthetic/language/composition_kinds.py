"""Kinds of composition that CLEVR never shows, each with its nearest of CLEVR's: its baseline.

Seven of questions, after CLOSURE (D. Bahdanau and others, CLOSURE: assessing systematic
generalization of CLEVR models, arXiv 1912.05783, 2019): each combines pieces that CLEVR shows
apart. "mat" (matching) is a sameness, "spa" a relation in space; a baseline has a relation wherever
its kind has a sameness. Five of the seven have a like among expressions.
"""

from typing import NamedTuple

from clevr_prep.clevr.scene_masks import ATTRIBUTES


class Kind(NamedTuple):
    """Shapes of questions (see ``families``) that are one kind, and those of its baseline."""

    shapes: tuple[tuple, ...]
    baseline: tuple[tuple, ...]


_NEAR = ("relate", "scene")
_FAR = ("relate", _NEAR)
_SAME = [("same", a, "scene") for a in ATTRIBUTES]
# "Others" are of the same size and nothing else is said of them.
_OTHERS = [("others", a, "scene") for a in ATTRIBUTES]
_PAIRS = [(a, shared) for a in ATTRIBUTES for shared in ATTRIBUTES if a != shared]

KINDS = {
    "and_mat_spa": Kind(
        tuple(("query", a, ("and", _NEAR, ("same", shared, "scene"))) for a, shared in _PAIRS),
        tuple(("query", a, ("both", "scene", "scene")) for a in ATTRIBUTES),
    ),
    "compare_mat": Kind(
        tuple(("equal", a, ("same", shared, "scene"), "scene") for a, shared in _PAIRS),
        tuple(("equal", a, _NEAR, "scene") for a in ATTRIBUTES),
    ),
    "compare_mat_spa": Kind(
        tuple(("equal", a, ("same", shared, "scene"), _NEAR) for a, shared in _PAIRS),
        tuple(("equal", a, _NEAR, _NEAR) for a in ATTRIBUTES),
    ),
    "embed_mat_spa": Kind(tuple(("exist", ("relate", same)) for same in _SAME), (("exist", _FAR),)),
    "embed_spa_mat": Kind(
        tuple(("exist", (kind, a, _NEAR)) for kind in ("same", "others") for a in ATTRIBUTES),
        (("exist", _FAR),),
    ),
    "or_mat": Kind(
        tuple(("count", ("either", (), "scene", same)) for same in [*_SAME, *_OTHERS]),
        (("count", ("either", (), "scene", _NEAR)),),
    ),
    "or_mat_spa": Kind(
        tuple(("count", ("either", (), _NEAR, same)) for same in [*_SAME, *_OTHERS]),
        (("count", ("either", (), _NEAR, _NEAR)),),
    ),
}

_SAID = [(a,) for a in ATTRIBUTES]
EXPRESSION_KINDS = {
    "and_mat_spa": Kind(
        tuple(("refer", ("and", _NEAR, same)) for same in _SAME),
        (("refer", ("both", "scene", "scene")),),
    ),
    "embed_mat_spa": Kind(tuple(("refer", ("relate", same)) for same in _SAME), (("refer", _FAR),)),
    "embed_spa_mat": Kind(
        tuple(("refer", ("same", a, _NEAR)) for a in ATTRIBUTES), (("refer", _FAR),)
    ),
    "or_mat": Kind(
        tuple(("refer", ("either", said, "scene", same)) for said in _SAID for same in _SAME),
        tuple(("refer", ("either", said, "scene", _NEAR)) for said in _SAID),
    ),
    "or_mat_spa": Kind(
        tuple(("refer", ("either", said, _NEAR, same)) for said in _SAID for same in _SAME),
        tuple(("refer", ("either", said, _NEAR, _NEAR)) for said in _SAID),
    ),
}


def _top(shape) -> str:
    return shape if isinstance(shape, str) else shape[0]


def contains_kind(shape) -> bool:
    """Whether any part of a question's shape is what makes one of the kinds.

    That is a relation to what a sameness singles out or the reverse, an intersection of both, and
    a sameness in a union or in a comparison of attributes.
    """
    if not shape or isinstance(shape, str):
        return False
    kind, *parts = shape
    below = {_top(part) for part in parts if part}
    same = bool(below & {"same", "others"})
    if kind in ("relate", "both", "either", "equal") and same:
        return True
    if kind in ("same", "others") and below & {"relate", "both"}:
        return True
    if kind == "and" and same and below & {"relate", "both"}:
        return True
    return any(contains_kind(part) for part in parts)
