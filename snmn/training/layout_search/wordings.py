"""What of a question names things and relations, and the wording that is left without it.

"What color is the small cube?" and "what color is the red rubber thing?" are of one wording,
"what A X ?": whatever layout is good for one is good for the other, once each step knows which
phrase it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from snmn.common.vocabulary import QUESTION_WORDS

_ADJECTIVES = frozenset(
    """
    gray red blue green brown purple cyan yellow small tiny large big rubber matte metal metallic
    shiny
    """.split()
)
_NOUNS = frozenset(
    """
    thing things object objects cube cubes block blocks sphere spheres ball balls cylinder cylinders
    """.split()
)
_SIDES = frozenset("left right front behind".split())
_ATTRIBUTES = frozenset("size color material shape".split())
# They differ between ways to say the same.
_FUNCTION_WORDS = frozenset(
    """
    the a an another other that is are of to in on side both either has have do does made
    visible
    """.split()
)


@dataclass(frozen=True)
class Phrase:
    """A run of words that names things ("X"), a side ("R") or a shared attribute ("S").

    An S need not be a relation: "is the cube the same size as the ball" compares two things.
    """

    kind: str
    words: tuple[int, ...]  # their places in the question


@dataclass(frozen=True)
class Wording:
    """A question's phrases in order, and what is left without them."""

    text: str
    phrases: tuple[Phrase, ...]
    turn: int | None  # how many phrases stand before the first ";"

    @property
    def kinds(self) -> str:
        """The phrases' kinds in order."""
        return "".join(phrase.kind for phrase in self.phrases)


# A step asks for each of its questions several times, and new questions come without end.
@lru_cache(maxsize=4096)
def wording(indices: tuple[int, ...]) -> Wording:
    """Take a question apart, word indices without padding."""
    words = [QUESTION_WORDS[index] for index in indices]
    text: list[str] = []
    phrases: list[Phrase] = []
    turn = None
    place = 0
    while place < len(words):
        phrase = _phrase(words, place)
        if phrase is not None:
            phrases.append(phrase)
            text.append(phrase.kind)
            place = phrase.words[-1] + 1
            continue
        word = words[place]
        if word == ";" and turn is None:
            turn = len(phrases)
        if word in _ATTRIBUTES:
            text.append("A")
        elif word not in _FUNCTION_WORDS:
            text.append(word)
        place += 1
    return Wording(" ".join(text), tuple(phrases), turn)


def _phrase(words: Sequence[str], start: int) -> Phrase | None:
    """The phrase that begins at a word, None where none does."""
    if words[start] in _SIDES:
        return Phrase("R", (start,))
    if words[start] == "same" and start + 2 < len(words):
        if words[start + 1] in _ATTRIBUTES and words[start + 2] == "as":
            return Phrase("S", (start, start + 1))
        return None
    end = start
    while end < len(words) and words[end] in _ADJECTIVES:
        end += 1
    if end < len(words) and words[end] in _NOUNS:
        return Phrase("X", tuple(range(start, end + 1)))
    return None
