"""Each mark where it stands and where it does not, on traces made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from snmn.common.vocabulary import MODULES, tokenise
from snmn.evaluation.marks import MARKS, Look, Marker, same_prediction
from snmn.figures.trace import Step, Trace

QUESTION = "How many cubes are there?"
OBJECTS = np.zeros((3, 4))
OBJECTS[1, 1] = OBJECTS[1, 2] = 1.0
USUAL = Look(0.8, OBJECTS)
ON, OFF = (1, 1), (0, 3)


def peak(cell):
    attention = np.zeros((3, 4))
    attention[cell] = 1.0
    return attention


def traced(question=QUESTION, *, answer="3", box=None, weights=(1.0, 1.0), looks=ON, describe=1):
    """Find and a Describe; a step's weight is its likeliest module's, And has the rest."""
    words = tokenise(question)
    steps = []
    last = {1: "_DescribeOne", 2: "_DescribeTwo"}[describe]
    stack = np.stack([peak(OFF), peak(looks)])
    for module, weight in zip(("_Find", last), weights, strict=True):
        probabilities = np.zeros(len(MODULES))
        probabilities[MODULES.index("_And")] = 1 - weight
        probabilities[MODULES.index(module)] = weight
        even = np.full(len(words), 1 / len(words))
        place = np.array([0.0, 1.0])
        steps.append(Step(module, weight, probabilities, even, peak(looks), stack, place))
    answers = [] if box else [(answer, 1.0)]
    return Trace(words, steps, answers, box, 1.0)


@pytest.fixture
def marker():
    modules = {"_DescribeOne": SimpleNamespace(inputs=1), "_DescribeTwo": SimpleNamespace(inputs=2)}
    model = SimpleNamespace(nmn=SimpleNamespace(answer_modules=modules))
    return Marker(model, {"backbone": "another"}, reads=lambda text: "nonsense" not in text)


def names(marker, trace, discrete="3", look=USUAL):
    return [mark.name for mark in marker.marks(trace, discrete, look)]


def test_nothing_speaks_against_a_good_answer(marker):
    assert names(marker, traced()) == []
    assert names(marker, traced(), discrete=None, look=None) == []


def test_a_layout_that_answers_otherwise(marker):
    (mark,) = marker.marks(traced(), "4", USUAL)
    assert mark.name == "discrete_layout" and '"4"' in mark.reason
    expression = traced("the cube", box=[10.0, 10.0, 20.0, 20.0])
    assert names(marker, expression, [12.0, 10.0, 20.0, 20.0]) == []
    assert names(marker, expression, [25.0, 10.0, 20.0, 20.0]) == ["discrete_layout"]


def test_an_undecided_step(marker):
    (mark,) = marker.marks(traced(weights=(1.0, 0.48)), "3", USUAL)
    assert mark.name == "undecided_step"
    assert "Step 2" in mark.reason and "And has 52%" in mark.reason
    assert names(marker, traced(weights=(0.5, 1.0))) == []


@pytest.mark.parametrize(
    "question, answer, stands",
    [
        (QUESTION, "yes", True),
        (QUESTION, "10", False),
        ("What color is the cube?", "3", True),
        ("What color is the cube?", "red", False),
        ("What is the cube made of?", "red", True),
        ("Is there a cube?", "cube", True),
        ("Is there a cube?", "yes", False),
        ("the red cube", "yes", True),
        ("what?", "yes", False),
    ],
)
def test_an_answer_of_the_wrong_kind(marker, question, answer, stands):
    found = marker.marks(traced(question, answer=answer), answer, USUAL)
    assert [mark.name for mark in found] == (["wrong_kind"] if stands else [])


def test_a_box_is_no_answer_to_a_question(marker):
    box = [10.0, 10.0, 20.0, 20.0]
    assert names(marker, traced("the red cube", box=box), box) == []
    assert names(marker, traced(box=box), box) == ["wrong_kind"]


def test_maps_on_no_object(marker):
    assert names(marker, traced(looks=OFF)) == ["no_object"]
    # Two maps are compared, of which one is on an object.
    assert names(marker, traced("Is it red?", answer="yes", describe=2), "yes") == []
    # Where there are none there is nothing to look at.
    for question, answer in ((QUESTION, "0"), ("Is there a cube?", "no")):
        assert names(marker, traced(question, answer=answer, looks=OFF), answer) == []
    assert names(marker, traced(looks=OFF), look=None) == []


def test_an_unfamiliar_image(marker):
    (mark,) = marker.marks(traced(), "3", Look(2.5, OBJECTS))
    assert mark.name == "unlike_image" and "2.5 times" in mark.reason
    assert names(marker, traced(), look=Look(1.0, OBJECTS)) == []


def test_words_that_make_no_sentence(marker):
    words = traced()
    words.words = ["how", "many", "nonsense"]
    assert names(marker, words) == ["no_sentence"]
    marker.reads = None
    assert names(marker, words) == []


def test_marks_come_in_their_order_each_with_a_sentence(marker):
    bad = traced(answer="red", weights=(0.45, 1.0), looks=OFF)
    bad.words = ["how", "many", "nonsense", "?"]
    found = marker.marks(bad, "blue", Look(3.0, OBJECTS))
    assert tuple(mark.name for mark in found) == MARKS
    assert all(mark.reason[0].isupper() and mark.reason.endswith(".") for mark in found)


def test_boxes_are_the_same_from_an_overlap_of_half_on():
    assert same_prediction([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0])
    assert not same_prediction([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.0])
    assert not same_prediction("3", [0.0, 0.0, 10.0, 4.0])
