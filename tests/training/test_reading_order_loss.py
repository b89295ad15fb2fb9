"""In which order the words of a layout's steps stand: snmn/training/reading_order_loss.py."""

import math
from types import SimpleNamespace

import pytest
import torch

from clevr_prep.truth.discrete_programs import heard_arguments
from snmn.common.reading_order import NOBODY, next_read
from snmn.common.vocabulary import MODULE_INDEX, QUESTION_WORDS, encode, tokenise
from snmn.network.model import build_model
from snmn.training.losses import SNMNLoss
from snmn.training.reading_order_loss import ReadingOrderLoss

reading_order_loss = ReadingOrderLoss()

# A question, its expert layout, and the words that each step is about; none for what has no words.
READINGS = [
    (
        "Do the cylinder and the cube in front of the brown object have the same color?",
        "_Find _Find _Transform _Filter _DescribeTwo",
        "cylinder brown front cube -",
    ),
    (
        "What color is the cube that is left of the big sphere behind the tiny cylinder?",
        "_Find _Transform _Filter _Transform _Filter _DescribeOne",
        "tiny behind big left cube -",
    ),
    (
        "How many cubes are both left of the sphere and behind the cylinder?",
        "_Find _Transform _Find _Transform _And _Filter _DescribeOne",
        "sphere left cylinder behind - cubes -",
    ),
    (
        "There is a sphere behind the cube; how many metal things are left of it?",
        "_Find _Transform _Filter _Transform _Filter _DescribeOne",
        "cube behind sphere left metal -",
    ),
    (
        "Are there more red balls than things that are right of the block?",
        "_Find _Find _Transform _DescribeTwo",
        "red block right -",
    ),
    (
        "the green thing that is either a metal cube or a tiny ball",
        "_Find _Find _Or _Filter",
        "metal tiny - green",
    ),
]


def batch(question: str, layout: str, about: str):
    """Attention [1,T,S] all on the words of each step, question [1,S], layout and order [1,T]."""
    words, modules = tokenise(question), layout.split()
    attention = torch.full((1, 9, len(words)), 1 / len(words))
    for step, word in enumerate(about.split()):
        if word != "-":
            attention[0, step] = torch.eye(len(words))[words.index(word)]
    padded = modules + ["_NoOp"] * (9 - len(modules))
    indices = torch.tensor([[MODULE_INDEX[name] for name in padded]])
    following = torch.tensor([next_read(tuple(padded))])
    return attention, torch.tensor([encode(question)]), indices, following


@pytest.mark.parametrize("question, layout, about", READINGS)
def test_sentences_are_in_the_order_of_their_layouts(question, layout, about):
    assert reading_order_loss(*batch(question, layout, about)) == 0


# What a step costs whose words are certainly the wrong ones, and one for which either may be.
CERTAINLY_WRONG, HALF_WRONG = -math.log(1e-6), math.log(2)


def test_another_order_costs_how_unlikely_the_right_one_is():
    question, layout, about = READINGS[0]
    swapped, *rest = batch(question, layout, "brown cylinder front cube -")
    # brown, Find's, should be before Filter's cube, and Transform's front before Find's cylinder.
    loss = reading_order_loss(swapped, *rest)
    torch.testing.assert_close(loss, torch.tensor(2 * CERTAINLY_WRONG))
    right = batch(question, layout, about)[0]
    loss = reading_order_loss(0.5 * right + 0.5 * swapped, *rest)
    torch.testing.assert_close(loss, torch.tensor(2 * HALF_WRONG))


def test_words_of_another_kind_cost_how_unlikely_the_right_ones_are():
    question, layout, about = READINGS[0]
    # "do" stands where it should, but describes nothing.
    loss = reading_order_loss(*batch(question, layout, "do brown front cube -"))
    torch.testing.assert_close(loss, torch.tensor(CERTAINLY_WRONG))
    attention, *rest = batch(question, layout, about)
    attention[0, 2] = 0.5 * attention[0, 2] + 0.5 * attention[0, 1]
    # Half on "brown": that relates nothing, and is not before Find's "brown".
    loss = reading_order_loss(attention, *rest)
    torch.testing.assert_close(loss, torch.tensor(2 * HALF_WRONG))


def test_attention_that_has_settled_on_wrong_words_still_learns():
    question, layout, about = READINGS[0]
    _, *rest = batch(question, layout, about)
    wrong = batch(question, layout, "brown cylinder front cube -")[0]
    scores = (10 * wrong).requires_grad_()  # After a softmax, 0.999 on the wrong word.
    reading_order_loss(scores.softmax(-1), *rest).backward()
    assert scores.grad[0, 0].abs().max() > 0.1


@pytest.mark.parametrize("module", ["_Find", "_Filter", "_Transform"])
def test_words_of_a_module_are_those_that_its_program_hears(module):
    # These go with them, and say nothing that a program could use.
    beside = ["same"] if module == "_Transform" else "thing things object objects".split()
    for index, word in enumerate(QUESTION_WORDS):
        one = torch.ones(1, 1, 1)
        layout = torch.tensor([[MODULE_INDEX[module]]])
        loss = reading_order_loss(one, torch.tensor([[index]]), layout, torch.tensor([[NOBODY]]))
        heard = bool(heard_arguments(module, [word], [1.0])) or word in beside
        torch.testing.assert_close(loss, torch.tensor(0.0 if heard else CERTAINLY_WRONG), msg=word)


def test_steps_without_an_order():
    # "There is a cube; how many balls are left of it?" asks in the other order for "it" alone.
    related = next_read(("_Find", "_Transform", "_Filter", "_DescribeOne"))
    assert related == (NOBODY, NOBODY, 1, NOBODY)
    assert next_read(("_Scene", "_Transform", "_Transform", "_DescribeOne"))[1] == NOBODY
    # What takes from an empty stack is no layout; what stood before keeps its order.
    assert next_read(("_Find", "_Transform", "_And", "_Filter")) == (NOBODY, 0, NOBODY, NOBODY)
    assert next_read(("_Filter", "_Find")) == (NOBODY, NOBODY)


@pytest.mark.slow
def test_training_brings_steps_to_their_words():
    torch.manual_seed(0)
    sizes = dict.fromkeys(("embed_dim", "lstm_dim", "kb_dim", "memory_dim"), 16)
    model = build_model(feature_dim=8, pe_dim=8, answer_hidden_dim=8, **sizes)
    loss = SNMNLoss(answer_weight=None, reading_order_weight=2.0)
    question, layout, about = READINGS[1]
    attention, words, layouts, following = batch(question, layout, about)
    length = torch.tensor([attention.shape[2]])
    targets = SimpleNamespace(
        question=words,
        length=length,
        layout=layouts,
        next_read=following,
        answer=None,
        box_cell=None,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(200):
        output = model(words, length, torch.randn(1, 14, 14, 8))
        losses = loss(output, targets, model, 0)
        assert list(losses) == ["reading_order"]
        optimiser.zero_grad()
        losses["reading_order"].backward()
        optimiser.step()
        values.append(losses["reading_order"].item())
    assert values[-1] < 0.1 * values[0]
