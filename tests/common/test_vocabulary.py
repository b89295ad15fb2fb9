"""Questions as CLEVR writes them, and as people type and paste them."""

import json
import re

import numpy as np
import pytest

from clevr_prep.clevr.question_encoding import QuestionEncoder
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.common.vocabulary import (
    QUESTION_WORDS,
    UnknownWordError,
    decode,
    encode,
    tokenise,
)
from tests.helpers.paths import SHARED

PLAIN = "What color is the gray cube?"
GENUINE = SHARED / "real_clevr_dev" / "questions" / "CLEVR_val_questions.json"


def published_encoding(text):
    """As both earlier codebases cut a question."""
    pieces = (piece.strip() for piece in re.split(r"(\W+)", text.lower()))
    return [QUESTION_WORDS.index(piece) for piece in pieces if piece]


def same_encoding(texts):
    encoder = QuestionEncoder()
    for text in texts:
        assert encode(text) == encoder(text) == published_encoding(text), text
        assert encode(decode(encode(text))) == encode(text)


def test_made_questions_are_encoded_as_published():
    rng = np.random.default_rng(0)
    asked = [q for _ in range(20) for q in generate_questions(sample_scene(rng), 20, rng)]
    same_encoding({entry["question"] for entry in asked})


def test_genuine_questions_are_encoded_as_published():
    if not GENUINE.is_file():
        pytest.skip("the genuine questions are not part of the project")
    same_encoding({entry["question"] for entry in json.loads(GENUINE.read_text())["questions"]})


def test_words_of_the_vocabulary_in_any_order_and_spacing_are_encoded_as_published():
    rng = np.random.default_rng(1)
    for _ in range(300):
        words = rng.choice(QUESTION_WORDS[2:], rng.integers(1, 12))
        ends = rng.choice([" ", "  ", "\t", "; ", " ; ", ";", "? ", " ?\n"], len(words))
        text = "".join(f"{word}{end}" for word, end in zip(words, ends, strict=True))
        assert encode(text) == QuestionEncoder()(text) == published_encoding(text), text


@pytest.mark.parametrize(
    "typed",
    [
        "WHAT COLOR IS THE GRAY CUBE?",
        "What colour is the grey cube?",
        "What colour is the Grey cube??",
        "What color is the gray cube ? ?",
        "What color is the gray cube?!",
        "What color is the gray cube.?",
        "What color is the gray cube\uff1f",
        "\uff37\uff48\uff41\uff54 color is the gray cube?",
        "\u201cWhat color is the gray cube?\u201d",
        "\u2018What color is the gray cube?\u2019",
        "'What color is the gray cube?'",
        '"What color is the gray cube"?',
        "What color is the \u2018gray\u2019 cube?",
        "What, color is the gray, cube?",
        "What color is the gray\u2013cube?",
        "What\u00a0color\u2003is the gray cube\u200b?\ufeff",
        "What col\u00ador is the gray cube?",
        "\u00bfWhat color is the gray cube?",
        "What color is the gray cube\u061f",
        "What c\u00f3lor is the gr\u00e0y cube?",
        "What co\u0301lor is the gray cub\u0308e?",
    ],
)
def test_the_same_question_in_other_letters(typed):
    assert encode(typed) == QuestionEncoder()(typed) == encode(PLAIN)
    assert tokenise(typed) == tokenise(PLAIN)


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("How many cubes are there.", "how many cubes are there"),
        ("How many cubes are there!", "how many cubes are there"),
        ("How many cubes are there\u2026", "how many cubes are there"),
        ("There is a cube. What size is it?", "there is a cube; what size is it?"),
        ("There is a cube: what size is it?", "there is a cube; what size is it?"),
        ("There is a grey cube; what size is it;", "there is a gray cube; what size is it;"),
        ("What\u2019s the size of the cube?", "what is the size of the cube?"),
        (
            "the matt ball that's left of the grey cube",
            "the matte ball that is left of the gray cube",
        ),
    ],
)
def test_what_marks_and_short_forms_stand_for(typed, meant):
    assert encode(typed) == QuestionEncoder()(typed) == encode(meant)


@pytest.mark.parametrize(
    "typed, word",
    [
        ("What is the sphere's color?", "sphere's"),
        ("What is the sphere\u2019s color?", "sphere's"),
        ("What is the spheres' color?", "spheres'"),
        ("What is it's color?", "it's"),
        ("Isn't it red?", "isn't"),
        ("Are there 2cubes?", "2cubes"),
        ("Are there 2 cubes?", "2"),
        ("How many cubes\u00b9 are there?", "cubes1"),
        ("How many (red) cubes?", "("),
        ("Is it a cube/ball?", "/"),
        ("Ist der W\u00fcrfel red?", "ist"),
        ("Is the w\u00fcrfel red?", "w\u00fcrfel"),
        ("Is the \U0001f7e5 cube red?", "\U0001f7e5"),
        ("Is the coloured cube red?", "coloured"),
    ],
)
def test_what_may_mean_several_things_is_refused_by_word(typed, word):
    for encoder in (encode, QuestionEncoder()):
        with pytest.raises(UnknownWordError) as caught:
            encoder(typed)
        assert caught.value.word == word


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("What is the sphere's color?", ["of the sphere", "sphere is"]),
        ("What is the cubes\u2019 color?", ["of the cubes"]),
        ("What is it's color?", ["its", "it is"]),
        ("Is metal's red?", ["metal", "metallic"]),
    ],
)
def test_an_owner_is_told_what_to_write(typed, meant):
    with pytest.raises(UnknownWordError) as caught:
        encode(typed)
    assert caught.value.nearest[: len(meant)] == meant
    assert repr(meant[0]) in str(caught.value)


@pytest.mark.parametrize("typed", ["", " ", "...", "\u201c\u201d", "!"])
def test_marks_alone_say_nothing(typed):
    assert tokenise(typed) == []
