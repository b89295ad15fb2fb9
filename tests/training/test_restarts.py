"""Several runs of one experiment, and train.py's other options."""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.errors import Interrupted
from snmn.common.vocabulary import ANSWER_INDEX
from snmn.data.imdb import Imdb
from snmn.training.lightning_module import SNMNTraining
from snmn.training.restarts.comparison import Run, collapse, prior_score, report, summary
from snmn.training.restarts.record_file import SeriesError
from snmn.training.resuming.newest_checkpoint import newest_resumable
from tests.helpers.killing import run_and_kill
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

CONFIG = str(ROOT / "configs" / "mini_vqa_prior.yaml")

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("restarts")
    return root, write_experiment(root)


def run_training(tiny, name, *more, seed=3):
    root, overrides = tiny
    train.main([CONFIG, *overrides, "EXP_NAME", name, *map(str, more), "-s", str(seed)])
    return root / "runs" / name


@pytest.mark.slow
def test_the_best_of_several_runs_is_kept(tiny, capsys, monkeypatch):
    step = SNMNTraining.training_step

    def poisoned(module, batch, index):
        if module.hparams.seed == 4 and module.global_step == 3:
            batch.image_features[:] = float("nan")
        return step(module, batch, index)

    monkeypatch.setattr(SNMNTraining, "training_step", poisoned)
    folder = run_training(tiny, "several", "--restarts", 3)
    printed = capsys.readouterr().out
    facts = json.loads((folder / "restarts.json").read_text())
    assert [run["seed"] for run in facts["runs"]] == [3, 4, 5]
    assert [list(run["scores"]) for run in facts["runs"]] == [["2", "4"], ["2"], ["2", "4"]]
    scores = [max(run["scores"].values()) for run in facts["runs"]]
    assert [run["best"] for run in facts["runs"]] == scores
    assert facts["mean"] == pytest.approx(np.mean(scores))
    assert facts["spread"] == pytest.approx(np.std(scores, ddof=1))
    best = facts["runs"][int(np.argmax(scores))]
    assert facts["best_seed"] == best["seed"]
    kept, original = (read_checkpoint(path) for path in (folder / "best.ckpt", best["checkpoint"]))
    torch.testing.assert_close(kept["state_dict"], original["state_dict"], rtol=0, atol=0)
    assert kept["hyper_parameters"]["seed"] == best["seed"]
    assert facts["runs"][1]["collapsed"].startswith("the loss is nan at step 4")
    assert f"mean {facts['mean']:.4f}, spread {facts['spread']:.4f}" in printed
    assert "collapsed: the loss is nan at step 4" in printed
    # Each is the run that its seed gives by itself.
    alone = run_training(tiny, "alone", seed=5)
    ends = [read_checkpoint(path / "last.ckpt") for path in (folder / "seed-5", alone)]
    assert ends[0]["hyper_parameters"]["seed"] == 5
    torch.testing.assert_close(ends[0]["state_dict"], ends[1]["state_dict"], rtol=0, atol=0)


SERIES = ("--restarts", 2, "--logger", "none")


@pytest.fixture(scope="module")
def undisturbed(tiny):
    """The folder of two restarts that nothing happened to, moved aside."""
    folder = run_training(tiny, "series", *SERIES)
    return folder.rename(folder.with_name("undisturbed"))


def check_same(folder, undisturbed):
    """The same record, and bit for bit the same weights."""
    records = [json.loads((path / "restarts.json").read_text()) for path in (folder, undisturbed)]
    assert records[0] == records[1]
    for name in ("best.ckpt", "seed-3/last.ckpt", "seed-4/last.ckpt"):
        ends = [read_checkpoint(path / name) for path in (folder, undisturbed)]
        assert ends[0]["global_step"] == ends[1]["global_step"]
        for part in ("state_dict", "ema_state_dict"):
            torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)


@pytest.mark.slow
def test_the_same_command_goes_on_after_kills(tiny, undisturbed):
    folder = tiny[0] / "runs" / "series"

    def work():
        run_training(tiny, "series", *SERIES)

    shutil.rmtree(folder, ignore_errors=True)
    total = run_and_kill(work)
    check_same(folder, undisturbed)
    for share in (0.3, 0.55, 0.85, 0.97):
        shutil.rmtree(folder)
        assert run_and_kill(work, at=int(share * total)) == int(share * total)
        begun = json.loads((folder / "restarts.json").read_text())
        assert begun["seeds"] == [3, 4] and begun["settings"]["EXP_NAME"] == "series"
        run_and_kill(work)
        check_same(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost",
    [
        # Killed: in the second run's middle; after its validation; after its last step; between
        # best and last checkpoint of the last validation; and in step 4, before it is validated.
        ("best-*", "step=00000004*", "last*"),
        ("step=00000004*", "last*"),
        ("best-*",),
        ("last*",),
        ("best-*", "last*"),
    ],
)
def test_a_run_goes_on_from_what_a_kill_has_left(tiny, undisturbed, lost):
    folder = tiny[0] / "runs" / "series"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(undisturbed, folder)
    (folder / "best.ckpt").unlink()
    record = json.loads((folder / "restarts.json").read_text())
    del record["runs"][1]
    (folder / "restarts.json").write_text(json.dumps(record))
    for pattern in lost:
        for path in (folder / "seed-4").glob(pattern):
            path.unlink()
    (folder / "seed-4" / "damaged.ckpt").write_text("no checkpoint")
    finished = (folder / "seed-3" / "last.ckpt").stat().st_mtime_ns
    run_training(tiny, "series", *SERIES)
    check_same(folder, undisturbed)
    assert (folder / "seed-3" / "last.ckpt").stat().st_mtime_ns == finished


def test_a_checkpoint_before_the_validation_of_its_step_is_not_gone_on_from(undisturbed):
    found = newest_resumable(undisturbed / "seed-4", updates=1, interval=2)
    assert found[1]["global_step"] == 4
    early = read_checkpoint(undisturbed / "seed-4" / "step=00000004.ckpt")
    assert list(early["callbacks"]["ScoreHistory"]["scores"]) == [2]
    assert found[0].name != "step=00000004.ckpt"
    assert newest_resumable(undisturbed / "nowhere", updates=1, interval=2) is None


@pytest.mark.slow
def test_ctrl_c_is_gone_on_from_by_the_same_command(tiny, undisturbed, monkeypatch):
    folder, step = tiny[0] / "runs" / "series", SNMNTraining.training_step
    shutil.rmtree(folder, ignore_errors=True)

    def stopping(module, batch, index):
        if module.hparams.seed == 4 and module.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(module, batch, index)

    monkeypatch.setattr(SNMNTraining, "training_step", stopping)
    with pytest.raises(Interrupted, match="stopped; the same command goes on"):
        run_training(tiny, "series", *SERIES)
    monkeypatch.undo()
    assert read_checkpoint(folder / "seed-4" / "last.ckpt")["global_step"] == 3
    run_training(tiny, "series", *SERIES)
    check_same(folder, undisturbed)


def test_another_series_in_the_folder_is_refused(tiny, undisturbed):
    folder = tiny[0] / "runs" / "series"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(undisturbed, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    message = re.escape(f"{folder}/restarts.json: begun with TRAIN.MAX_ITER 4, not 5; go on with")
    with pytest.raises(SeriesError, match=message):
        run_training(tiny, "series", *SERIES, "TRAIN.MAX_ITER", 5)
    with pytest.raises(SeriesError, match=r"begun with seeds \[3, 4\], not \[3, 4, 5\]"):
        run_training(tiny, "series", "--restarts", 3)
    with pytest.raises(SeriesError, match="begun with --precision 32-true, not bf16-mixed"):
        run_training(tiny, "series", *SERIES, "--precision", "bf16-mixed")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    (folder / "restarts.json").write_text('{"runs": []}')
    with pytest.raises(SeriesError, match="not the record of runs that can be gone on with"):
        run_training(tiny, "series", *SERIES)


def test_runs_that_learnt_nothing_are_collapsed():
    scores = {1: 0.9, 2: 0.3, 3: 0.41}
    assert collapse(scores, prior=0.4, after=2).startswith("0.4100 on validation")
    assert not collapse(scores, prior=0.4, after=1)
    assert not collapse(scores, prior=0.3, after=2)
    assert not collapse(scores, prior=0.4, after=4)


def test_the_prior_knows_no_images(tiny):
    imdb = Imdb(tiny[0] / "imdb" / "imdb_val.h5")
    imdb.question_type = np.arange(len(imdb)) % 2
    imdb.answer = np.full(len(imdb), ANSWER_INDEX["yes"])
    imdb.answer[0::4] = ANSWER_INDEX["no"]  # half of the first type
    assert prior_score({"vqa": imdb}) == pytest.approx(0.75)
    boxes = Imdb(tiny[0] / "imdb" / "imdb_loc_val.h5")
    width, height = boxes.image_size[boxes.image].T
    boxes.box = np.stack([width / 4, height / 4, width / 2, height / 2], axis=1)
    boxes.box = boxes.box.astype(np.float32)
    assert prior_score({"loc": boxes}) == 1
    boxes.box[0, :2] = 0
    boxes.box[0, 2:] = 1
    assert prior_score({"loc": boxes}) == pytest.approx(1 - 1 / len(boxes))
    assert prior_score({"vqa": imdb, "loc": boxes}) == pytest.approx((1.75 - 1 / len(boxes)) / 2)


def test_runs_without_a_validation_are_told():
    runs = [Run(0, "a", collapsed="the loss is nan"), Run(1, "b", {5: 0.5})]
    assert summary(runs, prior=0.1)["mean"] == 0.5 and summary(runs, prior=0.1)["spread"] is None
    lines = report(runs, prior=0.1).splitlines()
    assert lines[0] == "seed 0  -  collapsed: the loss is nan"
    assert lines[1] == "seed 1  0.5000  best"
    assert summary(runs[:1], prior=0.1)["best_seed"] is None


@pytest.mark.parametrize("wrong", [["--restarts", "0"], ["--restarts", "2", "--devices", "2"]])
def test_restarts_that_cannot_be(tiny, capsys, wrong):
    with pytest.raises(SystemExit):
        run_training(tiny, "wrong", *wrong)
    assert "--restarts" in capsys.readouterr().err


@pytest.mark.slow
def test_options_reach_the_trainer(tiny, monkeypatch):
    seen = {}

    def fit(trainer, training, **_):
        seen.update(trainer=trainer, training=training)

    monkeypatch.setattr("pytorch_lightning.Trainer.fit", fit)
    options = ["--accelerator", "cpu", "--precision", "bf16-mixed", "--devices", "2"]
    run_training(tiny, "options", *options, "--num-nodes", "2")
    trainer = seen["trainer"]
    assert trainer.precision == "bf16-mixed" and trainer.num_devices == 2
    assert trainer.num_nodes == 2 and trainer.world_size == 4
    assert type(trainer.strategy).__name__ == "DDPStrategy"
    run_training(tiny, "options", *options, "--strategy", "ddp_spawn")
    assert seen["trainer"].strategy.launcher.__class__.__name__ == "_MultiProcessingLauncher"
    run_training(tiny, "options")
    assert seen["trainer"].num_devices == seen["trainer"].world_size == 1
    assert seen["training"].model._compiled_call_impl is None
    run_training(tiny, "options", "--compile")
    assert seen["training"].model._compiled_call_impl is not None


def test_help_shows_examples_and_every_option(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    printed = capsys.readouterr().out
    for text in ("python train.py configs/vqa_scratch.yaml --restarts 4", "--resume CKPT"):
        assert text in printed
    for option in ("devices", "num-nodes", "strategy", "precision", "compile", "accelerator"):
        assert f"--{option}" in printed


def test_settings_may_follow_options():
    given = train.parse(["a.yaml", "-s", "2", "TRAIN.MAX_ITER", "5", "--logger", "none"])
    assert given.overrides == ["TRAIN.MAX_ITER", "5"] and given.seed == 2
