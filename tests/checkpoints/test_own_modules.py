"""Checkpoints of models with modules beside the nine hold names and text, and import nothing."""

import sys

import pytest
import torch

import snmn
from snmn.checkpoints.checkpoint import load_weights, read_checkpoint, save_model, start_from
from snmn.checkpoints.checks import CheckpointError, check_model
from snmn.common.vocabulary import MODULES
from snmn.export import export
from snmn.network.model import build_model
from tests.helpers.small_models import SMALL, Count, Not


class Other(Not):
    """Not with a layer."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.layer = torch.nn.Linear(1, 1)


OWN = {"_Not": Not, "_Count": Count}


def made(path, modules=OWN, **options):
    torch.manual_seed(0)
    arguments = SMALL | options | {"modules": modules}
    model = build_model(**arguments).eval()
    save_model(path, model, arguments=arguments)
    return model


def answers(model):
    torch.manual_seed(1)
    question, features = torch.randint(1, 80, (2, 7)), torch.randn(2, 3, 4, 6)
    return model(question, torch.tensor([7, 4]), features).answer_logits


@pytest.fixture
def path(tmp_path):
    return tmp_path / "own.ckpt"


def test_a_model_comes_back_with_its_classes(path, tmp_path):
    model = made(path)
    checkpoint = read_checkpoint(path)
    assert checkpoint["vocabularies"]["modules"] == [*MODULES, "_Not", "_Count"]
    paths = checkpoint["hyper_parameters"]["model"]["modules"]
    assert paths == {"_Not": f"{Not.__module__}.Not", "_Count": f"{Not.__module__}.Count"}
    # In any order, and beside classes of other models.
    found = snmn.load_model(path, modules={"_More": Not, "_Count": Count, "_Not": Not})
    assert found.module_names == model.module_names
    torch.testing.assert_close(answers(found), answers(model))
    export(path, tmp_path / "small.ckpt")
    small = snmn.load_model(tmp_path / "small.ckpt", modules=OWN)
    torch.testing.assert_close(answers(small), answers(model), rtol=0.05, atol=0.05)


def test_a_class_within_a_function_is_text_like_any_other(path):
    class Local(Not):
        pass

    made(path, {"_Local": Local})
    assert snmn.load_model(path, modules={"_Local": Local}).module_names[-1] == "_Local"


@pytest.mark.parametrize("given", [{}, {"_Count": Count}, {"_Other": Not}])
def test_missing_classes_are_named_with_the_way_out(path, given):
    made(path)
    with pytest.raises(CheckpointError) as caught:
        snmn.load_model(path, modules=given)
    said = str(caught.value)
    missing = [name for name in OWN if name not in given]
    assert f"modules of its own, {', '.join(missing)}, whose code" in said
    assert all(way in said for way in ("modules={...}", "MODEL.NMN.MODULES", "SNMN_MODULES"))
    assert f"--modules _Not={Not.__module__}.Not" in said and "\n" not in said


def test_what_a_file_names_is_never_imported(path, tmp_path, monkeypatch):
    (tmp_path / "snmn_test_trap.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made(path, {"_Not": Not})
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["model"]["modules"] = {"_Not": "snmn_test_trap.Not"}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="_Not=snmn_test_trap.Not"):
        snmn.load_model(path)
    with pytest.raises(CheckpointError, match="_Not=snmn_test_trap.Not"):
        snmn.Predictor(path)
    assert snmn.load_model(path, modules={"_Not": Not}).module_names[-1] == "_Not"
    assert "snmn_test_trap" not in sys.modules


def test_a_class_whose_weights_do_not_fit(path):
    made(path, {"_Not": Not})
    with pytest.raises(CheckpointError, match="_Not.layer.weight is in one alone"):
        snmn.load_model(path, modules={"_Not": Other})
    with pytest.raises(CheckpointError, match="_Not must be a class derived from"):
        snmn.load_model(path, modules={"_Not": torch.nn.Linear})


@pytest.mark.parametrize(
    ("modules", "names", "said"),
    [
        ({"_Not": "a.Not"}, [*MODULES, "_Other"], "other vocabularies"),
        ({}, [*MODULES, "_Not"], "module_score.weight are"),
        ({"_Not": "a.Not", "_B": "a.B"}, [*MODULES, "_Not", "_B"], "module_score.weight are"),
        ({"_Find": "a.Not"}, [*MODULES, "_Find"], "_Find is one of the nine"),
        ({"Not": "a.Not"}, [*MODULES, "Not"], "names like _Not"),
        ({"_Not": ["a.Not"]}, [*MODULES, "_Not"], "_Not is a class by its path"),
        ({"_Not": "a.Not\x1b[2J"}, [*MODULES, "_Not"], "_Not is a class by its path"),
        ({"_Not": "a" * 999}, [*MODULES, "_Not"], "_Not is a class by its path"),
        (["_Not"], [*MODULES, "_Not"], "expected names and classes"),
        ("_Not", [*MODULES, "_Not"], "expected names and classes"),
    ],
)
def test_files_that_contradict_themselves_are_refused(path, modules, names, said):
    made(path, {"_Not": Not})
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["model"]["modules"] = modules
    content["vocabularies"]["modules"] = names
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=said) as caught:
        snmn.load_model(path, modules=OWN)
    assert str(path) in str(caught.value) and "\x1b" not in str(caught.value)


def test_models_with_other_modules_or_another_order_are_refused(path):
    made(path)
    checkpoint = read_checkpoint(path)
    turned = build_model(**SMALL, modules={"_Count": Count, "_Not": Not})
    for model in (turned, build_model(**SMALL)):
        with pytest.raises(CheckpointError, match="_Not _Count, in this order, the other _NoOp"):
            load_weights(model, path, checkpoint, ema=False)

    def settings(**modules):
        sizes = {"FEAT_DIM": 6, "H_FEAT": 3, "W_FEAT": 4, "EMBED_DIM": 6, "LSTM_DIM": 8}
        sizes |= {"PE_DIM": 4, "KB_DIM": 8, "VQA_OUTPUT_DIM": 8}
        return {"MODEL": sizes | {"NMN": {"MEM_DIM": 8, "MODULES": modules}}}

    # A class may have moved to another file.
    check_model(path, checkpoint, settings(_Not="elsewhere.Not", _Count="elsewhere.Count"))
    with pytest.raises(CheckpointError, match="MODULES is _Not, _Count there and _Count, _Not in"):
        check_model(path, checkpoint, settings(_Count="a.Count", _Not="a.Not"))
    with pytest.raises(CheckpointError, match="MODULES is _Not, _Count there and _Not, _Count, _B"):
        check_model(path, checkpoint, settings(_Not="a.Not", _Count="a.Count", _B="a.B"))
    with pytest.raises(CheckpointError, match="modules of its own, _Count, whose code"):
        start_from(build_model(**SMALL), path, checkpoint, settings(_Not="a.Not"))
