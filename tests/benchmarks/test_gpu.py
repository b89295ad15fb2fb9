"""What of the measurements on a GPU can be tried without one."""

import subprocess
import sys

import pytest
import torch

from benchmarks import gpu
from benchmarks.cuda_graphs import LENGTHS, CapturedStep, padded
from benchmarks.step import INFER_FLOOR, TRAIN_FLOOR, Step
from snmn.network.model import build_model
from tests.helpers import small_models
from tests.helpers.paths import ROOT

# On the published grid.
SMALL = small_models.SMALL | {"height": 14, "width": 14}


def test_says_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--json"])
    said = capsys.readouterr().out
    assert "GPU" in said and len(said.splitlines()) == 1


@pytest.mark.slow
def test_the_command_ends_well_without_one():
    hidden = "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''; import runpy; "
    run = "runpy.run_module('benchmarks.gpu', run_name='__main__', alter_sys=True)"
    result = subprocess.run(
        [sys.executable, "-c", hidden + run], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 1, result.stderr


def test_the_floor_is_that_of_the_processor():
    floors = gpu.floor_operations(64, gpu.FULL)
    assert floors["infer"] == pytest.approx(INFER_FLOOR, rel=5e-3)
    assert floors["train"] == pytest.approx(TRAIN_FLOOR, rel=5e-3)


def test_questions_are_padded_to_a_few_lengths():
    for words in (1, LENGTHS[0], LENGTHS[0] + 1, 45):
        question = torch.ones(3, words, dtype=torch.long)
        wide = padded(question)
        assert wide.shape[1] in LENGTHS and wide.shape[1] >= words
        assert wide[:, :words].all() and not wide[:, words:].any()
        assert not [length for length in LENGTHS if words <= length < wide.shape[1]]
    with pytest.raises(ValueError, match="49 words"):
        padded(torch.ones(3, 49, dtype=torch.long))


def test_padding_to_a_few_lengths_changes_no_number():
    torch.manual_seed(0)
    model = build_model(**SMALL, loc=True, reconstruct_question=True).double()
    question, length = torch.randint(1, 82, (4, 19)), torch.tensor([19, 3, 7, 12])
    features = torch.randn(2, 14, 14, 6, dtype=torch.float64)
    expected = model(question, length, features)
    wide = model(padded(question), length, features)
    for name, value in vars(expected).items():
        if name == "module_names":
            continue
        actual = getattr(wide, name)
        if name in ("question_attention", "word_logits"):
            actual = actual[:, :, :19]
        elif name == "reconstruction_logits":
            actual = actual[:, :19]
        torch.testing.assert_close(actual, value, rtol=1e-9, atol=1e-9)
    assert not wide.question_attention[:, :, 19:].any()


class Graphs:
    """In the place of graphs: reads and writes the memory of the first run, and no other."""

    def __init__(self, step):
        self.step, self.captured = step, 0

    def __call__(self, work):
        self.captured += 1
        read = vars(self.step.batch) | {}, self.step.features
        parameters = list(self.step.model.parameters())
        result = work()
        written = [parameter.grad for parameter in parameters]

        def replay():
            vars(self.step.batch).update(read[0])
            self.step.features = read[1]
            held = [parameter.grad for parameter in parameters]
            fresh = work()
            if fresh is not None:
                with torch.inference_mode():
                    result.answer_logits.copy_(fresh.answer_logits)
            for parameter, old, before in zip(parameters, written, held, strict=True):
                if old is not None and fresh is None:
                    old.copy_(parameter.grad)
                parameter.grad = before
            return result

        return replay


def test_captured_steps_train_and_answer_as_others():
    def make_step():
        step = Step(images=2, each=2, **SMALL)
        step.model.double()
        step.features = step.features.double()
        step.average.average = {k: v.double() for k, v in step.average.average.items()}
        return step

    ours, plain = make_step(), make_step()
    batch = ours.batch
    inputs = [batch.question, batch.length, batch.layout, batch.answer, ours.features]
    short = [inputs[0][:, :9], inputs[1].clamp_max(9), *inputs[2:4], 2 * inputs[4]]
    graphs = Graphs(ours)
    captured = CapturedStep(ours, capturing=graphs)
    for given in (inputs, short, inputs, short, inputs):
        plain.batch.question, plain.batch.length = given[:2]
        plain.features = given[4]
        logits = plain.answer().answer_logits
        torch.testing.assert_close(captured.answer(*given).answer_logits, logits)
        captured.train(*given)
        plain.train()
    assert graphs.captured == 4  # training and answering, for each length
    for actual, expected in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(actual, expected)


def test_rows_of_a_measurement(capsys):
    """On a processor, with a clock that makes every job take as long as it has a name."""
    seconds = iter([0.25, 0.5, 1.0] * 3)
    rows = gpu.measure(
        "train",
        ("plain", "eager"),
        3,
        images=2,
        each=2,
        device="cpu",
        precision=None,
        seconds=lambda job: next(seconds),
        peak=lambda work: (work(), 7.0),
        **SMALL,
    )
    rate = 2 * 2 * 14 * 14 * 6 * 8 / 0.25
    floor = gpu.floor_operations(2, SMALL)["train"] / rate
    assert [row["way"] for row in rows] == ["plain", "eager"]
    assert [row["ms"] for row in rows] == [500, 1000]
    assert [row["questions_per_second"] for row in rows] == [8, 4]
    assert rows[0]["floor_share"] == pytest.approx(floor / 0.5)
    text = gpu.table([{"size": "small", "precision": "tf32"} | row for row in rows])
    assert "small tf32 train eager" in text and len(text.splitlines()) == 3
