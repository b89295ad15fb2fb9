"""train.py and test.py as a user runs them, on a dataset of a few scenes and random features."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as build_layouts
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn import load_model
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.vocabulary import decode, encode
from snmn.data.feature_writer import FeatureWriter
from tests.helpers.paths import ROOT
from tests.helpers.tiny.dataset import ATTRIBUTES

IMAGES = {"train": 6, "val": 4}
STEPS = 4


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A folder with a dataset, its imdbs and features, and a configuration for it."""
    root = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(0)
    for folder in ("scenes", "questions"):
        (root / folder).mkdir()
    for split, count in IMAGES.items():
        scenes, questions = [], []
        with FeatureWriter(root / "features" / split, attributes=ATTRIBUTES) as writer:
            for image in range(count):
                name = f"CLEVR_{split}_{image:06d}.png"
                where = {"image_index": image, "image_filename": name, "split": split}
                scene = sample_scene(rng, max_objects=4) | where
                scenes.append(scene)
                for entry in generate_questions(scene, 4, rng):
                    questions.append(entry | where | {"question_index": len(questions)})
                writer.add([name], rng.random((1, 2, 3, 8)).astype(np.float16))
        for kind, content in (("scenes", scenes), ("questions", questions)):
            path = root / kind / f"CLEVR_{split}_{kind}.json"
            path.write_text(json.dumps({"info": {}, kind: content}))
    build_layouts(["--data-dir", str(root)])
    build_imdb(["--data-dir", str(root), "--out", str(root / "imdb")])
    settings = {
        "IMDB_FILE": f"{root}/imdb/imdb_%s.h5",
        "FEATURE_DIR": f"{root}/features/%s",
        "MODEL": {"H_FEAT": 2, "W_FEAT": 3, "FEAT_DIM": 8, "EMBED_DIM": 8, "LSTM_DIM": 8}
        | {"PE_DIM": 4, "KB_DIM": 8, "VQA_OUTPUT_DIM": 8, "NMN": {"MEM_DIM": 8}}
        | {"NORMALIZE_FEATURES": True},
        "TRAIN": {"BATCH_SIZE": 8, "MAX_ITER": STEPS, "VAL_INTERVAL": 2, "LOG_INTERVAL": 1}
        | {"NUM_WORKERS": 0, "SNAPSHOT_DIR": f"{root}/runs/%s/", "SNAPSHOT_INTERVAL": 2}
        | {"SOLVER": {"LR": 0.01}, "EMA_DECAY": 0.5},
        "TEST": {"RESULT_DIR": f"{root}/results/%s/", "BATCH_SIZE": 7},
    }
    (root / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return root


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(experiment):
    done = run("train.py", experiment / "tiny.yaml", "-s", 3)
    assert done.returncode == 0, done.stderr
    return experiment / "runs" / "tiny"


@pytest.mark.slow
def test_training_leaves_checkpoints_and_logs(trained):
    names = {path.name for path in trained.glob("*.ckpt")}
    assert {"last.ckpt", "step=00000002.ckpt", "step=00000004.ckpt"} <= names
    assert any(name.startswith("best-") for name in names)
    with (trained / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [row["train/loss_layout"] for row in rows if row["train/loss_layout"]]
    assert len(losses) == STEPS
    assert load_model(trained / "last.ckpt").answer_head is not None


@pytest.mark.slow
def test_testing_agrees_with_validation_and_with_its_csv(experiment, trained):
    done = run("test.py", experiment / "tiny.yaml", trained / "last.ckpt")
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^all +(\d+) +([\d.]+)", done.stdout, re.MULTILINE)
    with (trained / "logs" / "metrics.csv").open() as file:
        column = [row["val/answer_accuracy"] for row in csv.DictReader(file)]
    validated = float([value for value in column if value][-1])
    with (experiment / "results/tiny/val/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    correct = sum(row["predicted"] == row["expected"] for row in rows)
    assert [int(row["question_index"]) for row in rows] == list(range(16))
    assert int(printed[1]) == len(rows) == 16
    assert float(printed[2]) == pytest.approx(correct / 16, abs=1e-4)
    assert validated == pytest.approx(correct / 16, abs=1e-6)
    questions = json.loads((experiment / "questions/CLEVR_val_questions.json").read_text())
    for row, entry in zip(rows, questions["questions"], strict=True):
        assert row["question"] == decode(encode(entry["question"]))
        assert row["expected"] == entry["answer"] and row["image"] == entry["image_filename"]


@pytest.mark.slow
def test_fresh_questions_and_several_an_image(experiment):
    scenes = f"{experiment}/scenes/CLEVR_%s_scenes.json"
    fresh = ["TRAIN.FRESH_SCENES_FILE", scenes, "TRAIN.QUESTIONS_PER_IMAGE", "4"]
    more = ["TRAIN.MAX_HOPS_SCHEDULE", "[[0, 0], [2, 1]]", "EXP_NAME", "fresh"]
    done = run("train.py", experiment / "tiny.yaml", *fresh, *more, "TRAIN.NUM_WORKERS", "1")
    assert done.returncode == 0, done.stderr
    assert (experiment / "runs/fresh/last.ckpt").exists()


@pytest.mark.slow
def test_resuming_ends_where_an_unbroken_run_does(experiment, trained):
    start = trained / "step=00000002.ckpt"
    load = ["LOAD", "True", "CHECKPOINT_FILENAME", start, "EXP_NAME", "again"]
    done = run("train.py", experiment / "tiny.yaml", *load, "-s", "3")
    assert done.returncode == 0, done.stderr
    unbroken = read_checkpoint(trained / "last.ckpt")
    resumed = read_checkpoint(experiment / "runs" / "again" / "last.ckpt")
    assert resumed["global_step"] == unbroken["global_step"] == STEPS
    for part in ("state_dict", "ema_state_dict"):
        torch.testing.assert_close(resumed[part], unbroken[part], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL.KB_DMI", "3"], "train.py: the command line: unknown key MODEL.KB_DMI"),
        (["MODEL.FEAT_DIM", "9"], "the model expects (2, 3, 9)"),
        (["IMDB_FILE", "nowhere/%s.h5"], "no imdb"),
        (["LOAD", "True", "CHECKPOINT_FILENAME", "nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_mistakes_end_in_one_sentence(experiment, arguments, message):
    done = run("train.py", experiment / "tiny.yaml", *arguments)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_mistakes_that_a_loaders_process_finds_end_in_one_sentence(experiment):
    fresh = ["TRAIN.FRESH_SCENES_FILE", f"{experiment}/scenes/CLEVR_%s_scenes.json"]
    short = ["MODEL.T_CTRL", "2", "TRAIN.NUM_WORKERS", "1", "IMDB_FILE"]
    (experiment / "short").mkdir()
    with_layouts = experiment / "questions" / "CLEVR_val_layouts.json"
    with_layouts.rename(experiment / "aside.json")
    build_imdb(["--data-dir", str(experiment), "--out", str(experiment / "short")])
    (experiment / "aside.json").rename(with_layouts)
    arguments = [*fresh, *short, f"{experiment}/short/imdb_%s.h5"]
    done = run("train.py", experiment / "tiny.yaml", *arguments)
    assert done.returncode == 1
    assert re.search(r"^train.py: the layout has \d steps, but the model only 2", done.stderr, re.M)
    assert "Traceback" not in done.stderr
