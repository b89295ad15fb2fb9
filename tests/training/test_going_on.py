"""`--resume auto` and `make quickstart`: the same command goes on, whatever ended it before."""

import os
import shutil
import signal
import subprocess

import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.errors import TERMINATED, Interrupted
from snmn.data.imdb import Imdb
from snmn.data.imdb_writer import ImdbWriter
from snmn.training.lightning_module import SNMNTraining
from snmn.training.resuming.newest_checkpoint import newest_resumable
from snmn.training.resuming.run_identity import run_identity
from tests.helpers.killing import run_and_kill
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import same_weights, write_experiment

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("going-on")
    # Checkpoints as the quick start has them: after each validation alone.
    more = ["TRAIN.SNAPSHOT_INTERVAL", "100", "TRAIN.DROPOUT_KEEP_PROB", "0.7"]
    return root, [*write_experiment(root), *more]


def run_training(tiny, name, steps, *more):
    options = ["TRAIN.MAX_ITER", str(steps), "-s", "3", "--logger", "none", *map(str, more)]
    train.main([CONFIG, *tiny[1], "EXP_NAME", name, *options])
    return tiny[0] / "runs" / name


@pytest.fixture(scope="module")
def unbroken(tiny):
    """The folders of runs of 4 and 6 steps that nothing happened to, by steps."""
    return {steps: run_training(tiny, f"unbroken-{steps}", steps) for steps in (4, 6)}


@pytest.mark.slow
def test_the_same_command_goes_on_after_kills(tiny, unbroken):
    folder = tiny[0] / "runs" / "killed"

    def work():
        torch.set_num_threads(1)
        run_training(tiny, "killed", 6, "--resume", "auto")

    total = run_and_kill(work)
    same_weights(folder / "last.ckpt", unbroken[6] / "last.ckpt")
    shutil.rmtree(folder)
    went_on = 0
    for share in (0.3, 0.6, 0.8):
        run_and_kill(work, at=int(share * total))
        went_on += (folder / "last.ckpt").exists()
    run_and_kill(work)
    same_weights(folder / "last.ckpt", unbroken[6] / "last.ckpt")
    assert went_on


def test_sigterm_saves_within_a_step_and_the_same_command_goes_on(tiny, unbroken, monkeypatch):
    step = SNMNTraining.training_step
    handler = signal.getsignal(signal.SIGTERM)

    def told_to_stop(module, batch, index):
        if module.global_step == 2:
            for _ in range(2):  # Schedulers may say it twice.
                os.kill(os.getpid(), signal.SIGTERM)
        return step(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SNMNTraining, "training_step", told_to_stop)
        with pytest.raises(Interrupted, match="stopped by SIGTERM; go on with --resume") as told:
            run_training(tiny, "terminated", 6, "--resume", "auto")
    assert told.value.status == TERMINATED
    assert signal.getsignal(signal.SIGTERM) is handler
    last = tiny[0] / "runs" / "terminated" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == 3
    run_training(tiny, "terminated", 6, "--resume", "auto")
    same_weights(last, unbroken[6] / "last.ckpt")


def test_what_is_finished_is_not_done_again(tiny, capsys):
    last = run_training(tiny, "finished", 4, "--resume", "auto") / "last.ckpt"
    before = last.stat().st_mtime_ns
    run_training(tiny, "finished", 4, "--resume", "auto")
    assert "has all 4 steps" in capsys.readouterr().out and last.stat().st_mtime_ns == before


@pytest.mark.slow
def test_another_number_of_steps_is_another_run(tiny, unbroken, capsys):
    last = run_training(tiny, "changed", 4, "--resume", "auto") / "last.ckpt"
    for steps in (6, 4):
        run_training(tiny, "changed", steps, "--resume", "auto")
        same_weights(last, unbroken[steps] / "last.ckpt")
    printed = capsys.readouterr().out
    assert f"{last} is of a run with TRAIN.MAX_ITER 4, not 6: beginning anew" in printed


def test_runs_of_other_seeds_and_damaged_files_are_passed_over(tiny, unbroken):
    folder = unbroken[4]
    checkpoint = read_checkpoint(folder / "last.ckpt")
    settings = checkpoint["hyper_parameters"]["config"]
    data = {name: checkpoint[name] for name in ("features", "questions")}
    assert data["questions"].keys() == {"train_vqa", "val_vqa"}

    def found(settings=settings, *, seed=3, data=data):
        identity = run_identity(settings, seed=seed, data=data)
        return newest_resumable(folder, updates=1, interval=2, identity=identity)

    assert found()[1]["global_step"] == 4
    assert found(seed=4) is None
    assert found(settings | {"LOAD": True, "CHECKPOINT_FILENAME": "x.ckpt"})
    assert found(data=data | {"questions": data["questions"] | {"val_vqa": 1}}) is None
    assert found(data=data | {"features": data["features"] | {"backbone": "other"}}) is None


def leave_out_the_last_question(path):
    """Write an imdb again, as one that was built anew from other questions."""
    imdb = Imdb(path)
    writer = ImdbWriter(question_types=imdb.question_types, max_words=45, max_steps=9)
    for row in range(len(imdb) - 1):
        writer.add(
            words=imdb.question[row, : imdb.length[row]].tolist(),
            filename=imdb.filenames[imdb.image[row]],
            question_index=row,
            answer=int(imdb.answer[row]),
            layout=imdb.layout[row].tolist(),
        )
    del imdb
    path.unlink()
    writer.save(path, made_from={})


def test_other_data_are_another_run(tmp_path, capsys):
    tiny = tmp_path, write_experiment(tmp_path)
    last = run_training(tiny, "data", 2, "--resume", "auto") / "last.ckpt"
    leave_out_the_last_question(tmp_path / "imdb" / "imdb_val.h5")
    before = last.stat().st_mtime_ns
    capsys.readouterr()
    run_training(tiny, "data", 2, "--resume", "auto")
    assert (
        f"note: {last} is of a run with other questions for val_vqa than there are now: "
        "beginning anew"
    ) in capsys.readouterr().out
    assert last.stat().st_mtime_ns > before
    run_training(tiny, "data", 2, "--resume", "auto")
    assert "has all 2 steps" in capsys.readouterr().out


def test_sigterm_before_training_begins_says_so(tiny, monkeypatch):
    def told_to_stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train, "build_training", told_to_stop)
    with pytest.raises(Interrupted, match="stopped by SIGTERM") as told:
        run_training(tiny, "early", 6)
    assert told.value.status == TERMINATED


def test_make_quickstart_trains_with_a_command_that_goes_on():
    printed = subprocess.run(
        ["make", "-n", "quickstart", "STEPS=7"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    (command,) = [line for line in printed.splitlines() if " train.py " in line]
    assert command.endswith("train.py configs/quickstart.yaml --resume auto TRAIN.MAX_ITER 7")
    assert printed.index(" train.py ") < printed.index(" test.py ")
