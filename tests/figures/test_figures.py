"""Figures and the traces that they are drawn from."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from snmn.common.vocabulary import ANSWERS, MODULES, encode
from snmn.figures.canvas import heat
from snmn.figures.question_figure import draw_figure
from snmn.figures.trace import trace
from snmn.network.model import build_model

GRID = (3, 4)
SIZE = dict(feature_dim=8, height=3, width=4, embed_dim=8, lstm_dim=8, pe_dim=4, kb_dim=8)


@pytest.fixture(scope="module")
def output():
    torch.manual_seed(0)
    model = build_model(**SIZE, memory_dim=8, answer_hidden_dim=8, loc=True).eval()
    with torch.no_grad():
        return model(QUESTION, LENGTH, torch.rand(1, *GRID, 8))


WORDS = "is there a big red cube left of it ?".split()
QUESTION = torch.tensor([encode(" ".join(WORDS)), [*encode("how many cubes ?"), *[0] * 6]])
LENGTH = torch.tensor([10, 4])


class TestTrace:
    def test_says_what_the_output_says(self, output):
        traced = trace(output, 1, QUESTION[1], 4)
        assert traced.words == ["how", "many", "cubes", "?"]
        assert len(traced.steps) == 9
        for t, step in enumerate(traced.steps):
            best = int(output.module_logits[1, t].argmax())
            assert step.module == MODULES[best]
            assert step.probability == pytest.approx(float(output.module_probs[1, t, best]))
            assert step.words.sum() == pytest.approx(1, abs=1e-5)
            assert step.attention.shape == GRID and step.stack.shape == (8, *GRID)
            assert step.attention.sum() == pytest.approx(1, abs=1e-5)
            peak = int(output.image_attention[1, t].argmax())
            assert int(step.attention.argmax()) == peak
        answer, share = traced.answers[0]
        assert answer == ANSWERS[int(output.answer_logits[1].argmax())]
        assert share == traced.confidence and sum(s for _, s in traced.answers) == pytest.approx(1)

    def test_of_an_expression_it_has_a_box_and_the_cells_confidence(self, output):
        traced = trace(output, 0, QUESTION[0], 10, box=torch.tensor([1.0, 2.0, 3.0, 4.0]))
        assert traced.box == [1, 2, 3, 4] and traced.answers == []
        assert traced.confidence == pytest.approx(float(output.cell_scores[0].softmax(0).max()))

    def test_goes_through_json(self, output):
        traced = trace(output, 0, QUESTION[0], 10)
        back = json.loads(json.dumps(traced.to_dict()))
        assert back["words"] == WORDS
        assert np.allclose(back["steps"][2]["stack"], traced.steps[2].stack, atol=1e-6)

    def test_no_ops_at_the_end_are_idle(self, output):
        traced = trace(output, 0, QUESTION[0], 10)
        names = ["_Find", "_NoOp", "_Filter", "_NoOp", "_NoOp"]
        traced.steps = traced.steps[:5]
        for step, name in zip(traced.steps, names, strict=True):
            step.module = name
        assert [step.module for step in traced.active_steps] == names[:3]


class TestFigure:
    @pytest.fixture
    def traced(self, output):
        return trace(output, 0, QUESTION[0], 10)

    def test_grows_with_the_steps_it_shows(self, traced):
        for step in traced.steps:
            step.module = "_Find"
        whole = draw_figure(traced)
        for step in traced.steps[4:]:
            step.module = "_NoOp"
        assert draw_figure(traced).height < whole.height
        assert draw_figure(traced).width == whole.width

    def test_what_is_not_to_be_shown_leaves_no_room(self, traced):
        whole = draw_figure(traced, expected="yes", correct=True)
        assert draw_figure(traced, show_answer=False).height < whole.height
        assert draw_figure(traced, show_stack=False).width < whole.width

    def test_hidden_answers_make_no_difference(self, traced):
        hidden = [
            np.asarray(draw_figure(traced, expected=e, correct=c, show_answer=False))
            for e, c in (("yes", True), ("no", False))
        ]
        assert np.array_equal(*hidden)

    def test_shows_the_image_and_where_the_attention_is(self, traced):
        green = Image.new("RGB", (60, 40), (0, 200, 0))
        flat = np.asarray(draw_figure(traced, green)).astype(int)
        traced.steps[0].attention = np.eye(12)[0].reshape(GRID)
        pointed = np.asarray(draw_figure(traced, green)).astype(int)
        assert (flat == (0, 200, 0)).all(axis=-1).sum() > 1000
        rows, columns = np.nonzero((flat != pointed).any(axis=-1))
        bright = (pointed[..., 0] > 120) & (pointed[..., 1] > 120) & (pointed[..., 2] < 200)
        assert bright[rows.min() : rows.min() + 40, columns.min() : columns.min() + 40].any()

    def test_a_box_is_drawn_even_if_it_ends_before_it_begins(self, output):
        traced = trace(output, 0, QUESTION[0], 10, box=torch.tensor([30.0, 20.0, -9.0, 12.0]))
        image = Image.new("RGB", (60, 40))
        figure = draw_figure(traced, image, true_box=[5.0, 5.0, 20.0, 20.0], correct=False)
        assert (np.asarray(figure) == (0xB3, 0x26, 0x1E)).all(axis=-1).sum() > 50


def test_heat_rises():
    shades = heat(np.linspace(0, 1, 20)).astype(int).sum(axis=-1)
    assert (np.diff(shades) > 0).all()
    assert heat(np.array([-1.0, 2.0])).tolist() == heat(np.array([0.0, 1.0])).tolist()
