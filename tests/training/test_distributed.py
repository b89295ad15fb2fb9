"""Two processes train as one with twice the batch size."""

import csv
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from config import load_config
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.data.batch_orders import EvaluationOrder, ShuffledPasses
from snmn.data.datasets import DataError
from snmn.data.imdb import Imdb
from snmn.training.metrics import NamedMeans
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment
from train import build_training_data

STEPS = 4

# Both processes run this; the arguments after the folder are train.py's.
SCRIPT = f"""
import os, sys
import torch
sys.path.insert(0, {str(ROOT)!r})
import train
from snmn.training import trainer
from snmn.training.ema import ExponentialMovingAverage

class KeptAverage(ExponentialMovingAverage):
    def on_train_end(self, trainer, pl_module):
        torch.save(self.average, f"{{folder}}/average-{{trainer.global_rank}}.pt")

folder = sys.argv[1]
trainer.ExponentialMovingAverage = KeptAverage
torch.set_num_threads(1)
train.main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("distributed")
    (root / "run.py").write_text(SCRIPT)
    return root, write_experiment(root)


def run(tiny, experiment, name, *more):
    root, overrides = tiny
    (root / name).mkdir()
    config = ROOT / "configs" / f"mini_{experiment}.yaml"
    more = [*more, "--accelerator", "cpu", "--logger", "csv", "-s", "3"]
    arguments = [str(root / name), str(config), *overrides, "EXP_NAME", name, *more]
    done = subprocess.run(
        [sys.executable, str(root / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return root / "runs" / name, done.stdout


def columns(folder):
    with (folder / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: [float(row[name]) for row in rows if row[name]]
        for name in rows[0]
        if name.startswith(("train/", "val/", "modules/")) and "per_second" not in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["vqa_gt_layout", "joint_gt_layout"])
def test_two_processes_train_as_one_with_twice_the_batch(tiny, experiment):
    one, _ = run(tiny, experiment, f"{experiment}-one", "TRAIN.BATCH_SIZE", "8")
    share = ("TRAIN.BATCH_SIZE", "4", "--devices", "2")
    two, printed = run(tiny, experiment, f"{experiment}-two", *share)
    assert printed.count("2 processes make batches of 2 x 4 questions") == 1
    expected, found = columns(one), columns(two)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        # Accuracies and counts are the same; sums are added up in another order.
        assert found[name] == pytest.approx(values, rel=2e-3, abs=2e-5), name
    averages = [torch.load(tiny[0] / f"{experiment}-two/average-{rank}.pt") for rank in (0, 1)]
    torch.testing.assert_close(averages[0], averages[1], rtol=0, atol=0)
    ends = [read_checkpoint(folder / "last.ckpt") for folder in (one, two)]
    torch.testing.assert_close(averages[0], ends[1]["ema_state_dict"], rtol=0, atol=0)
    for part in ("state_dict", "ema_state_dict"):
        for end in ends:
            # A softmax over words does not see it: its gradient is rounding, which Adam enlarges.
            end[part] = {k: v for k, v in end[part].items() if not k.endswith("word_score.bias")}
        torch.testing.assert_close(ends[0][part], ends[1][part], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("items", [23, 24, 3])
def test_the_shares_of_a_training_batch_are_the_batch_of_one_process(items):
    rows = np.arange(items)
    whole = ShuffledPasses(rows, size=6, seed=1)
    shares = [ShuffledPasses(rows, size=2, seed=1, rank=rank, ranks=3) for rank in range(3)]
    assert {len(share) for share in shares} == {len(whole)}
    for step in range(2 * len(whole) + 1):
        parts = [share.request(step).items for share in shares]
        assert {len(part) for part in parts} == {2}
        assert sorted(np.concatenate(parts)) == whole.request(step).items.tolist()


def test_each_question_is_evaluated_by_one_process(tiny):
    imdbs = {
        task: Imdb(tiny[0] / "imdb" / f"imdb_{split}.h5")
        for task, split in (("vqa", "val"), ("loc", "loc_val"))
    }
    seen = {task: [] for task in imdbs}
    for rank in range(3):
        for request in EvaluationOrder(imdbs, batch_size=5, rank=rank, ranks=3):
            seen[request.task] += request.items.ravel().tolist()
    for task, imdb in imdbs.items():
        assert sorted(seen[task]) == list(range(len(imdb)))


def test_a_process_without_anything_to_validate_is_an_error(tiny):
    root, overrides = tiny
    config, _ = load_config(ROOT / "configs" / "mini_vqa_prior.yaml", overrides)
    config.TEST.BATCH_SIZE = 100
    data = build_training_data(config, seed=0)
    data.setup("validate")
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)
    with pytest.raises(DataError, match=r"val has fewer batches .* processes \(2\)"):
        data.val_dataloader()


def test_means_of_named_values():
    means = NamedMeans()
    means.add("b", torch.tensor(1.0), 1)
    means.add("b", torch.tensor(4.0), 2)
    means.add("a", torch.tensor(5.0), 3)
    assert means.compute() == {"a": 5.0, "b": 3.0}
    assert means.compute() == {}
