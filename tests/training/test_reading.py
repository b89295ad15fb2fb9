"""Learning to read first: layouts and words from questions alone (TRAIN.READING_UNTIL)."""

import copy

import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.network.nmn import StackNMN
from snmn.training.optimiser import TFAdam
from tests.helpers.paths import ROOT
from tests.helpers.tiny_experiment import same_weights, write_experiment

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


def beginning(begun):
    return ["TRAIN.INIT_FROM_WEIGHTS", True, "TRAIN.INIT_WEIGHTS_FILE", begun]


def test_only_what_reads_questions_learns_and_no_image_is_looked_at(tiny, begun, monkeypatch):
    runs = []
    forward = StackNMN.forward
    monkeypatch.setattr(
        StackNMN, "forward", lambda self, *args: runs.append(self.training) or forward(self, *args)
    )
    folder = run_training(tiny, "reads", 4, "TRAIN.READING_UNTIL", 3, *beginning(begun))
    assert runs.count(True) == 1  # the fourth step
    early = folder / "step=00000002.ckpt"
    assert moved(begun, early) == {"question_encoder", "controller"}
    assert {"knowledge_base", "nmn", "answer_head"} <= moved(early, folder / "last.ckpt")
    log = (folder / "logs" / "metrics.csv").read_text()
    assert "train/layout_accuracy" in log


def test_training_goes_on_exactly_from_within_and_after(tiny, begun):
    how = ["TRAIN.READING_UNTIL", 3, *beginning(begun)]
    whole = run_training(tiny, "whole", 6, *how)
    for step in (2, 4):
        part = run_training(
            tiny, f"part-{step}", 6, *how, "--resume", whole / f"step={step:08d}.ckpt"
        )
        same_weights(part / "last.ckpt", whole / "last.ckpt")


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
