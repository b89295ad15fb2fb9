"""What kind of answer words ask for: CLEVR's ways of asking, and ours."""

import random

import pytest

from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.language.grammar import say
from snmn.common.answer_kinds import ANSWERS_OF, NUMBER, OBJECT, YES_NO, kind_asked_for
from snmn.common.vocabulary import ANSWERS, tokenise

CUBE = ("scene", ("desc", None, "red", None, "cube"))
THING = ("same", ("desc", "small", None, None, None), "color", CUBE)
NEAR = ("relate", ("desc", None, None, "metal", None), "left", CUBE)
MEANINGS = {
    NUMBER: [("count", CUBE), ("count", THING)],
    YES_NO: [
        ("exist", NEAR),
        ("exist", THING),
        ("number", "less_than", CUBE, NEAR),
        ("number", "equal_integer", CUBE, NEAR),
        *(("equal", attribute, CUBE, NEAR) for attribute in ATTRIBUTES),
    ],
    OBJECT: [("refer", CUBE), ("refer", THING)],
    **{f"a {name}": [("query", name, CUBE), ("query", name, NEAR)] for name in ATTRIBUTES},
}


@pytest.mark.parametrize("kind", MEANINGS)
def test_whatever_the_words_of_a_meaning(kind):
    rng = random.Random(0)
    for meaning in MEANINGS[kind]:
        for _ in range(60):
            text = say(meaning, rng)
            # One of CLEVR's templates lacks the mark.
            assert kind_asked_for(tokenise(text)) == kind, text


@pytest.mark.parametrize(
    "text, kind",
    [
        ("What is the thing that is the same size as the cube made of?", "a material"),
        ("What number of objects have the same color as the cube?", NUMBER),
        ("There is a cube; how big is it?", "a size"),
        ("There is a cube; is it red?", YES_NO),
        ("red how what the?", None),
        ("what?", None),
        ("how?", None),
        ("the red thing?", None),
        ("?", None),
    ],
)
def test_words_that_could_mislead(text, kind):
    assert kind_asked_for(tokenise(text)) == kind


def test_every_answer_is_of_one_kind():
    assert sorted(answer for kind in ANSWERS_OF.values() for answer in kind) == sorted(ANSWERS)
