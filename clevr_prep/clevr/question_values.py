"""What a question of CLEVR or CLEVR-Ref is said to have for an answer or a box, checked."""

from collections.abc import Sequence

from snmn.common.errors import shown
from snmn.common.vocabulary import ANSWER_INDEX

_SLACK = 1.0  # pixels


def read_answer(answer: object) -> str | None:
    """The answer as a word of the vocabulary, None where there is none.

    CLEVR's files have words. Its generator writes what programs return: whole numbers and truth
    values, which are the words "0" to "10", "yes" and "no". ValueError for anything else.
    """
    word = answer
    if isinstance(answer, bool):
        word = "yes" if answer else "no"
    elif isinstance(answer, int):
        word = str(answer) if -1 < answer < 11 else None
    if answer is None or (isinstance(word, str) and word in ANSWER_INDEX):
        return word
    raise ValueError(f"unknown answer {shown(repr(answer))}")


def fit_box(box: object, image_size: tuple[int, int]) -> list[float]:
    """A box [x, y, width, height] in pixels, without what is less than a pixel outside its image.

    Projected from a scene, boxes are fractions that may end a little beyond the border.
    ``image_size`` is (width, height). ValueError for what is no box, or further out.
    """
    numbers = isinstance(box, Sequence) and all(type(side) in (int, float) for side in box)
    if not numbers or len(box) != 4 or not all(abs(side) < 1e9 for side in box):
        found = shown(repr(box))
        raise ValueError(f"its bbox must be [x, y, width, height] in pixels, not {found}")
    (x, y, w, h), (width, height) = box, image_size
    beyond = max(-x, -y, x + w - width, y + h - height)
    left, top = max(x, 0), max(y, 0)
    inside = [left, top, min(x + w, width) - left, min(y + h, height) - top]
    if beyond >= _SLACK or min(w, h) <= 0 or min(inside[2:]) <= 0:
        raise ValueError(
            f"its bbox {list(box)} is not within its image of {width} x {height} pixels"
        )
    return inside if beyond > 0 else list(box)
