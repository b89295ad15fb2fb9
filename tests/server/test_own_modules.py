"""The demo with models that have modules beside the nine."""

import sys

import pytest
import torch
from fastapi.testclient import TestClient

import snmn
from server.main import create_app
from server.settings import SettingError, Settings
from snmn.checkpoints.checkpoint import save_model
from snmn.common.vocabulary import MODULES
from snmn.network.model import build_model
from tests.helpers.tiny.server import SIZES, settings, write_models

ASK = {"sample": "scene-01", "question": "How many cubes are there?"}


class Not(snmn.NeuralModule):
    """
    Minus the map, <b>whatever</b> it is.

    And more.
    """

    inputs, outputs = 1, 1

    def forward(self, knowledge, control, a):
        return -a


class Silent(snmn.AnswerModule):
    inputs = 2

    def describe(self, knowledge, control, a1, a2):
        return knowledge.pool(a1) - knowledge.pool(a2)


OWN = {"_Not": Not, "_Silent": Silent}


def write_own(folder, modules):
    """A model own.ckpt that runs the last of its modules at every step."""
    torch.manual_seed(0)
    arguments = SIZES | {"modules": modules, "linear_module_weights": False}
    model = build_model(**arguments)
    model.controller.module_score[2].weight.data.zero_()
    model.controller.module_score[2].bias.data[-1] = 1.0
    save_model(folder / "own.ckpt", model, arguments=arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models with and without modules of their own."""
    folder = write_models(tmp_path_factory.mktemp("models"), ["vqa_gt_layout"])
    write_own(folder, OWN)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(create_app(settings(folder, modules=OWN))) as client:
        yield client


def ask(client, model):
    answer = client.post("/api/predict", data=ASK | {"model": model})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_prediction_says_what_its_modules_are(client):
    found = ask(client, "own")
    assert [module["name"] for module in found["modules"]] == [*MODULES, "_Not", "_Silent"]
    assert found["modules"][-2:] == [
        {
            "name": "_Not",
            "title": "Not",
            "description": "Minus the map, <b>whatever</b> it is.",
        },
        {"name": "_Silent", "title": "Silent", "description": "A module beside the nine."},
    ]
    for step in found["steps"]:
        assert step["module"] == "_Silent" and len(step["module_probabilities"]) == 11
        assert not step["popped"] and not step["pushed"]  # What answers keeps its maps.
    nine = ask(client, "vqa_gt_layout")
    assert nine["modules"] == client.get("/api/vocabulary").json()["modules"]


def test_without_their_classes_one_model_fails_and_the_log_says_why(folder, caplog):
    with TestClient(create_app(settings(folder))) as client:
        ask(client, "vqa_gt_layout")
        refused = client.post("/api/predict", data=ASK | {"model": "own"})
        assert refused.status_code == 409 and refused.json()["code"] == "not_ready"
    assert "its model has modules of its own, _Not, _Silent, whose code" in caplog.text
    assert "SNMN_MODULES" in caplog.text


def test_the_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "snmn_tests_demo.py").write_text(
        "import snmn\nclass Not(snmn.NeuralModule):\n"
        "    inputs, outputs = 1, 1\n    def forward(self, k, c, a):\n        return -a\n"
    )
    found = Settings.from_environment({"SNMN_MODULES": "_Not=snmn_tests_demo.Not"}).modules
    assert list(found) == ["_Not"] and issubclass(found["_Not"], snmn.NeuralModule)
    assert Settings.from_environment({"SNMN_MODULES": " "}).modules == {}
    for text, said in (
        ("_Not", "modules are given as _Not=own_module.Not"),
        ("_Find=snmn_tests_demo.Not", "_Find is one of the nine"),
        ("_Not=snmn_tests_demo.Nought", "no attribute 'Nought'"),
        ("_Not=snmn_tests_absent.Not", "No module named 'snmn_tests_absent'"),
    ):
        with pytest.raises(SettingError, match=f"SNMN_MODULES: .*{said}"):
            Settings.from_environment({"SNMN_MODULES": text})
    sys.modules.pop("snmn_tests_demo")
