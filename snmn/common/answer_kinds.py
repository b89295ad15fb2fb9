"""What kind of answer a question's words ask for.

CLEVR's questions say it by a few words: "how many" and "what number" ask for a number, "what",
"how big" and "made of" for a value of an attribute, a clause that begins with a verb for yes or no.
A referring expression asks nothing; what it denotes is one object.
"""

from collections.abc import Sequence

from snmn.common.vocabulary import ANSWERS

NUMBER, YES_NO, OBJECT = "a number", "yes or no", "an object"
_VALUES = {
    "size": "large small",
    "color": "blue brown cyan gray green purple red yellow",
    "material": "metal rubber",
    "shape": "cube cylinder sphere",
}
# Kinds of answers, with the answers of each.
ANSWERS_OF = {
    NUMBER: frozenset(answer for answer in ANSWERS if answer.isdecimal()),
    YES_NO: frozenset({"yes", "no"}),
    **{f"a {attribute}": frozenset(values.split()) for attribute, values in _VALUES.items()},
}
_VERBS = frozenset("is are do does has have".split())
_ASKING = _VERBS | {"what", "how"}


def is_question(words: Sequence[str]) -> bool:
    """Whether words ask for an answer, rather than denote an object."""
    return "?" in words or words[0] in _ASKING


def kind_asked_for(words: Sequence[str]) -> str | None:
    """The kind of answer that a question's words and marks ask for, None where they do not say.

    One of the keys of `ANSWERS_OF`, or `OBJECT` for a referring expression.
    """
    if not is_question(words):
        return OBJECT
    for place, word in enumerate(words):
        if word in ("what", "how"):
            return _after(word, list(words[place + 1 :]))
    clauses = " ".join(words).split(" ; ")
    return YES_NO if any(clause.split()[0] in _VERBS for clause in clauses if clause) else None


def _after(asking: str, words: list[str]) -> str | None:
    """What "what" or "how" asks for, from the words after it."""
    if asking == "how":
        kinds = {"many": NUMBER, "big": "a size", "large": "a size", "small": "a size"}
        return kinds.get(words[0]) if words else None
    if words[:1] == ["number"] or words[:3] == ["is", "the", "number"]:
        return NUMBER
    # "what size ...", "what is its size", "what is the size of ...", but not
    # "what is the thing that has the same size as ... made of".
    begins = words[2:] if words[:1] == ["is"] and words[1:2] in (["the"], ["its"]) else words
    if begins and begins[0] in _VALUES:
        return f"a {begins[0]}"
    return "a material" if "made" in words else None
