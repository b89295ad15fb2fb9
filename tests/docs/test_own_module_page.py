"""docs/own_module.md: its files written as they stand, its commands run one after the other."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import train
from server.main import create_app
from server.settings import Settings
from snmn import predict
from snmn.backbones import BACKBONES, build_backbone
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.vocabulary import MODULES
from tests.commands.test_testing import test_command
from tests.helpers.paths import ROOT
from tests.helpers.tiny.clevr import write_clevr
from tests.helpers.tiny.experiment import overrides

PAGE = ROOT / "docs" / "own_module.md"
OWN = ("_Not", "_Count")
NAMES = [*MODULES, *OWN]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*")]


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    fenced = rf"^```{language}\n(.*?)^```$"
    return re.findall(fenced, PAGE.read_text(), re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """The page's files by the name in their first line."""
    found = [*blocks("python"), *blocks("yaml")]
    return {block.splitlines()[0].removeprefix("# "): block for block in found}


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's files, the project's configurations, and tiny data."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in files().items():
        (folder / name).write_text(text)
    (folder / "configs").symlink_to(ROOT / "configs")
    # As if the features were of this backbone, so that images can be asked about.
    entry, made_with = BACKBONES["cellnet"], build_backbone("cellnet").attributes
    shape = {"grid": entry.grid, "dim": entry.dim}
    write_clevr(folder, {"train": 3, "val": 3, "test": 1}, **shape, made_with=made_with)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 72, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "scene.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        path = list(sys.path)
        yield folder
        sys.path[:] = path
        for name in ("own_module", "own_answer"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def small(folder):
    """Settings that make the page's configuration small."""
    entry = BACKBONES["cellnet"]
    shape = dict(zip(("H_FEAT", "W_FEAT", "FEAT_DIM"), (*entry.grid, entry.dim), strict=True))
    pairs = [text for key, value in shape.items() for text in (f"MODEL.{key}", str(value))]
    return [*overrides(folder), *pairs, "TEST.DATA_DIR", str(folder)]


@pytest.fixture(scope="module")
def trained(folder, small):
    program, *arguments = commands()[0][1:]
    assert program == "train.py"
    train.main([*arguments, *small, "--logger", "csv"])
    return folder / "runs" / "own"


def test_each_class_takes_few_lines():
    for name in ("own_module.py", "own_answer.py"):
        assert len(files()[name].splitlines()) <= 25


def test_from_python(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "train_own.py"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    losses = [float(text) for text in re.findall(r"step \d: (.*)", done.stdout)]
    assert len(losses) == 5 and losses[-1] < losses[0]
    checkpoint = read_checkpoint("own.ckpt")
    assert checkpoint["vocabularies"]["modules"] == NAMES
    assert checkpoint["hyper_parameters"]["model"]["modules"] == {
        "_Not": "own_module.Not",
        "_Count": "own_answer.Count",
    }


def test_training_from_a_configuration(trained):
    checkpoint = read_checkpoint(trained / "last.ckpt")
    assert checkpoint["vocabularies"]["modules"] == NAMES
    state = checkpoint["state_dict"]
    assert any(name.startswith("model.nmn.neural_modules._Count.") for name in state)
    log = next(trained.rglob("metrics.csv"))
    with log.open(newline="") as file:
        columns = next(csv.reader(file))
    assert {f"modules/step0{name}" for name in NAMES} <= set(columns)


def test_testing_explains_and_draws(folder, small, trained, capsys):
    program, *arguments = commands()[1][1:]
    assert program == "test.py"
    test_command.main([*arguments, *small])
    printed = capsys.readouterr().out
    assert "attention of" in printed and "figures: 2 in" in printed
    results = folder / "results" / "own" / "val"
    summary = json.loads((results / "summary.json").read_text())
    assert summary["layouts"]["modules"] == NAMES
    assert np.shape(summary["layouts"]["confusion"]) == (9, len(NAMES), len(NAMES))
    with (results / "predictions.csv").open(newline="") as file:
        layouts = [row["predicted_layout"].split() for row in csv.DictReader(file)]
    assert {name for layout in layouts for name in layout} <= set(NAMES)


def test_predicting(trained, capsys):
    python, m, module, *arguments = commands()[2]
    assert (python, m, module) == ("python", "-m", "snmn.predict")
    predict.main(arguments)
    assert "answer: " in capsys.readouterr().out


def test_the_demo_answers(trained):
    *settings, program, app = commands()[3]
    assert (program, app) == ("uvicorn", "server.main:app")
    environment = dict(setting.split("=", 1) for setting in settings)
    with TestClient(create_app(Settings.from_environment(environment))) as client:
        asked = {"question": "How many cubes are there?", "model": "last", "sample": "scene-01"}
        answer = client.post("/api/predict", json=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [module["name"] for module in found["modules"]] == NAMES
    described = {module["title"]: module["description"] for module in found["modules"]}
    assert described["Not"].startswith("Attends to what the top map does not")
    assert described["Count"].startswith("Notes how many cells")
    assert all(len(step["module_probabilities"]) == len(NAMES) for step in found["steps"])
