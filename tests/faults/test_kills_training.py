"""Training killed at any moment, and while it writes checkpoints: --resume goes on exactly."""

import os
import shutil
import sys

import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.storage.whole_files import PARTIAL_SUFFIX
from snmn.training.resuming.newest_checkpoint import newest_checkpoint
from tests.helpers.killing import CHANGES, survive_kills
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import same_weights, write_experiment

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
# Epochs of 4 steps, checkpoints after every step, and dropout, which draws random numbers.
SETTINGS = ["TRAIN.MAX_ITER", 5, "TRAIN.VAL_INTERVAL", 4, "TRAIN.SNAPSHOT_INTERVAL", 1]
SETTINGS += ["TRAIN.DROPOUT_KEEP_PROB", 0.7]

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("kills")
    return root, [*write_experiment(root), *map(str, SETTINGS)]


def run_training(tiny, name, *more):
    train.main([CONFIG, *tiny[1], "EXP_NAME", name, *map(str, more), "-s", "3"])
    return tiny[0] / "runs" / name


@pytest.fixture(scope="module")
def unbroken(tiny):
    return run_training(tiny, "unbroken")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["anywhere", "writing"])
def test_training_killed_and_resumed_from_the_newest_checkpoint(
    moment, tiny, unbroken, reliability
):
    caused = "SIGKILL at a random call or return, up to 4 in a row"
    if moment == "writing":
        caused = "SIGKILL around a random change of files, mostly of a checkpoint; up to 4 in a row"
    row = reliability(
        "Training killed" if moment == "anywhere" else "Training killed while it writes",
        caused=caused,
        sees="--resume with the newest checkpoint ends in the weights of an unbroken run, "
        "bit for bit; every checkpoint there is can be read",
    )
    folder = tiny[0] / "runs" / moment
    steps = sorted(path.name for path in unbroken.glob("step=*.ckpt"))
    assert len(steps) == 5

    def work():
        torch.set_num_threads(1)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        newest = newest_checkpoint(folder)
        run_training(tiny, moment, *(["--resume", newest] if newest else []))

    def check():
        assert sorted(path.name for path in folder.glob("step=*.ckpt")) == steps
        for name in (*steps, "last.ckpt"):
            same_weights(folder / name, unbroken / name)
        assert not list(folder.rglob("*" + PARTIAL_SUFFIX))

    def check_killed():
        for path in folder.glob("step=*.ckpt"):
            same_weights(path, unbroken / path.name)
        for path in folder.glob("*.ckpt"):
            read_checkpoint(path)

    survive_kills(
        work,
        row,
        kills=10,
        check=check,
        check_killed=check_killed,
        fresh=lambda: shutil.rmtree(folder, ignore_errors=True),
        counted=(CHANGES,) if moment == "writing" else (None,),
    )
