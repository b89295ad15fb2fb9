"""train.py, test.py and snmn.predict with modules beside the nine, named in a configuration."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

import train
from config import check_training, load_config
from snmn import predict
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.common.errors import Interrupted
from snmn.common.vocabulary import MODULES
from snmn.storage.typed_settings import ConfigError
from snmn.training.lightning_module import SNMNTraining
from tests.commands.test_testing import test_command
from tests.helpers import small_models
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import same_weights, write_experiment

FILE = "snmn_tests_own"
BOTH = f"{{_Not: {FILE}.Not, _Count: {FILE}.Count}}"
KEY = "MODEL.NMN.MODULES"
CONFIG = str(ROOT / "configs" / "mini_vqa_prior.yaml")
PRIOR = "[[0, _Find _Not/_And _NoOp _NoOp _NoOp _NoOp _NoOp _NoOp _Count]]"

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Overrides that make a configuration small, in a folder with the classes' file."""
    root = tmp_path_factory.mktemp("own")
    shutil.copy(small_models.__file__, root / f"{FILE}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        path = list(sys.path)
        prior = "TRAIN.LAYOUT_PRIOR_SCHEDULE"
        yield [*write_experiment(root), f"{prior}_BEGIN", "2", f"{prior}_END", "8"]
        sys.path[:] = path
        sys.modules.pop(FILE, None)


def run_training(tiny, name, *more, modules=BOTH, prior=PRIOR):
    given = [*tiny, KEY, modules, "TRAIN.LAYOUT_PRIOR", prior, "EXP_NAME", name]
    train.main([CONFIG, *given, *map(str, more), "--logger", "csv"])


@pytest.mark.slow
def test_training_goes_on_bit_for_bit(tiny):
    run_training(tiny, "whole")
    run_training(tiny, "part", "TRAIN.MAX_ITER", 2)
    run_training(tiny, "part", "--resume", "runs/part/last.ckpt")
    same_weights("runs/whole/last.ckpt", "runs/part/last.ckpt")
    hyper = read_checkpoint("runs/whole/last.ckpt")["hyper_parameters"]
    named = {"_Not": f"{FILE}.Not", "_Count": f"{FILE}.Count"}
    assert hyper["model"]["modules"] == hyper["config"]["MODEL"]["NMN"]["MODULES"] == named
    assert type(hyper["model"]["modules"]["_Not"]) is str
    # Begun with such weights, in another run of the same modules.
    run_training(
        tiny,
        "begun",
        *("TRAIN.INIT_FROM_WEIGHTS", "True", "TRAIN.INIT_WEIGHTS_FILE", "runs/whole/last.ckpt"),
        *("TRAIN.MAX_ITER", 1),
    )


@pytest.mark.slow
def test_another_order_or_other_modules_are_another_model(tiny, monkeypatch):
    step = SNMNTraining.training_step

    def stopped(module, batch, index):
        if module.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SNMNTraining, "training_step", stopped)
        with pytest.raises(Interrupted):
            run_training(tiny, "order")
    path = "runs/order/last.ckpt"
    turned = f"{{_Count: {FILE}.Count, _Not: {FILE}.Not}}"
    with pytest.raises(CheckpointError, match="_Not, _Count there and _Count, _Not in the conf"):
        run_training(tiny, "order", "--resume", path, modules=turned)
    with pytest.raises(
        CheckpointError, match="_Not _Count, in this order, the other .*_Count _Not"
    ):
        run_training(tiny, "order", "--resume", "auto", modules=turned)
    with pytest.raises(CheckpointError, match="modules of its own, _Not, _Count, whose code"):
        test_command.main([CONFIG, path, *tiny])
    with pytest.raises(SystemExit, match="whose code lies in no checkpoint.*--modules _Not="):
        predict.main([f"{ROOT}/server/samples/scene-01.jpg", "a cube?", "--checkpoint", path])


@pytest.mark.slow
def test_restarts(tiny):
    run_training(tiny, "series", "--restarts", "2", "TRAIN.MAX_ITER", 2)
    # Gone on with, nothing is left to do; the record knows the classes.
    run_training(tiny, "series", "--restarts", "2", "TRAIN.MAX_ITER", 2)
    record = json.loads(Path("runs/series/restarts.json").read_text())
    assert record["settings"]["MODEL"]["NMN"]["MODULES"]["_Not"] == f"{FILE}.Not"
    names = read_checkpoint("runs/series/best.ckpt")["vocabularies"]["modules"]
    assert names == [*MODULES, "_Not", "_Count"]


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        return path

    return write


def modules_of(*overrides, path=CONFIG):
    return load_config(path, list(overrides))[0].MODEL.NMN.MODULES


def test_the_setting_is_a_mapping_of_text(write):
    assert modules_of() == {}
    base = write("MODEL: {NMN: {MODULES: {_A: own.A, _B: own.B}}}")
    assert modules_of(path=base) == {"_A": "own.A", "_B": "own.B"}
    assert list(modules_of(KEY, "{_B: own.B, _A: own.A}")) == ["_B", "_A"]
    assert modules_of(KEY, "{}", path=base) == modules_of(KEY, "", path=base) == {}
    typed = modules_of(f"{KEY}._C", "own.C", path=base)
    assert typed == {"_C": "own.C"} and type(typed["_C"]) is str
    assert modules_of(path=write("MODEL: {NMN: {MODULES: }}")) == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("_Not", f"{KEY} is a mapping of names to texts, not '_Not'"),
        ("[_Not]", f"{KEY} is a mapping of names to texts"),
        ("{_Not: 3}", f"{KEY} is a mapping of names to texts"),
        ("{_Not: {a: b}}", f"{KEY} is a mapping of names to texts"),
        ("{Not: own.Not}", f"{KEY}: modules have names like _Not"),
        ("{_Find: own.Find}", f"{KEY}: _Find is one of the nine modules"),
        ("{_Not: own Not}", f"{KEY}: _Not is a class by its path"),
    ],
)
def test_what_the_setting_cannot_be(write, value, said):
    for given in (
        lambda: modules_of(KEY, value),
        lambda: modules_of(path=write(f"MODEL: {{NMN: {{MODULES: {value}}}}}")),
    ):
        with pytest.raises(ConfigError, match=said):
            given()


def test_layouts_in_words_know_the_names():
    load_config(CONFIG, [KEY, BOTH, "TRAIN.LAYOUT_PRIOR", PRIOR])
    with pytest.raises(ConfigError, match="no module is called '_Not'"):
        load_config(CONFIG, ["TRAIN.LAYOUT_PRIOR", PRIOR])


@pytest.mark.parametrize("command", [train.main, test_command.main], ids=["train", "test"])
def test_a_class_that_is_not_there_ends_a_command_before_it_writes(tiny, command):
    given = [CONFIG, *([] if command is train.main else ["no.ckpt"])]
    with pytest.raises(ConfigError, match=f"{KEY}: _Not cannot be snmn_tests_absent.Not") as caught:
        command([*given, *tiny, KEY, "{_Not: snmn_tests_absent.Not}", "EXP_NAME", "absent"])
    assert "\n" not in str(caught.value)
    assert not Path("runs/absent").exists()


def test_only_training_and_testing_import(write):
    config, _ = load_config(CONFIG, [KEY, "{_Not: snmn_tests_absent.Not}"])
    with pytest.raises(ConfigError):
        check_training(config)


def test_predicting_refuses_in_a_sentence():
    image = f"{ROOT}/server/samples/scene-01.jpg"
    for modules, said in (
        ("_Not", "modules are given as _Not=own_module.Not, not _Not"),
        ("_Not=snmn_tests_absent.Not", "_Not cannot be snmn_tests_absent.Not"),
    ):
        with pytest.raises(SystemExit, match=said):
            predict.main([image, "a cube?", "--modules", modules])
