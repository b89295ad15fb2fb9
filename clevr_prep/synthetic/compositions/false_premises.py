"""Questions and expressions that ask about an object which is not there, made of sound ones.

"What color is the red cube?" without one: one word of what singles an object out is replaced, so
that no object of the scene fits. CLEVR has no answer to that. What can be measured is whether a
model is less sure of what it says than with the sound question of the same form.
"""

import random
from collections.abc import Callable, Iterator

from clevr_prep.clevr.scene_masks import ATTRIBUTES, VALUES, SceneMasks
from clevr_prep.synthetic.language.needed_clauses import members_of


def _things_below(meaning: tuple) -> Iterator[tuple[tuple, Callable[[tuple], tuple]]]:
    """The anchors within a set, each with what makes the set anew with another anchor."""
    kind, description, *rest = meaning
    for place, part in enumerate(rest, start=2):
        if not isinstance(part, tuple):
            continue

        def put(new: tuple, place: int = place) -> tuple:
            return (*meaning[:place], new, *meaning[place + 1 :])

        if kind not in ("and", "either"):
            yield part, put
        for thing, put_below in _things_below(part):
            yield thing, lambda new, put=put, below=put_below: put(below(new))


def things_of(question: tuple) -> Iterator[tuple[tuple, Callable[[tuple], tuple]]]:
    """Every anchor and thing of a question or expression, and what puts another in its place."""
    for place, part in enumerate(question):
        if not isinstance(part, tuple):
            continue

        def put(new: tuple, place: int = place) -> tuple:
            return (*question[:place], new, *question[place + 1 :])

        if question[0] in ("query", "equal", "refer"):
            yield part, put
        for thing, put_below in _things_below(part):
            yield thing, lambda new, put=put, below=put_below: put(below(new))


def falsified(question: tuple, masks: SceneMasks, rng: random.Random) -> tuple | None:
    """A question with one word replaced, so that an object it takes for granted is not there.

    No object of the scene fits the description with that word. None where no word can be replaced.
    """
    found = []
    for thing, put in things_of(question):
        kind, description, *rest = thing
        for place, said in enumerate(description[1:], start=1):
            for value in VALUES[ATTRIBUTES[place - 1]] if said else ():
                words = (*description[:place], value, *description[place + 1 :])
                if not members_of(("scene", words), masks):
                    found.append(put((kind, words, *rest)))
    return rng.choice(found) if found else None
