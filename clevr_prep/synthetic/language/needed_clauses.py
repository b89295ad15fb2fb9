"""What a meaning amounts to in a scene, and whether every part of it is needed for that.

A relation, a sameness or one side of an intersection is needless where the question without it has
the same answer: a model that never reads it is as good.
"""

from collections.abc import Iterator

from clevr_prep.clevr.scene_masks import ATTRIBUTES, SceneMasks


class IllPosedError(ValueError):
    """A meaning needs one object where the scene has none or several."""


def members_of(meaning: tuple, masks: SceneMasks) -> int:
    """The bit set of the objects in a set. Raises ``IllPosedError``."""
    kind, description, *rest = meaning
    if kind == "scene":
        found = masks.everything
    elif kind == "relate":
        found = masks.related[rest[0]][thing_of(rest[1], masks)]
    elif kind == "same":
        found = masks.same[rest[0]][thing_of(rest[1], masks)]
    elif kind == "both":
        sides = zip(rest[::2], rest[1::2], strict=True)
        one, other = (masks.related[r][thing_of(anchor, masks)] for r, anchor in sides)
        found = one & other
    else:
        one, other = (members_of(side, masks) for side in rest)
        found = one & other if kind == "and" else one | other
    for attribute, value in zip(ATTRIBUTES, description[1:], strict=True):
        if value is not None:
            found &= masks.having[attribute][value]
    return found


def thing_of(meaning: tuple, masks: SceneMasks) -> int:
    """The index of the only object in a set. Raises ``IllPosedError`` if it is not the only one."""
    found = members_of(meaning, masks)
    if found.bit_count() != 1:
        raise IllPosedError(f"needs one object, got {found.bit_count()}")
    return found.bit_length() - 1


def answer_of(question: tuple, masks: SceneMasks) -> str:
    """The answer to a question, as the dataset has it. Raises ``IllPosedError``."""
    kind, *rest = question
    if kind == "count":
        return str(members_of(rest[0], masks).bit_count())
    if kind == "query":
        return masks.value_of[rest[0]][thing_of(rest[1], masks)]
    if kind == "exist":
        holds = members_of(rest[0], masks) != 0
    elif kind == "number":
        one, other = (members_of(side, masks).bit_count() for side in rest[1:])
        outcomes = {"equal_integer": one == other, "greater_than": one > other}
        holds = outcomes.get(rest[0], one < other)
    else:
        one, other = (masks.value_of[rest[0]][thing_of(side, masks)] for side in rest[1:])
        holds = one == other
    return "yes" if holds else "no"


def _shorter(meaning: tuple) -> Iterator[tuple]:
    """All sets that a set becomes without one relation, sameness or side of an intersection."""
    kind, description, *rest = meaning
    if kind == "scene":
        return
    if kind in ("relate", "same"):
        yield "scene", description
        for anchor in _shorter(rest[1]):
            yield kind, description, rest[0], anchor
    elif kind == "both":
        for kept in (rest[:2], rest[2:]):
            yield "relate", description, *kept
        for place in (1, 3):
            for anchor in _shorter(rest[place]):
                yield kind, description, *rest[:place], anchor, *rest[place + 1 :]
    else:
        if kind == "and":
            yield from ((kind, description, kept, kept) for kept in rest)
        for place, side in enumerate(rest):
            for other in _shorter(side):
                yield kind, description, *rest[:place], other, *rest[place + 1 :]


def _outcome(question: tuple, masks: SceneMasks) -> object:
    """What must change when a part of a question is left out.

    It is the answer, and where that has but two values, what it is made from: without its
    relation, "yes, there is a cube left of it" stays a yes whatever the scene.
    """
    kind, *rest = question
    if kind == "exist":
        return members_of(rest[0], masks)
    if kind == "number":
        return [members_of(side, masks).bit_count() for side in rest[1:]]
    if kind in ("equal", "query", "refer"):
        return [thing_of(side, masks) for side in rest if isinstance(side, tuple)]
    return answer_of(question, masks)


def needs_every_part(question: tuple, masks: SceneMasks) -> bool:
    """Whether a question or expression has another outcome without any one of its parts.

    A part is a relation, a sameness, or a side of an intersection. Without one that singles out an
    object the question has no answer, which is another one too. Raises ``IllPosedError`` for a
    question that has none itself.
    """
    outcome = _outcome(question, masks)
    for place, part in enumerate(question):
        for shorter in _shorter(part) if isinstance(part, tuple) else ():
            try:
                if _outcome((*question[:place], shorter, *question[place + 1 :]), masks) == outcome:
                    return False
            except IllPosedError:
                pass
    return True
