"""Learning to read first: layouts and words from questions alone (TRAIN.READING_UNTIL)."""

import copy

import pytest
import torch

import train
from snmn import build_model
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.reading_order import next_read
from snmn.common.vocabulary import MODULES
from snmn.network.nmn import StackNMN
from snmn.training.kept_reading import KeptReading
from snmn.training.optimiser import TFAdam
from tests.helpers.paths import ROOT
from tests.helpers.tiny_experiment import same_weights, write_experiment
from tests.training.test_training_parts import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:.*")

READS = ("model.question_encoder.", "model.controller.")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("reading")
    return root, write_experiment(root)


def run_training(tiny, name, steps, *more):
    options = ["TRAIN.MAX_ITER", str(steps), "-s", "3", "--logger", "csv", *map(str, more)]
    config = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
    train.main([config, *tiny[1], "EXP_NAME", name, *options])
    return tiny[0] / "runs" / name


@pytest.fixture(scope="module")
def begun(tiny):
    """A checkpoint to begin with."""
    return run_training(tiny, "begun", 2) / "last.ckpt"


def moved(before, after) -> set[str]:
    """The parts of a model whose weights differ between two checkpoints."""
    first, second = (read_checkpoint(path)["state_dict"] for path in (before, after))
    return {key.split(".")[1] for key in first if not torch.equal(first[key], second[key])}


def keeping(begun):
    return ["TRAIN.INIT_FROM_WEIGHTS", True, "TRAIN.INIT_WEIGHTS_FILE", begun]


def test_only_what_reads_questions_learns_and_no_image_is_looked_at(tiny, begun, monkeypatch):
    runs = []
    forward = StackNMN.forward
    monkeypatch.setattr(
        StackNMN, "forward", lambda self, *args: runs.append(self.training) or forward(self, *args)
    )
    folder = run_training(tiny, "reads", 4, "TRAIN.READING_UNTIL", 3, *keeping(begun))
    assert runs.count(True) == 1  # the fourth step
    early = folder / "step=00000002.ckpt"
    assert moved(begun, early) == {"question_encoder", "controller"}
    assert {"knowledge_base", "nmn", "answer_head"} <= moved(early, folder / "last.ckpt")
    log = (folder / "logs" / "metrics.csv").read_text()
    assert "train/layout_accuracy" in log and "train/loss_kept_reading" not in log


def test_training_goes_on_exactly_from_within_and_after(tiny, begun):
    how = ["TRAIN.READING_UNTIL", 3, "TRAIN.KEPT_READING_WEIGHT", 1.0, *keeping(begun)]
    whole = run_training(tiny, "whole", 6, *how)
    assert "train/loss_kept_reading" in (whole / "logs" / "metrics.csv").read_text()
    for step in (2, 4):
        part = run_training(
            tiny, f"part-{step}", 6, *how, "--resume", whole / f"step={step:08d}.ckpt"
        )
        same_weights(part / "last.ckpt", whole / "last.ckpt")


def test_vectors_of_words_stay_while_reading_is_kept(tiny, begun):
    for weight, stay in ((0.0, False), (1.0, True)):
        how = ["TRAIN.READING_UNTIL", 2, "TRAIN.KEPT_READING_WEIGHT", weight, *keeping(begun)]
        folder = run_training(tiny, f"words-{stay}", 2, *how)
        words = [
            read_checkpoint(path)["state_dict"]["model.question_encoder.embedding"]
            for path in (begun, folder / "last.ckpt")
        ]
        assert torch.equal(*words) == stay


class Read:
    """A batch of two questions, whose layouts are as given."""

    def __init__(self, layout):
        torch.manual_seed(0)
        self.question, self.length = torch.randint(0, 82, (2, 6)), torch.tensor([6, 4])
        self.layout = layout
        rows = [tuple(MODULES[i] for i in row) for row in layout.tolist()]
        self.next_read = torch.tensor([next_read(row) for row in rows])


def test_what_was_right_is_kept_and_nothing_else():
    model = build_model(**SMALL)
    kept = KeptReading(model)
    batch = Read(torch.zeros(2, 4, dtype=torch.long))
    was = model.decide(batch.question, batch.length)[1].module_logits.argmax(dim=2)
    right = Read(was.clone())
    assert kept.loss(*model.decide(right.question, right.length), right) < 1e-6
    with torch.no_grad():
        for parameter in (*model.controller.parameters(), *model.question_encoder.parameters()):
            parameter += 0.1 * torch.randn_like(parameter)
    encoded, control = model.decide(right.question, right.length)
    both = kept.loss(encoded, control, right)
    assert both > 1e-3
    wrong = (was + 1) % len(MODULES)
    one = Read(torch.stack([was[0], wrong[1]]))
    other = Read(torch.stack([wrong[0], was[1]]))
    losses = [kept.loss(encoded, control, batch) for batch in (one, other)]
    torch.testing.assert_close(sum(losses) / 2, both)
    assert kept.loss(encoded, control, Read(wrong)) == 0


def test_adam_counts_no_update_of_what_has_no_gradient():
    late, early = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    groups = [{"params": [early]}, {"params": [late]}]
    optimiser = TFAdam(groups, lr=0.1)
    for step in range(6):
        early.grad = torch.ones(1)
        late.grad = torch.ones(1) if step > 2 else None
        optimiser.step()
        if step == 3:
            state = copy.deepcopy(optimiser.state_dict())
    again = TFAdam(groups, lr=0.1)
    again.load_state_dict(state)
    late.grad = early.grad = torch.ones(1)
    again.step()
    assert again.param_groups[1]["eps"] == pytest.approx(1e-8 / (1 - 0.999**2) ** 0.5)
    assert optimiser.param_groups[1]["eps"] == pytest.approx(1e-8 / (1 - 0.999**3) ** 0.5)
