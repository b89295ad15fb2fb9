"""Traces in words, of steps made by hand."""

import numpy as np
import pytest

from snmn.common.vocabulary import MODULES, tokenise
from snmn.figures.trace import Step, Trace
from snmn.figures.trace_text import attended_words, trace_text

NAMES = (*MODULES, "_Not")


def traced(question, *steps, answer="3", box=None):
    """A trace of (module, "words it listens to evenly") steps."""
    words = tokenise(question)
    made = []
    for module, heard in steps:
        weights = np.array([float(word in heard.split()) for word in words])
        weights = weights / weights.sum() if weights.any() else np.full(len(words), 1 / len(words))
        probabilities = np.eye(len(NAMES))[NAMES.index(module)]
        empty = np.full((2, 2), 0.25)
        made.append(Step(module, 1.0, probabilities, weights, empty, empty[None], np.ones(1)))
    answers = [] if box else [(answer, 1.0)]
    return Trace(words, made, answers, box, 1.0, modules=NAMES)


@pytest.mark.parametrize(
    "given, text",
    [
        (
            traced(
                "How many things are the same color as the small sphere?",
                ("_Find", "small sphere"),
                ("_NoOp", ""),
                ("_Transform", "same color"),
                ("_DescribeOne", "how many"),
                ("_NoOp", ""),
            ),
            'find "small sphere" -> same "color" -> count = 3',
        ),
        (
            traced(
                "the cube left of the sphere or red",
                ("_Find", "sphere"),
                ("_Transform", "left"),
                ("_Scene", "cube"),
                ("_Or", "or"),
                ("_Filter", "cube"),
                box=[1.6, 2.0, 30.2, 40.0],
            ),
            'find "sphere" -> relate "left" -> scene -> or -> filter "cube" = box 2 2 30 40',
        ),
        (
            traced(
                "Is the sphere the same size as the cube?",
                ("_Find", "sphere"),
                ("_Find", "cube"),
                ("_DescribeTwo", "size"),
                answer="no",
            ),
            'find "sphere" -> find "cube" -> compare "size" = no',
        ),
        (
            traced(
                "What color is the cube?", ("_Find", "cube"), ("_DescribeOne", ""), answer="red"
            ),
            'find "cube" -> color = red',
        ),
        (
            traced("Is there a cube?", ("_Not", "cube"), ("_DescribeOne", ""), answer="yes"),
            'Not "cube" -> exist = yes',
        ),
        (traced("the what?", ("_NoOp", ""), ("_NoOp", "")), "nothing = 3"),
        (traced("the what?", ("_DescribeOne", "what")), "describe = 3"),
    ],
)
def test_each_module_has_its_words(given, text):
    assert trace_text(given) == text


def test_only_words_that_carry_the_attention_are_quoted():
    words = ["a", "big", "red", "cube", "?"]
    assert attended_words(words, [0.0, 0.3, 0.3, 0.35, 0.05]) == ["big", "red", "cube"]
    assert attended_words(words, [0.02, 0.0, 0.9, 0.05, 0.03]) == ["red"]
    assert attended_words(words, [0.0, 0.1, 0.2, 0.7, 0.0]) == ["red", "cube"]
    assert attended_words([str(place) for place in range(20)], [0.05] * 20) == []
