"""All six experiments, as train.py and test.py run them, on a tiny dataset with random features."""

import csv
import importlib.util
import os
import re
import signal

import pytest
import torch

import train
from config import load_config
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.common.boxes import box_iou
from snmn.common.errors import Interrupted
from snmn.data.datasets import DataError
from snmn.data.imdb import Imdb
from snmn.storage.typed_settings import ConfigError
from snmn.training.ema import ExponentialMovingAverage
from snmn.training.lightning_module import SNMNTraining
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment
from train import build_training_data

STEPS = 4
EXPERIMENTS = [
    f"{task}_{kind}" for task in ("vqa", "loc", "joint") for kind in ("gt_layout", "scratch")
]
METRIC = {"val": "val/answer_accuracy", "loc_val": "val/precision"}

# By path, as Python has a module named test of its own.
_spec = importlib.util.spec_from_file_location("snmn_test_command", ROOT / "test.py")
test_command = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(test_command)

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with data, and the overrides that fit a configuration to them."""
    root = tmp_path_factory.mktemp("experiments")
    return root, write_experiment(root)


def config_path(experiment):
    return str(ROOT / "configs" / f"mini_{experiment}.yaml")


def run_training(tiny, experiment, *more):
    root, overrides = tiny
    train.main([config_path(experiment), *overrides, *map(str, more), "-s", "3"])
    name = dict(zip(more[::2], more[1::2], strict=True)).get("EXP_NAME", f"mini_{experiment}")
    return root / "runs" / name


def run_test(tiny, experiment, checkpoint, *more):
    root, overrides = tiny
    test_command.main([config_path(experiment), str(checkpoint), *overrides, *map(str, more)])
    return root / "results" / f"mini_{experiment}"


@pytest.fixture(scope="module")
def trained(tiny):
    """Trains each experiment once, when it is first asked for."""
    runs = {}

    def run(experiment):
        if experiment not in runs:
            runs[experiment] = run_training(tiny, experiment)
        return runs[experiment]

    return run


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logged(run, name):
    """All values of a metric in a run's log, by step."""
    rows = read_csv(run / "logs" / "metrics.csv")
    return {int(row["step"]): float(row[name]) for row in rows if row.get(name)}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_testing_the_last_checkpoint_gives_what_validation_gave(tiny, trained, capsys, experiment):
    run = trained(experiment)
    capsys.readouterr()
    results = run_test(tiny, experiment, run / "last.ckpt")
    printed = capsys.readouterr().out
    splits = {"vqa": ["val"], "loc": ["loc_val"]}.get(experiment.split("_")[0], ["val", "loc_val"])
    shares = re.findall(r"^all +(\d+) +([\d.]+)", printed, re.MULTILINE)
    scores = []
    for split, (count, share) in zip(splits, shares, strict=True):
        rows = read_csv(results / split / "predictions.csv")
        scores.append(sum(int(row["correct"]) for row in rows) / len(rows))
        assert int(count) == len(rows)
        assert float(share) == pytest.approx(scores[-1], abs=1e-4)
        assert logged(run, METRIC[split])[STEPS] == pytest.approx(scores[-1], abs=1e-6)
    assert logged(run, "val/score")[STEPS] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    assert {path.name for path in results.iterdir()} == set(splits)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_losses_of_a_run_are_those_of_its_configuration(trained, experiment):
    task, kind = experiment.split("_", maxsplit=1)
    tasks = ("vqa", "loc") if task == "joint" else (task,)
    expected = set()
    for each in tasks:
        suffix = f"_{each}" if task == "joint" else ""
        own = {"vqa": ["answer"], "loc": ["cell", "offset"]}[each]
        held = {"gt_layout": "reading_order", "scratch": "words"}
        own += ["layout", held[kind]]
        expected |= {f"train/loss_{name}{suffix}" for name in own} | {f"train/loss{suffix}"}
    row = read_csv(trained(experiment) / "logs" / "metrics.csv")[0]
    assert {name for name in row if name.startswith("train/loss")} == expected
    for name in expected:
        assert sorted(logged(trained(experiment), name)) == list(range(1, STEPS + 1))


def test_predicted_boxes_are_written_with_their_iou(tiny, trained):
    results = run_test(tiny, "loc_gt_layout", trained("loc_gt_layout") / "last.ckpt")
    imdb = Imdb(tiny[0] / "imdb" / "imdb_loc_val.h5")
    rows = read_csv(results / "loc_val" / "predictions.csv")
    assert [int(row["question_index"]) for row in rows] == list(range(len(imdb)))
    for index, row in enumerate(rows):
        predicted, true = (
            torch.tensor([list(map(float, row[name].split()))])
            for name in ("predicted_box", "true_box")
        )
        assert true[0].tolist() == imdb.box[index].tolist()
        assert float(row["iou"]) == pytest.approx(box_iou(predicted, true).item(), abs=0.02)
        assert int(row["correct"]) == (float(row["iou"]) >= 0.5)
        assert row["type"] == "ref_attribute"


class TestJoint:
    def test_tasks_take_turns_and_the_shorter_one_starts_over(self, tiny):
        root, overrides = tiny
        config, _ = load_config(config_path("joint_scratch"), overrides)
        config.TRAIN.BATCH_SIZE, config.TRAIN.VAL_INTERVAL = 6, 12
        data = build_training_data(config, seed=0)
        data.setup("fit")
        batches = list(data.train_dataloader())
        assert [batch.task for batch in batches] == ["vqa", "loc"] * 12
        for task, split in (("vqa", "train"), ("loc", "loc_train")):
            count = len(Imdb(root / "imdb" / f"imdb_{split}.h5"))
            steps = -(-count // 6)  # of one pass
            rows = [batch.question_index for batch in batches if batch.task == task]
            passes = [torch.cat(rows[i : i + steps]) for i in range(0, 12 - steps + 1, steps)]
            assert len(passes) > 1
            assert all(set(visited.tolist()) == set(range(count)) for visited in passes)
            assert passes[0].tolist() != passes[1].tolist()

    @pytest.mark.slow
    def test_each_iteration_makes_two_updates_and_averages_both(self, tiny, monkeypatch):
        updates, iterations = [], []
        update, step = ExponentialMovingAverage.update, SNMNTraining.training_step
        monkeypatch.setattr(
            ExponentialMovingAverage, "update", lambda *a: updates.append(update(*a))
        )
        monkeypatch.setattr(
            SNMNTraining,
            "training_step",
            lambda self, batch, index: (
                iterations.append((self.iteration, batch.task)),
                step(self, batch, index),
            )[1],
        )
        run = run_training(tiny, "joint_gt_layout", "EXP_NAME", "counted")
        assert iterations == [(i, task) for i in range(STEPS) for task in ("vqa", "loc")]
        assert len(updates) == 2 * STEPS
        checkpoint = read_checkpoint(run / f"step={STEPS:08d}.ckpt")
        assert checkpoint["global_step"] == 2 * STEPS
        assert sorted(logged(run, "val/score")) == [2, 4]

    @pytest.mark.slow
    def test_schedules_count_iterations(self, tiny):
        options = ["TRAIN.SHARPEN_SCHEDULE_BEGIN", 0, "TRAIN.SHARPEN_SCHEDULE_END", STEPS]
        options += ["TRAIN.SOLVER.WARMUP_ITER", 2, "TRAIN.SOLVER.SCHEDULE", "constant"]
        options += ["TRAIN.USE_SHARPEN_LOSS", True, "TRAIN.LAYOUT_SEARCH", "[]"]
        run = run_training(tiny, "joint_scratch", *options, "EXP_NAME", "schedules")
        rates = logged(run, "train/learning_rate")
        assert rates == pytest.approx({1: 0.005, 2: 0.01, 3: 0.01, 4: 0.01})
        for task in ("vqa", "loc"):
            sharpen = logged(run, f"train/loss_sharpen_{task}")
            entropy = logged(run, f"train/entropy_{task}")
            scales = [sharpen[i] / entropy[i] / 0.1 for i in range(1, STEPS + 1)]
            assert scales == pytest.approx([0, 0.25, 0.5, 0.75], abs=1e-4)

    @pytest.mark.slow
    def test_values_of_both_tasks_are_logged_every_so_many_iterations(self, tiny):
        options = ("TRAIN.LOG_INTERVAL", 2, "EXP_NAME", "seldom")
        run = run_training(tiny, "joint_gt_layout", *options)
        often = run_training(tiny, "joint_gt_layout", "EXP_NAME", "often")
        for name in ("loss_vqa", "loss_loc", "accuracy_vqa", "cell_accuracy_loc"):
            values = logged(often, f"train/{name}")
            assert logged(run, f"train/{name}") == {step: values[step] for step in (2, 4)}

    def test_resuming_ends_where_an_unbroken_run_does(self, tiny, trained):
        unbroken = trained("joint_gt_layout")
        load = ["LOAD", "True", "CHECKPOINT_FILENAME", unbroken / "step=00000002.ckpt"]
        again = run_training(tiny, "joint_gt_layout", *load, "EXP_NAME", "again")
        ends = [read_checkpoint(run / "last.ckpt") for run in (unbroken, again)]
        assert ends[0]["global_step"] == ends[1]["global_step"] == 2 * STEPS
        for part in ("state_dict", "ema_state_dict"):
            torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)
        first, second = (logged(run, "train/loss_loc") for run in (unbroken, again))
        assert second == {step: value for step, value in first.items() if step > 2}

    @pytest.mark.slow
    def test_stopping_between_its_two_updates_loses_neither(self, tiny, trained, monkeypatch):
        step = SNMNTraining.training_step

        def stopping(module, batch, index):
            if module.global_step == 2 and batch.task == "vqa":
                os.kill(os.getpid(), signal.SIGINT)
            return step(module, batch, index)

        monkeypatch.setattr(SNMNTraining, "training_step", stopping)
        with pytest.raises(Interrupted):
            run_training(tiny, "joint_gt_layout", "EXP_NAME", "between")
        monkeypatch.undo()
        last = tiny[0] / "runs" / "between" / "last.ckpt"
        assert read_checkpoint(last)["global_step"] == 3
        load = ["LOAD", "True", "CHECKPOINT_FILENAME", last]
        again = run_training(tiny, "joint_gt_layout", *load, "EXP_NAME", "between")
        ends = [read_checkpoint(run / "last.ckpt") for run in (trained("joint_gt_layout"), again)]
        for part in ("state_dict", "ema_state_dict"):
            torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)


def test_features_of_another_kind_are_refused(tiny, trained):
    last = trained("vqa_gt_layout") / "last.ckpt"
    other = read_checkpoint(last)
    key = next(iter(other["features"]))
    other["features"][key] = "something else"
    torch.save(other, path := last.with_name("other.ckpt"))
    with pytest.raises(CheckpointError, match=f"trained on features with {key} something else"):
        run_test(tiny, "vqa_gt_layout", path)


@pytest.mark.slow
def test_fresh_questions_and_expressions_whatever_the_workers(tiny):
    scenes = f"{tiny[0]}/scenes_%s.json"
    fresh = ("TRAIN.FRESH_SCENES_FILE", scenes, "TRAIN.FRESH_SCENES_FILE_LOC", scenes)
    several = ("TRAIN.QUESTIONS_PER_IMAGE", 4, "TRAIN.MAX_HOPS_SCHEDULE", "[[0, 0], [2, 1]]")
    losses = []
    for workers in (0, 1):
        name = ("TRAIN.NUM_WORKERS", workers, "EXP_NAME", f"fresh-{workers}")
        run = run_training(tiny, "joint_gt_layout", *fresh, *several, *name)
        losses.append([logged(run, f"train/loss_{task}") for task in ("vqa", "loc")])
    assert losses[0] == losses[1] and len(losses[0][0]) == len(losses[0][1]) == STEPS


def test_a_checkpoint_of_another_model_is_refused(tiny, trained):
    last = trained("joint_gt_layout") / "last.ckpt"
    message = r"last.ckpt holds another model: MODEL.PE_DIM is 4 there and 8 in the configuration"
    other = ("MODEL.PE_DIM", 8)
    with pytest.raises(CheckpointError, match=message):
        run_test(tiny, "joint_gt_layout", last, *other)
    with pytest.raises(CheckpointError, match=message):
        load = ("LOAD", "True", "CHECKPOINT_FILENAME", last)
        run_training(tiny, "joint_gt_layout", *other, *load)
    with pytest.raises(CheckpointError, match="MODEL.BUILD_VQA is True there and False"):
        start = ("TRAIN.INIT_FROM_WEIGHTS", "True", "TRAIN.INIT_WEIGHTS_FILE", last)
        run_training(tiny, "loc_gt_layout", *start)


def test_starting_from_the_weights_of_another_run(tiny, trained):
    last = trained("loc_gt_layout") / "last.ckpt"
    start = ("TRAIN.INIT_FROM_WEIGHTS", "True", "TRAIN.INIT_WEIGHTS_FILE", last)
    still = ("TRAIN.SOLVER.LR", 0, "EXP_NAME", "still", "MODEL.NORMALIZE_FEATURES", "True")
    run = run_training(tiny, "loc_gt_layout", *start, *still)
    before, after = (read_checkpoint(path)["state_dict"] for path in (last, run / "last.ckpt"))
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqa", "loc"])
def test_a_joint_model_begins_with_the_weights_of_one_task(tiny, trained, task):
    last = trained(f"{task}_gt_layout") / "last.ckpt"
    start = ("TRAIN.INIT_FROM_WEIGHTS", "True", "TRAIN.INIT_WEIGHTS_FILE", last)
    still = ("TRAIN.SOLVER.LR", 0, "EXP_NAME", f"from-{task}")
    run = run_training(tiny, "joint_gt_layout", *start, *still)
    before, after = (read_checkpoint(path)["state_dict"] for path in (last, run / "last.ckpt"))
    torch.testing.assert_close({key: after[key] for key in before}, before, rtol=0, atol=0)
    new = {key.split(".")[1] for key in after.keys() - before.keys()}
    assert new == {"vqa": {"cell_scores", "box_offsets"}, "loc": {"answer_head"}}[task]
    # Testing takes no head for granted.
    with pytest.raises(CheckpointError, match="MODEL.BUILD_(LOC|VQA) is False there and True"):
        run_test(tiny, "joint_gt_layout", last)


def test_one_task_of_a_joint_model_is_tested_alone(tiny, trained, capsys):
    last = trained("joint_gt_layout") / "last.ckpt"
    run_test(tiny, "joint_gt_layout", last, "DATASET", "loc")
    assert "on loc_val" in (printed := capsys.readouterr().out) and "on val" not in printed
    with pytest.raises(ConfigError, match="DATASET joint needs MODEL.BUILD_VQA True"):
        run_test(tiny, "joint_gt_layout", last, "DATASET", "joint", "MODEL.BUILD_VQA", "False")


def test_splits_of_the_other_task_are_refused(tiny):
    with pytest.raises(DataError, match=r"imdb_val.h5 holds questions \(vqa\), not referring"):
        run_training(tiny, "loc_scratch", "TEST.SPLIT_LOC", "val")


def test_splits_that_nobody_knows_the_truth_of_are_predicted(tiny, trained, capsys):
    splits = ("TEST.SPLIT_VQA", "test", "TEST.SPLIT_LOC", "loc_test")
    results = run_test(tiny, "joint_gt_layout", trained("joint_gt_layout") / "last.ckpt", *splits)
    assert "\nall " not in capsys.readouterr().out
    answers = read_csv(results / "test" / "predictions.csv")
    assert len(answers) == 8 and all(row["predicted"] and not row["correct"] for row in answers)
    boxes = read_csv(results / "loc_test" / "predictions.csv")
    assert boxes and all(len(row["predicted_box"].split()) == 4 for row in boxes)
    assert not any(row["true_box"] or row["iou"] or row["correct"] for row in boxes)
    with pytest.raises(DataError, match="questions without answers; it can only be tested"):
        run_training(tiny, "vqa_scratch", "TRAIN.SPLIT_VQA", "test")
    with pytest.raises(DataError, match="expressions without boxes; it can only be tested"):
        run_training(tiny, "loc_scratch", "TEST.SPLIT_LOC", "loc_test")


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_first_log(tiny):
    run = run_training(tiny, "vqa_scratch", "EXP_NAME", "onward", "TRAIN.MAX_ITER", 2)
    first = read_csv(run / "logs" / "metrics.csv")
    run_training(tiny, "vqa_scratch", "EXP_NAME", "onward", "TRAIN.START_ITER", 2)
    assert read_csv(run / "logs" / "metrics.csv") == first
    assert {int(r["step"]) for r in read_csv(run / "logs-2" / "metrics.csv")} == {3, 4}


def test_a_checkpoint_is_tested_on_questions_without_layouts(tiny, trained, capsys, monkeypatch):
    monkeypatch.setattr(
        Imdb, "layout", property(lambda self: None, lambda self, value: None), False
    )
    run_test(tiny, "joint_gt_layout", trained("joint_gt_layout") / "last.ckpt")
    printed = capsys.readouterr().out
    assert printed.count("\nall ") == 2 and "whole layout" not in printed
