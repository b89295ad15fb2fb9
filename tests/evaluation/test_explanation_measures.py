"""The measures of an explanation on maps of known scores, and deletion on a known model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX, MODULES
from snmn.data.batch import Batch
from snmn.evaluation.explanation_callback import (
    ATTENDED,
    ELSEWHERE,
    OTHERS,
    Explainer,
    _verdicts,
)
from snmn.evaluation.explanation_measures import (
    Explanation,
    ModuleTally,
    QuestionTruth,
    Reading,
    attended_objects,
    explanation_table,
    grown,
)
from snmn.evaluation.last_maps import last_maps
from snmn.evaluation.marks import Marker
from snmn.figures.trace import Step, Trace
from snmn.network.model import SNMNOutput

GRID = (3, 4)
# Three objects of one, two and one cells.
CELLS = np.zeros((3, 12), dtype=bool)
CELLS[0, 0] = CELLS[1, 5] = CELLS[1, 6] = CELLS[2, 11] = True


def one_hot(cell):
    return np.eye(12)[cell]


def test_an_object_is_attended_from_half_an_even_share_on():
    attention = 0.17 * one_hot(0) + 0.08 * one_hot(5) + 0.08 * one_hot(6) + 0.67 * one_hot(3)
    assert attended_objects(attention, CELLS).tolist() == [True, False, False]
    assert attended_objects(attention + 0.01 * one_hot(6), CELLS).tolist() == [True, True, False]


def test_grown_regions_touch_corners_and_stay_on_the_grid():
    assert np.flatnonzero(grown(CELLS[0], GRID)).tolist() == [0, 1, 4, 5]
    assert grown(CELLS[1], GRID).all()
    assert not grown(np.zeros(12, bool), GRID).any()


class TestTally:
    def test_peaks_masses_and_chances_by_hand(self):
        tally = ModuleTally()
        first, both = np.array([True, False, False]), np.array([False, True, True])
        tally.add(one_hot(0), CELLS, first, GRID)  # a hit
        tally.add(one_hot(5), CELLS, first, GRID)  # one cell off, on another object
        tally.add(0.6 * one_hot(6) + 0.4 * one_hot(3), CELLS, both, GRID)  # one of two objects
        result = tally.summary()
        assert result["steps"] == 3 and result["steps_with_nothing_to_select"] == 0
        assert (result["pointing"]["correct"], result["near"]["correct"]) == (2, 3)
        assert result["by_chance"] == pytest.approx((1 / 3 + 1 / 3 + 2 / 3) / 3, abs=1e-6)
        assert result["mass"] == pytest.approx((1 + 0 + 0.6) / 3, abs=1e-6)
        assert result["area"] == pytest.approx((1 + 1 + 3) / 12 / 3, abs=1e-6)
        assert result["precision"] == pytest.approx(2 / 3, abs=1e-6)
        assert result["recall"] == pytest.approx(2 / 4, abs=1e-6)

    def test_where_nothing_should_be_selected_only_precision_suffers(self):
        tally = ModuleTally()
        tally.add(one_hot(0), CELLS, np.array([False] * 3), GRID)
        assert tally.summary() == {
            "steps": 0,
            "steps_with_nothing_to_select": 1,
            "precision": 0.0,
        }


def test_steps_are_compared_until_the_layouts_part():
    selected = np.array([True, False, False])
    reading = Reading(
        layout=["_Find", "_Transform", "_Filter", "_DescribeOne"],
        selected=[selected, selected, selected, None],
        answer=None,
    )
    explanation = Explanation()
    modules = ["_Find", "_Transform", "_And", "_DescribeOne", "_NoOp"]
    explanation.add_steps(modules, np.tile(one_hot(0), (5, 1)), CELLS, reading, GRID)
    assert {name: tally.steps for name, tally in explanation.modules.items()} == {
        "_Find": 1,
        "_Transform": 1,
    }
    assert explanation.same_layout == 0
    modules[2] = "_Filter"
    explanation.add_steps(modules, np.tile(one_hot(0), (5, 1)), CELLS, reading, GRID)
    assert explanation.modules["_Filter"].hits == explanation.same_layout == 1


def step(module, top=1):
    stack = np.stack([np.full(GRID, place / 10) for place in range(4)])
    return Step(
        module=module,
        probability=1.0,
        probabilities=np.eye(len(MODULES))[MODULE_INDEX[module]],
        words=np.ones(1),
        attention=stack[top],
        stack=stack,
        pointer=np.eye(4)[top],
    )


class TestLastMaps:
    def maps(self, *steps):
        traced = Trace(words=["?"], steps=list(steps), answers=[], box=None, confidence=1.0)
        return [float(found[0, 0]) for found in last_maps(traced)]

    def test_those_before_the_last_describe(self):
        after = step("_DescribeOne", top=0)
        assert self.maps(step("_Find", 2), after, step("_NoOp")) == [0.2]
        assert self.maps(step("_Find", 2), step("_DescribeTwo")) == [0.2, 0.1]

    def test_of_expressions_the_last(self):
        assert self.maps(step("_Find", 1), step("_Filter", 1), step("_NoOp", 0)) == [0.1]

    def test_nothing_of_nothing(self):
        assert self.maps(step("_NoOp")) == []


class OneCellModel:
    """Says "yes" while cell 6 has features, and always shows attention on ``shown``."""

    def __init__(self, shown):
        self.shown, self.model = shown, self
        describe = SimpleNamespace(inputs=1)
        self.nmn = SimpleNamespace(answer_modules={"_DescribeOne": describe})

    def __call__(self, question, length, features, intervention=None):
        N = len(question)
        bright = features.flatten(1, 2)[torch.arange(N) // (N // len(features)), 6].sum(dim=1) > 0
        logits = torch.zeros(N, len(ANSWER_INDEX))
        logits[:, ANSWER_INDEX["yes"]] = torch.where(bright, 2.0, -2.0)
        logits[:, ANSWER_INDEX["no"]] = 1.0
        modules = torch.full((N, 3, len(MODULES)), -9.0)
        for t, name in enumerate(("_Find", "_DescribeOne", "_NoOp")):
            modules[:, t, MODULE_INDEX[name]] = 9.0
        maps = torch.full((N, 3, 12), -20.0)
        maps[..., self.shown] = 20.0
        pointer = torch.tensor([0.0, 1.0]).expand(N, 3, 2)
        return SNMNOutput(
            answer_logits=logits,
            module_logits=modules,
            module_probs=modules.softmax(-1),
            question_attention=torch.full((N, 3, question.shape[1]), 0.5),
            stack=torch.stack([torch.zeros_like(maps), maps], dim=2).unflatten(-1, GRID),
            stack_pointer=pointer,
            image_attention=maps.unflatten(-1, GRID),
            memory=torch.zeros(N, 1),
        )


def explained(shown, answer="yes"):
    """The summary of an explanation of four questions about two images."""
    model = OneCellModel(shown)
    whole = torch.zeros(4, dtype=torch.long)
    batch = Batch(
        question=torch.ones(4, 2, dtype=torch.long),
        length=whole + 2,
        image_features=torch.ones(2, *GRID, 3),
        answer=whole + ANSWER_INDEX["yes"],
        layout=None,
        question_index=torch.arange(4),
        image=torch.tensor([0, 0, 1, 1]),
        question_type=whole,
        hops=whole,
    )
    imdb = SimpleNamespace(question_index=np.arange(4), filenames=["a", "b"])
    datamodule = SimpleNamespace(questions=lambda split: {"vqa": imdb})
    reading = Reading(
        layout=["_Find", "_DescribeOne"],
        selected=[np.array([False, True, False]), None],
        answer=answer,
    )
    about = np.array([False, True, False])
    truth = QuestionTruth(cells=CELLS, asked=about, read=lambda *given: reading)
    explainer = Explainer({"vqa": lambda *which: truth}, marker=Marker(model, {}))
    output = model(batch.question, batch.length, batch.image_features)
    trainer = SimpleNamespace(datamodule=datamodule)
    explainer.on_test_batch_end(trainer, model, {"output": output}, batch, 0)
    return explainer.explanations["vqa"].summary()


class TestDeletion:
    def test_a_model_that_shows_what_it_uses(self):
        summary = explained(shown=5)  # a cell of the same object as cell 6
        changed = summary["deletion"]["answer_changed"]
        assert changed[ATTENDED]["share"] == 1 and changed[ATTENDED]["total"] == 4
        assert changed[ELSEWHERE]["share"] == changed[OTHERS]["share"] == 0
        assert summary["modules"]["_Find"]["pointing"]["share"] == 1
        assert summary["last_maps"]["steps"] == 4
        assert summary["last_maps"]["pointing"]["share"] == 1

    def test_a_model_that_shows_something_else(self):
        summary = explained(shown=0)
        changed = summary["deletion"]["answer_changed"]
        assert changed[ATTENDED]["share"] == 0
        assert summary["modules"]["_Find"]["pointing"]["share"] == 0
        assert summary["last_maps"]["pointing"]["share"] == 0

    def test_a_model_that_shows_no_object(self):
        deletion = explained(shown=3)["deletion"]
        assert deletion == {"questions_that_attend_to_nothing": 4, "answer_changed": {}}


def test_discrete_programs_are_held_against_model_and_truth():
    assert explained(5)["discrete_program"]["as_model"]["share"] == 1
    other = explained(5, answer="no")["discrete_program"]
    assert other["answers"]["share"] == 1
    assert other["as_model"]["share"] == other["right"]["share"] == 0
    none = explained(5, answer=None)["discrete_program"]
    assert none["answers"]["share"] == 0 and "as_model_where_it_answers" not in none


@pytest.mark.parametrize(
    ("answer", "cell", "verdicts"),
    [(1, 6, (True, True)), (1, 0, (False, True)), (0, 0, (True, False)), (None, 6, (False, False))],
)
def test_of_expressions_the_program_is_held_against_the_best_cell(answer, cell, verdicts):
    reading = Reading(layout=["_Find"], selected=[np.array([False, True, False])], answer=answer)
    output = SimpleNamespace(cell_scores=torch.from_numpy(one_hot(cell))[None])
    assert _verdicts(reading, CELLS, SimpleNamespace(task="loc"), output, 0) == verdicts


def test_the_table_has_a_line_for_each_module():
    lines = explanation_table(explained(5)).splitlines()
    assert lines[1].split()[:3] == ["Find", "4", "1.0000"]
    assert lines[2].split()[:4] == ["last", "maps", "4", "1.0000"]
    assert any(line.startswith("answer changes without attended objects") for line in lines)
