"""The three closed vocabularies of SNMN on CLEVR, and the tokeniser that goes with them.

Index order is the published one (it fixes the meaning of embedding rows and logits), so
checkpoints of the two earlier codebases can be imported. Source: section 4.1 of the paper
and the vocabulary files of the original release.
"""

import difflib
import re

from snmn.common.errors import UserError

# Index 0 (";") also pads: padded positions are masked by the question's length, never read.
QUESTION_WORDS = tuple(
    """
    ; ? a an and another any anything are as ball balls behind big block blocks blue
    both brown color cube cubes cyan cylinder cylinders do does either else equal fewer
    front gray greater green has have how in is it its large left less made many
    material matte metal metallic more number object objects of on or other purple red
    right rubber same shape shiny side size small sphere spheres than that the there
    thing things tiny to visible what yellow
    """.split()
)

ANSWERS = tuple(
    """
    0 1 10 2 3 4 5 6 7 8 9 blue brown cube cyan cylinder gray green large metal no
    purple red rubber small sphere yellow yes
    """.split()
)

MODULES = tuple(
    """
    _NoOp _Find _Transform _Filter _And _Or _Scene _DescribeOne _DescribeTwo
    """.split()
)

_WORD_INDEX = {word: index for index, word in enumerate(QUESTION_WORDS)}
ANSWER_INDEX = {answer: index for index, answer in enumerate(ANSWERS)}
MODULE_INDEX = {module: index for index, module in enumerate(MODULES)}


class UnknownWordError(UserError):
    """A question contains a word outside the vocabulary; ``nearest`` lists close known ones."""

    def __init__(self, word: str):
        self.word = word
        self.nearest = difflib.get_close_matches(word, QUESTION_WORDS, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, self.nearest))}?" if self.nearest else ""
        super().__init__(f"unknown word {word[:50]!r}{hint}")


def tokenise(text: str) -> list[str]:
    """Split a question: lower case, cut at runs of non-word characters, punctuation kept.

    >>> tokenise("Is there a cube; what is it?")
    ['is', 'there', 'a', 'cube', ';', 'what', 'is', 'it', '?']
    """
    pieces = re.split(r"(\W+)", text.lower())
    return [piece.strip() for piece in pieces if piece.strip()]


def encode(text: str) -> list[int]:
    """Word indices of a question. Raises ``UnknownWordError`` for a word outside the vocabulary."""
    indices = []
    for word in tokenise(text):
        if word not in _WORD_INDEX:
            raise UnknownWordError(word)
        indices.append(_WORD_INDEX[word])
    return indices


def decode(indices) -> str:
    """The question's text from word indices, spaced and capitalised like a CLEVR question."""
    text = " ".join(QUESTION_WORDS[index] for index in indices)
    return text.replace(" ;", ";").replace(" ?", "?").capitalize()
