"""Modules beside the nine by their names, wherever indices become words; and pictures of them."""

import numpy as np
import pytest
import torch
from PIL import ImageChops

import snmn
from clevr_prep.truth.discrete_programs import read_layout
from snmn.common.vocabulary import MODULES, encode
from snmn.evaluation.last_maps import last_maps
from snmn.evaluation.prediction_rows import layout_text
from snmn.evaluation.scores import score_table, summarise
from snmn.figures.question_figure import MARGIN, NAME_WIDTH, draw_figure
from snmn.figures.trace import Step, Trace, trace
from tests.helpers.small_models import SMALL, Not

NAMES = (*MODULES, "_Not", "_" + "Long" * 15)
LONG = NAMES[-1]


@pytest.fixture(scope="module")
def traced():
    """Of a model whose steps all run a module of its own, with a name that is too long to draw."""
    torch.manual_seed(0)
    model = snmn.build_model(modules={"_Not": Not, LONG: Not}, **SMALL).eval()
    with torch.no_grad():
        model.controller.module_score.weight.zero_()
        question = torch.tensor([encode("is there a cube?")])
        output = model(question, torch.tensor([5]), torch.rand(1, 3, 4, 6))
        output.module_logits[..., -1] += 1
        output.module_probs = output.module_logits.softmax(-1)
    return trace(output, 0, question[0], 5)


def test_steps_have_the_models_names(traced):
    assert traced.modules == NAMES
    assert {step.module for step in traced.steps} == {LONG}
    assert all(step.probabilities.shape == (len(NAMES),) for step in traced.steps)
    assert traced.to_dict()["modules"] == list(NAMES)


def test_a_long_name_is_cut_where_the_words_begin(traced):
    drawn = draw_figure(traced)
    for step in traced.steps:
        step.module = "_A"
    traced.modules = tuple("_A" for _ in NAMES)
    short = draw_figure(traced)
    traced.modules = NAMES
    assert drawn.size == short.size
    left, _, right, _ = ImageChops.difference(drawn, short).getbbox()
    assert left >= MARGIN and MARGIN + NAME_WIDTH - 40 < right <= MARGIN + NAME_WIDTH


def test_layouts_and_their_confusion():
    assert layout_text([1, 9, 0, 10], NAMES) == f"_Find _Not {LONG}"
    rows = [{"correct": "", "type": "", "hops": "", "expected": ""}] * 2
    predicted, expert = np.array([[1, 9], [1, 10]]), np.array([[1, 7], [1, 10]])
    layouts = summarise(rows, predicted, expert, NAMES)["layouts"]
    assert layouts["modules"] == list(NAMES)
    assert np.shape(layouts["confusion"]) == (2, 11, 11)
    assert layouts["confusion"][1][7][9] == 1
    table = score_table({"accuracy": None, "layouts": layouts}, answers=True)
    assert "step 2: _Not for _DescribeOne 1" in table


@pytest.mark.parametrize("place", range(4))
def test_a_layout_with_an_unknown_module_is_no_program(place):
    words, attention = ["cube", "cubes"], [[1.0, 0.0]] * 4
    layout = ["_Find", "_Filter", "_Filter", "_DescribeOne"]
    assert read_layout(layout, words, attention, last="count") is not None
    layout[place] = "_Not"
    assert read_layout(layout, words, attention, last="count") is None
    assert read_layout(["_Find", "_Not"], words, attention[:2], last="unique") is None


def maps_of(*modules, answering):
    """The first numbers of the last maps, of steps whose maps count places of the stack."""
    stack = np.arange(4.0)[:, None, None]
    steps = [
        Step(name, 1.0, np.ones(1), np.ones(1), stack[3], stack, np.eye(4)[3]) for name in modules
    ]
    found = last_maps(Trace(["?"], steps, [], None, 1.0), answering)
    return [float(one[0, 0]) for one in found]


def test_the_maps_that_an_answer_module_of_ones_own_takes():
    answering = {"_DescribeOne": 1, "_Three": 3, "_Blind": 0, "_Nine": 9}
    assert maps_of("_Find", "_DescribeOne", answering=answering) == [3]
    assert maps_of("_Find", "_Three", answering=answering) == [3, 2, 1]
    assert maps_of("_Find", "_Nine", answering=answering) == [3, 2, 1, 0]
    assert maps_of("_Find", "_Blind", answering=answering) == []
    assert maps_of("_Find", "_Other", answering=answering) == [3]
