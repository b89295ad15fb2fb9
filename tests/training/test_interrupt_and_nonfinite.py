"""What goes wrong while training: no numbers, damaged features and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import weakref
from types import SimpleNamespace

import h5py
import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.common.errors import INTERRUPTED, Interrupted
from snmn.data.feature_shards import FeatureStoreError
from snmn.training.lightning_module import SNMNTraining
from snmn.training.nonfinite_check import LossWatch, NonFiniteError
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import same_weights, write_experiment

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
STEPS = 6
# Epochs of 4 steps, checkpoints after every step, and dropout, which draws random numbers.
SETTINGS = ["TRAIN.MAX_ITER", STEPS, "TRAIN.VAL_INTERVAL", 4, "TRAIN.SNAPSHOT_INTERVAL", 1]
SETTINGS += ["TRAIN.DROPOUT_KEEP_PROB", 0.7]

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("faults")
    return root, [*write_experiment(root), *map(str, SETTINGS)]


def arguments(tiny, name, *more):
    return [CONFIG, *tiny[1], "EXP_NAME", name, *map(str, more), "-s", "3"]


def run_training(tiny, name, *more):
    train.main(arguments(tiny, name, *more))
    return tiny[0] / "runs" / name


@pytest.fixture(scope="module")
def unbroken(tiny):
    return run_training(tiny, "unbroken")


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, STEPS))
def test_resuming_after_any_step_ends_where_an_unbroken_run_does(tiny, unbroken, step):
    start = unbroken / f"step={step:08d}.ckpt"
    again = run_training(tiny, f"again-{step}", "--resume", start)
    same_weights(again / "last.ckpt", unbroken / "last.ckpt")
    same_weights(again / f"step={STEPS:08d}.ckpt", unbroken / f"step={STEPS:08d}.ckpt")


def test_going_on_with_nothing_left_to_do(tiny, unbroken, capsys):
    final = unbroken / f"step={STEPS:08d}.ckpt"
    for _ in range(2):
        folder = run_training(tiny, "done", "--resume", final)
        same_weights(folder / "last.ckpt", unbroken / "last.ckpt")
        final = folder / "last.ckpt"
    assert f"has all {STEPS} steps" in capsys.readouterr().out


class At:
    """Replaces the training step by one that calls a function at given updates."""

    def __init__(self, monkeypatch, function, *updates):
        step = SNMNTraining.training_step

        def training_step(module, batch, index):
            if module.global_step in updates:
                function(module, batch)
            return step(module, batch, index)

        monkeypatch.setattr(SNMNTraining, "training_step", training_step)


def press_ctrl_c(*_):
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_and_going_on_is_exact(tiny, unbroken, monkeypatch, capsys):
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        At(patch, press_ctrl_c, 2)
        with pytest.raises(Interrupted, match=r"go on with --resume .*/stopped/last.ckpt"):
            run_training(tiny, "stopped")
    assert "Ctrl-C again leaves at once" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler
    last = tiny[0] / "runs" / "stopped" / "last.ckpt"
    same_weights(last, unbroken / "step=00000003.ckpt")
    run_training(tiny, "stopped", "--resume", last)
    same_weights(last, unbroken / "last.ckpt")


def test_ctrl_c_while_validating_stops_after_the_next_step(tiny, unbroken, monkeypatch):
    presses = []

    def press_once():
        if not presses:
            presses.append(press_ctrl_c())

    with monkeypatch.context() as patch:
        count = SNMNTraining._count
        patch.setattr(SNMNTraining, "_count", lambda *a: (press_once(), count(*a)))
        with pytest.raises(Interrupted):
            run_training(tiny, "validating", "TRAIN.SNAPSHOT_INTERVAL", 100)
    last = tiny[0] / "runs" / "validating" / "last.ckpt"
    same_weights(last, unbroken / "step=00000005.ckpt")


def command(tiny, name, code):
    """train.py in a process that first runs ``code``."""
    program = f"import os, signal, sys; sys.path.insert(0, {str(ROOT)!r}); import train\n{code}\n"
    program += "from snmn.common.commands import run; run(train.main, 'train.py')"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments(tiny, name)],
        capture_output=True,
        text=True,
        timeout=300,
    )


PRESS = """
from snmn.training.lightning_module import SNMNTraining
step = SNMNTraining.training_step
def press(module, batch, index):
    for _ in range({times}):
        os.kill(os.getpid(), signal.SIGINT)
    return step(module, batch, index)
SNMNTraining.training_step = press
"""


@pytest.mark.slow
def test_one_ctrl_c_ends_with_a_sentence_and_a_second_one_at_once(tiny):
    done = command(tiny, "once", PRESS.format(times=1))
    assert done.returncode == INTERRUPTED and "Traceback" not in done.stderr
    assert re.search(r"^train.py: stopped; go on with --resume .*last.ckpt$", done.stderr, re.M)
    assert read_checkpoint(tiny[0] / "runs/once/last.ckpt")["global_step"] == 1
    done = command(tiny, "twice", PRESS.format(times=2))
    assert done.returncode == INTERRUPTED and "Traceback" not in done.stderr
    assert not (tiny[0] / "runs/twice/last.ckpt").exists()


def poison(module, batch):
    batch.image_features[:] = float("nan")


def test_a_loss_that_is_no_number_is_told_with_its_questions(tiny, monkeypatch):
    questions = []
    At(monkeypatch, poison, 3)
    At(monkeypatch, lambda module, batch: questions.extend(batch.question_index.tolist()), 3)
    with pytest.raises(NonFiniteError) as told:
        run_training(tiny, "nan")
    folder = tiny[0] / "runs" / "nan"
    assert str(told.value) == (
        f"the loss is nan at step 4, of questions {' '.join(map(str, questions))}; the last good "
        f"checkpoint is {folder}/step=00000003.ckpt: go on from it with a smaller TRAIN.SOLVER.LR"
    )
    weights = read_checkpoint(folder / "step=00000003.ckpt")["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())


def test_a_loss_that_is_no_number_before_any_checkpoint(tiny, monkeypatch):
    At(monkeypatch, poison, 0)
    fresh = ("TRAIN.FRESH_SCENES_FILE", f"{tiny[0]}/scenes_%s.json")
    with pytest.raises(
        NonFiniteError, match="at step 1, of questions drawn for images .* no check"
    ):
        run_training(tiny, "nan-first", *fresh)


def test_weights_that_are_no_numbers_are_not_saved(tiny, monkeypatch):
    def break_weights(module, batch):
        with torch.no_grad():
            next(module.model.parameters()).view(-1)[0] = float("inf")

    At(monkeypatch, break_weights, 2)
    with pytest.raises(NonFiniteError, match=r"not finite|the loss is"):
        run_training(tiny, "inf")
    assert sorted(path.name for path in (tiny[0] / "runs/inf").glob("step*")) == [
        f"step={step:08d}.ckpt" for step in (1, 2)
    ]


def test_a_damaged_shard_is_named_with_the_image(tiny, tmp_path):
    root, _ = tiny
    (tmp_path / "val").symlink_to(root / "features" / "val")
    (tmp_path / "train").mkdir()
    (shard,) = (root / "features" / "train").glob("shard-*.h5")
    damaged = tmp_path / "train" / shard.name
    damaged.write_bytes(shard.read_bytes())
    with h5py.File(damaged, "r+") as file:
        # As a lost part of the file would be: the place where a map should be holds none.
        maps, rest = file["features"][:], dict(file["features"].attrs)
        del file["features"]
        file.create_dataset("features", maps.shape, maps.dtype, chunks=(1, *maps.shape[1:]))
        for row in range(len(maps) - 1):
            file["features"][row] = maps[row]
        file["features"].attrs.update(rest)
    message = r"features of CLEVR_train_000005.png: .*/train/shard-00000.h5 cannot be read"
    with pytest.raises(FeatureStoreError, match=message):
        run_training(tiny, "damaged", "FEATURE_DIR", f"{tmp_path}/%s")


def test_a_checkpoint_says_what_it_was_made_of(tiny, unbroken):
    checkpoint = torch.load(unbroken / "last.ckpt", weights_only=True)
    assert checkpoint["features"]["backbone"] == "test"
    assert checkpoint["hyper_parameters"]["config"]["EXP_NAME"] == "unbroken"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", checkpoint["code_version"])
    assert set(checkpoint["vocabularies"]) == {"question_words", "answers", "modules"}
    raw = {name.removeprefix("model.") for name in checkpoint["state_dict"]}
    assert checkpoint["ema_state_dict"].keys() <= raw


def test_going_on_with_other_features_is_refused(tiny, unbroken, tmp_path):
    for split in ("train", "val"):
        (shard,) = (tiny[0] / "features" / split).glob("shard-*.h5")
        (tmp_path / split).mkdir()
        (tmp_path / split / shard.name).write_bytes(shard.read_bytes())
        with h5py.File(tmp_path / split / shard.name, "r+") as file:
            file.attrs["backbone"] = "other"
    resume = ("--resume", unbroken / "step=00000002.ckpt")
    with pytest.raises(CheckpointError, match="backbone test, these have other: set FEATURE_DIR"):
        run_training(tiny, "other", "FEATURE_DIR", f"{tmp_path}/%s", *resume)


def test_the_watch_keeps_no_features():
    """Of a device they would fill the memory until loggers are next due."""
    batch = SimpleNamespace(
        question_index=torch.arange(2), image=torch.arange(2), image_features=torch.zeros(2, 3)
    )
    features = weakref.ref(batch.image_features)
    watch = LossWatch()
    watch.add(1, torch.tensor(1.0), batch)
    del batch
    assert features() is None
    watch.add(
        2, torch.tensor(torch.nan), SimpleNamespace(question_index=torch.tensor([5, 3]), image=None)
    )
    with pytest.raises(NonFiniteError, match="at step 2, of questions 5 3;"):
        watch.check(None)
