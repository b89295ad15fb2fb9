"""Edits as people write them: what they set, and what is said of those that cannot be."""

import numpy as np
import pytest
import torch

from snmn.common.vocabulary import MODULE_INDEX, encode, tokenise
from snmn.network.edits import EditError, Edits, edits_of_text, plan_edits
from snmn.network.layouts import LayoutEditError
from snmn.network.model import build_model

QUESTION = "is the cube behind the cube red ?"
WORDS = tokenise(QUESTION)
T, H, W, D = 4, 2, 3, 5
SIZE = (300, 100)


def make_model(**options):
    torch.manual_seed(0)
    sizes = dict.fromkeys(("embed_dim", "lstm_dim", "kb_dim", "memory_dim"), 8)
    sizes |= {"feature_dim": D, "height": H, "width": W, "num_steps": T, "pe_dim": 4}
    return build_model(**sizes, **options).eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


def plan(model, **edits):
    found = plan_edits(Edits(**edits), model, torch.tensor([encode(QUESTION)]), WORDS, SIZE)
    return found.intervention, found.given


def run(model, intervention):
    question = torch.tensor([encode(QUESTION)])
    features = torch.randn(1, H, W, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(question, torch.tensor([len(WORDS)]), features, intervention)


def test_nothing_is_set(model):
    assert plan(model) == (None, [()] * T)
    intervention, given = plan(model, layout=[None] * T, words=[None], attention=[])
    assert given == [()] * T
    same, plain = run(model, intervention), run(model, None)
    assert torch.equal(same.stack, plain.stack) and torch.equal(same.memory, plain.memory)


def test_a_layout_that_ends_does_nothing_more(model):
    intervention, given = plan(model, layout="_Find _DescribeOne")
    assert given == [("module",)] * T
    names = ("_Find", "_DescribeOne", "_NoOp", "_NoOp")
    assert intervention.layout.tolist() == [[MODULE_INDEX[name] for name in names]]
    assert run(model, intervention).module_probs.argmax(dim=2).equal(intervention.layout)


@pytest.mark.parametrize(
    "heard, shares",
    [
        ("behind", {3: 1}),
        ("Cube, behind!", {2: 1 / 3, 3: 1 / 3, 5: 1 / 3}),
        (["cube"], {2: 0.5, 5: 0.5}),
        ([2, "red"], {2: 0.5, 6: 0.5}),
        (np.array([0, 7]), {0: 0.5, 7: 0.5}),
        ({"2": 3, "red": 1.0}, {2: 0.75, 6: 0.25}),
        ({5: 2}, {5: 1}),
        (np.eye(8)[4], {4: 1}),
        (torch.eye(8)[3:5].sum(0), {3: 0.5, 4: 0.5}),
    ],
)
def test_words(model, heard, shares):
    intervention, given = plan(model, words=[None, heard])
    expected = torch.zeros(T, len(WORDS))
    for place, share in shares.items():
        expected[1, place] = share
    assert torch.allclose(intervention.words[0], expected)
    assert given == [(), ("words",), (), ()]
    assert torch.allclose(run(model, intervention).question_attention[0, 1], expected[1])


@pytest.mark.parametrize(
    "heard, said",
    [
        ("sphere", "'sphere' is no word of the question: is the cube"),
        ([8], "8 is no word .* from 0 to 7"),
        ([-1], "-1 is no word"),
        ([True], "True is no word"),
        ([1.5], "1.5 is no word"),
        ([None], "None is no word"),
        ([[1]], r"\[1\] is no word"),
        ({"red": -1}, "weight is a number from 0, not -1"),
        ({"red": "x"}, "weight is a number from 0, not 'x'"),
        ({"red": float("nan")}, "weight is a number from 0, not nan"),
        ({"red": 0}, "listens to no word"),
        ({}, "listens to no word"),
        (np.ones(5), r"\(5,\) weights for the question's 8 words"),
        (5, "cannot listen to 5"),
    ],
)
def test_words_that_cannot_be(model, heard, said):
    with pytest.raises(EditError, match=f"step 2.*{said}"):
        plan(model, words=[None, heard])


def test_a_box_is_one_object_as_the_model_sees_it(model):
    layout = "_Find _DescribeOne"
    # A cell is 100 x 50 pixels: half of the box lies in each of two cells.
    intervention, given = plan(model, layout=layout, attention=[[150, 0, 100, 50]])
    assert given[0] == ("module", "attention")
    torch.testing.assert_close(
        intervention.regions[0, 0], torch.tensor([0, 0.5, 0.5, 0, 0, 0]), atol=1e-6, rtol=0
    )
    seen = run(model, intervention).image_attention[0, 0].flatten()
    whole, _ = plan(model, layout=layout, attention=[[100, 0, 100, 50]])
    object_ = run(model, whole).image_attention[0, 0].flatten()
    assert seen[0] == seen[3] == object_[0] < seen[1] < object_[1]
    # Two halves are as much as one whole, over what there is anywhere.
    ground = seen[0].exp()
    halves = (seen[1:3].exp() - ground).sum()
    torch.testing.assert_close(halves, object_[1].exp() - ground)
    assert run(model, intervention).memory.ne(run(model, whole).memory).any()


def test_an_object_is_as_strong_as_what_find_finds(model):
    plain = run(model, plan(model, layout=["_Find"] * T)[0]).image_attention[0].flatten()
    intervention, _ = plan(model, layout="_Scene", attention=[[[1, 0, 0], [0, 0, 0]]])
    here = run(model, intervention).image_attention[0, 0].flatten()
    norm = model.nmn.neural_modules["_Find"].score.weight.norm()
    low, high = plain.median(), plain.max()
    torch.testing.assert_close(here[1], low, atol=1e-5, rtol=0)
    torch.testing.assert_close(here[0], torch.maximum(high, low + norm / 3), atol=1e-5, rtol=0)


def test_weights_of_cells(model):
    grid = np.array([[0, 4, 0], [2, 0, 0]])
    intervention, _ = plan(model, layout="_Find", attention=[grid])
    assert intervention.regions[0, 0].tolist() == [0, 1, 0, 0.5, 0, 0]
    assert intervention.regions[0, 1].isnan().all()


@pytest.mark.parametrize(
    "place, said",
    [
        ([0, 0, 0, 10], "with a width and a height"),
        ([0, 0, float("inf"), 10], "with a width and a height"),
        ([300, 0, 10, 10], "outside the image of 300 x 100"),
        ([-20, 0, 10, 10], "outside the image"),
        ([1, 2, 3], r"weights of 2 x 3 cells, not of shape \(3,\)"),
        ([[1, 2], [3]], "attention is a box"),
        ("left", "attention is a box"),
        (7, "attention is a box"),
        ({"x": 1}, "attention is a box"),
        (np.zeros((2, 3)), "not all 0"),
        (-np.eye(2, 3), "numbers from 0"),
        (np.full((2, 3), np.nan), "numbers from 0"),
    ],
)
def test_attention_that_cannot_be(model, place, said):
    with pytest.raises(EditError, match=f"step 1: .*{said}"):
        plan(model, layout="_Find", attention=[place])


def test_attention_needs_a_map(model):
    with pytest.raises(EditError, match="step 2, _NoOp, leaves no map"):
        plan(model, layout="_NoOp _NoOp _Find", attention=[None, [0, 0, 50, 50]])


def test_lists_are_by_step(model):
    for edits in ({"words": "red"}, {"words": {0: "red"}}, {"attention": "box"}):
        with pytest.raises(EditError, match="in a list, one entry for each step"):
            plan(model, **edits)
    for edits in ({"words": [None] * 5}, {"attention": [None] * 5}):
        with pytest.raises(EditError, match="for 5 steps, but the model has 4"):
            plan(model, **edits)


def choosing(model, *modules):
    """The model with a controller that always prefers modules in this order."""
    score = model.controller.module_score
    score[2].weight.data.zero_()
    for rank, name in enumerate(modules):
        score[2].bias.data[MODULE_INDEX[name]] = 9.0 - rank
    return model


def test_a_layout_of_both_is_judged_as_a_whole():
    """The controller would go on with Transform: without its Find that cannot run."""
    model = choosing(make_model(linear_module_weights=False), "_Transform", "_Find")
    with pytest.raises(LayoutEditError, match="step 2, _Transform .the controller's choice"):
        plan(model, layout=["_NoOp", None])
    assert plan(model, layout=["_Find", None])[1] == [("module",), (), ("module",), ("module",)]
    # Words alone, and attention that nothing depends on, are no reason to refuse a layout.
    assert plan(model, words=["red"])[1][0] == ("words",)


def test_a_model_that_leaves_out_what_cannot_run():
    options = {"linear_module_weights": False, "validate_modules": True}
    model = choosing(make_model(**options), "_Transform", "_Find")
    intervention, _ = plan(model, layout=["_NoOp", None, "_DescribeOne"])
    heights = run(model, intervention).stack_pointer[0].argmax(dim=1)
    assert heights.tolist() == [0, 1, 1, 1]
    with pytest.raises(LayoutEditError, match="step 3, _And, .* 1 map after step 2, _Find"):
        plan(model, layout=["_NoOp", None, "_And"])


def test_what_was_decided_for_the_check_is_not_decided_again(model):
    question, length = torch.tensor([encode(QUESTION)]), torch.tensor([len(WORDS)])
    features = torch.randn(1, H, W, D, generator=torch.Generator().manual_seed(1))
    edits = Edits(["_Find", "_Scene", None, "_Find"], ["red"])
    found = plan_edits(edits, model, question, WORDS, SIZE)
    assert plan_edits(Edits("_Find"), model, question, WORDS, SIZE).decided is None
    with torch.no_grad():
        anew = model(question, length, features, found.intervention)
        saved = model(question, length, features, found.intervention, found.decided)
    for name in ("module_probs", "module_logits", "question_attention", "stack", "answer_logits"):
        assert torch.equal(getattr(anew, name), getattr(saved, name)), name


def test_texts_of_a_command_line():
    edits = edits_of_text("_Find", ["2=the cube", " 1 = red"], ["3=1,2,3.5,4"], 4)
    assert edits == Edits(
        "_Find", ["red", "the cube", None, None], [None, None, [1, 2, 3.5, 4], None]
    )
    assert not edits_of_text(None, None, None, 4)
    for words, boxes, said in (
        (["red"], None, "--words is given as STEP=..., with a step from 1 to 4, not 'red'"),
        (["5=red"], None, "step from 1 to 4"),
        (["0=red"], None, "step from 1 to 4"),
        (["1="], None, "--words is given"),
        (None, ["1=1,2,3"], "x,y,width,height in pixels, not '1,2,3'"),
        (None, ["x=1,2,3,4"], "--attention is given"),
    ):
        with pytest.raises(EditError, match=said):
            edits_of_text(None, words, boxes, 4)
