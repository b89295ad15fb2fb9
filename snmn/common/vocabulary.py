"""The three closed vocabularies of SNMN on CLEVR, and the tokeniser that goes with them.

Index order is the published one (it fixes the meaning of embedding rows and logits), so
checkpoints of the two earlier codebases can be imported. Source: section 4.1 of the paper
and the vocabulary files of the original release.
"""

import difflib
import re
import unicodedata

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
    """A question contains a word outside the vocabulary; ``nearest`` lists what may be meant."""

    def __init__(self, word: str):
        self.word = word
        self.nearest = _nearest(word)
        hint = f"; did you mean {' or '.join(map(repr, self.nearest))}?" if self.nearest else ""
        super().__init__(f"unknown word {word[:50]!r}{hint}")


# Words for objects, which people give an "'s".
_OBJECTS = frozenset(
    """
    ball balls block blocks cube cubes cylinder cylinders object objects sphere spheres thing things
    """.split()
)


def _nearest(word: str) -> list[str]:
    """What a word outside the vocabulary may have been meant as, likeliest first."""
    if word == "it's":
        return ["its", "it is"]
    owner = word.removesuffix("'s").removesuffix("'")
    if owner != word and owner in _OBJECTS:
        return [f"of the {owner}", f"{owner} is"] if word.endswith("s") else [f"of the {owner}"]
    return difflib.get_close_matches(word, QUESTION_WORDS, n=3, cutoff=0.5)


# What people type for words of the vocabulary and cannot mean otherwise: British spelling, short
# forms. Not "sphere's" ("of the sphere", or "sphere is"), nor "it's" (perhaps "its").
_SPELLINGS = {
    "grey": "gray",
    "colour": "color",
    "matt": "matte",
    **{f"{word}'s": f"{word} is" for word in ("what", "there", "that")},
}
# Marks that are written in other ways; those that say nothing become blanks.
_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u0060\u00b4", "'"),
        **dict.fromkeys(
            '"\u201c\u201d\u201e\u201f\u00ab\u00bb,\u3001\u060c\u00bf\u00a1\u200b', " "
        ),
        **dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212", " "),
        **dict.fromkeys("\u061f\u203d", "?"),
        **dict.fromkeys("!:\u3002", "."),
    }
)
_QUOTED = re.compile(r"(?<!\w)'([^']*)'(?!\w)")
# A word with apostrophes within, a run of marks that end a clause, any other mark.
_TOKEN = re.compile(r"\w+(?:'\w+)*'?|[?;.][?;.\s]*|[^\w\s]")


def tokenise(text: str) -> list[str]:
    """Split a question into words and marks of the vocabulary, and what is in neither as it is.

    Cut at runs of non-word characters, in lower case. If that leaves something unknown, the text
    is read as people type and paste: full-width letters and marks, accents and curly quotes are
    what they look like, commas, dashes and quotation marks say nothing, a full stop is a ";"
    before other words and nothing at the end, and British spellings are the American ones.

    >>> tokenise("Is there a cube; what is it?")
    ['is', 'there', 'a', 'cube', ';', 'what', 'is', 'it', '?']
    >>> tokenise("Is there a grey cube. What's its colour??")
    ['is', 'there', 'a', 'gray', 'cube', ';', 'what', 'is', 'its', 'color', '?']
    """
    pieces = re.split(r"(\W+)", text.lower())
    words = [piece.strip() for piece in pieces if piece.strip()]
    return words if all(word in _WORD_INDEX for word in words) else _read_kindly(text)


def _read_kindly(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text.translate(_MARKS)).translate(_MARKS).lower()
    # Invisible characters, and accents that no letter has.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    text = _QUOTED.sub(r" \1 ", text)
    words: list[str] = []
    for found in _TOKEN.finditer(text):
        piece = found[0]
        if piece[0] in "?;.":
            last = not text[found.end() :].strip()
            piece = "?" if "?" in piece else ";" if ";" in piece or not last else ""
            if not piece or (piece == ";" and not words):
                continue
        elif piece not in _WORD_INDEX:
            plain = _without_accents(piece)
            plain = _SPELLINGS.get(plain, plain)
            if all(word in _WORD_INDEX for word in plain.split()):
                words += plain.split()
                continue
        words.append(piece)
    return words


def _without_accents(word: str) -> str:
    parts = unicodedata.normalize("NFD", word)
    return "".join(part for part in parts if not unicodedata.combining(part))


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
