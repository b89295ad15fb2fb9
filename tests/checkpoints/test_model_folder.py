"""Models as folders for model hubs: there and back, and folders that are broken or hostile."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import snmn
from snmn import export
from snmn.checkpoints import model_folder
from snmn.checkpoints.bundled import bundled_path, read_card
from snmn.checkpoints.card_scores import card_scores
from snmn.checkpoints.checkpoint import read_checkpoint, save_model
from snmn.checkpoints.checks import CheckpointError, check_features
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.network.model import build_model
from snmn.storage.torch_file import read_torch_file, write_torch_file
from tests.helpers.small_models import SMALL, Count, Not

OWN = {"_Not": Not, "_Count": Count}
TRAPS = {"_Not": "snmn_test_trap.Not", "_Count": "snmn_test_trap.Count"}
FEATURES = {"backbone": "cellnet", "weights_sha256": "ab", "preprocess": "p", "image_size": 224}
QUESTION = torch.tensor([[3, 5, 9, 2, 7], [4, 1, 8, 0, 0]])
LENGTH = torch.tensor([5, 3])


def made(path, **options):
    """A checkpoint with raw weights and others as their average, trained on `FEATURES`."""
    torch.manual_seed(0)
    arguments = SMALL | options
    save_model(
        path, build_model(**arguments), arguments=arguments, averaged=build_model(**arguments)
    )
    content = read_torch_file(path)
    content["hyper_parameters"]["loss"] = {"use_gt_layout": True}
    write_torch_file(path, content | {"features": FEATURES})
    return path


def answers(model):
    features = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(QUESTION, LENGTH, features)


@pytest.fixture
def folder(tmp_path):
    """The folder of a small model."""
    export.main(
        ["--format", "safetensors", str(made(tmp_path / "a.ckpt")), str(tmp_path / "model")]
    )
    return tmp_path / "model"


def changed(folder, **parts):
    """Write other parts into a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


@pytest.mark.parametrize("modules", [{}, OWN], ids=["nine", "own"])
def test_there_and_back(tmp_path, modules, capsys):
    path = made(tmp_path / "a.ckpt", modules=modules)
    export.main([str(path), str(tmp_path / "small.ckpt")])
    export.main(["--format", "safetensors", str(path), str(tmp_path / "model")])
    assert "MiB" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    file, folder = (read_checkpoint(tmp_path / name) for name in ("small.ckpt", "model"))
    assert folder["vocabularies"] == file["vocabularies"]
    assert folder["vocabularies"]["modules"] == [*MODULES, *modules]
    assert folder["vocabularies"]["question_words"] == list(QUESTION_WORDS)
    assert folder["vocabularies"]["answers"] == list(ANSWERS)
    assert folder["hyper_parameters"] == file["hyper_parameters"]
    assert folder["features"] == file["features"] == FEATURES
    check_features(folder, FEATURES)
    with pytest.raises(CheckpointError, match="features with weights_sha256 ab, these have cd"):
        check_features(folder, FEATURES | {"weights_sha256": "cd"})
    torch.testing.assert_close(folder["state_dict"], file["state_dict"], rtol=0, atol=0)
    first, second = (
        answers(snmn.load_model(tmp_path / name, modules=modules))
        for name in ("small.ckpt", "model")
    )
    assert torch.equal(first.answer_logits, second.answer_logits)
    assert torch.equal(first.image_attention, second.image_attention)
    assert torch.equal(first.module_probs, second.module_probs)
    # A folder of a folder is the same again; an older one in its place goes.
    export.main(["--format", "safetensors", str(tmp_path / "model"), str(tmp_path / "again")])
    export.main(["--format", "safetensors", str(tmp_path / "model"), str(tmp_path / "again")])
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_own_modules_are_asked_for_and_never_imported(tmp_path, monkeypatch):
    (tmp_path / "snmn_test_trap.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    export.export_folder(made(tmp_path / "a.ckpt", modules=OWN), tmp_path / "model")
    model = json.loads((tmp_path / "model" / "config.json").read_text())["model"]
    changed(tmp_path / "model", model=model | {"modules": TRAPS})
    for load in (snmn.load_model, snmn.Predictor):
        with pytest.raises(CheckpointError, match="--modules _Not=snmn_test_trap.Not"):
            load(tmp_path / "model")
    assert "snmn_test_trap" not in sys.modules
    found = snmn.load_model(tmp_path / "model", modules=OWN)
    assert found.module_names == (*MODULES, "_Not", "_Count")


def test_a_fixed_embedding_comes_back(tmp_path):
    fixed = torch.randn(len(QUESTION_WORDS), SMALL["embed_dim"])
    torch.manual_seed(0)
    arguments = SMALL | {"fixed_embedding": fixed}
    save_model(tmp_path / "a.ckpt", build_model(**arguments), arguments=arguments)
    export.export_folder(tmp_path / "a.ckpt", tmp_path / "model")
    export.export(tmp_path / "a.ckpt", tmp_path / "small.ckpt")
    found, expected = (snmn.load_model(tmp_path / name) for name in ("model", "small.ckpt"))
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert dict(found.named_buffers()).keys() == dict(expected.named_buffers()).keys()


def test_a_bundled_model_has_its_scores_in_the_card(tmp_path):
    name = "joint_gt_layout"
    export.export_folder(bundled_path(name), tmp_path / "mine")
    text = (tmp_path / "mine" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["license"] == "bsd-2-clause" and head["library_name"] == "snmn"
    assert head["pipeline_tag"] == "visual-question-answering"
    assert "referring-expressions" in head["tags"]
    scores = card_scores(read_card(bundled_path(name)))
    (entry,) = head["model-index"]
    assert entry["name"] == "mine" and len(entry["results"]) == len(scores) >= 3
    for score, result in zip(scores, entry["results"], strict=True):
        assert result["metrics"] == [{"type": score.measure, "value": score.share}]
        assert f"| {score.asked} |" in body and f"| {score.share:.3f} |" in body
    assert 'snmn.Predictor("mine")' in body
    predictor = snmn.Predictor(tmp_path / "mine")
    expected = snmn.load_model(bundled_path(name))
    named = read_card(bundled_path(name))["features"]
    assert model_folder.folder_backbone(tmp_path / "mine") == named
    assert predictor.backbone.attributes["backbone"] == named
    torch.testing.assert_close(predictor.model.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_a_model_of_ones_own_has_no_scores_and_no_licence(folder):
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n", 2)[1])
    assert "license" not in head and "model-index" not in head
    assert "None are recorded with this model." in text and "`cellnet`" in text


@pytest.mark.parametrize("card", [[], {"accuracy": 3}, {"accuracy": {"val": "high"}}])
def test_what_is_no_score_in_a_card_is_left_out(card):
    assert card_scores(card if isinstance(card, dict) else {}) == []


def test_scores_with_intervals_and_discrete_ones():
    share = {"share": 0.5, "low": 0.4, "high": 0.6, "total": 10}
    card = {
        "precision_at_1": {"rendered test, 10 expressions": share},
        "discrete": {"rendered test, 10 expressions": {"right": share | {"share": 0.25}}},
    }
    (score,) = card_scores(card)
    assert (score.task, score.share, score.discrete) == ("loc", 0.5, 0.25)
    assert score.asked == "rendered test, 10 expressions"


def without(name):
    return lambda folder: (folder / name).unlink()


def text(content):
    return lambda folder: (folder / "config.json").write_text(content)


def weights(**tensors):
    """Adds tensors to those there are; None takes one away."""

    def change(folder):
        path = folder / "model.safetensors"
        state = {name.replace("/", "."): value for name, value in tensors.items()}
        state = load_file(path) | state
        save_file({name: value for name, value in state.items() if value is not None}, path)

    return change


def model(**arguments):
    def change(folder):
        found = json.loads((folder / "config.json").read_text())["model"]
        changed(folder, model=found | arguments)

    return change


def raw(content):
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


HUGE = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            without("config.json"),
            "no config.json in it; python -m snmn.export --format safetensors",
        ),
        (without("model.safetensors"), "no model.safetensors in it"),
        (text("no json"), "config.json: not readable as JSON"),
        (text("[" * 100_000), "config.json: not readable as JSON"),
        (text("[]"), "its model_type is None"),
        (text('{"model_type": "bert"}'), "its model_type is 'bert', not \"snmn\""),
        (text('{"model_type": "snmn"}'), "its model is no table of names"),
        (text(" " * (model_folder.LARGEST_CONFIG + 1)), "larger than the"),
        (lambda folder: changed(folder, training=3), "its training is no table of names"),
        (lambda folder: changed(folder, features=3), "its features is no table of names"),
        (lambda folder: changed(folder, vocabularies={"answers": []}), "other vocabularies"),
        (model(kb_dim=9), r"knowledge_base.input.weight are \(8, 10\), its model has \(9, 10\)"),
        (model(kb_dim=1 << 40), "kb_dim is a whole number from 1"),
        (model(nothing=1), "nothing is not an argument of the model"),
        (model(fixed_embedding=False), "fixed_embedding is an array of numbers"),
        (model(modules={"_Not": "a.Not"}), "module_score.weight are"),
        (weights(extra=torch.zeros(3)), "extra is in one alone"),
        (weights(**{"knowledge_base/output/weight": None}), "output.weight are missing"),
        (weights(**{"knowledge_base/output/bias": None}), "output.bias is in one alone"),
        (weights(**{"knowledge_base/output/bias": torch.zeros(9)}), r"output.bias are \(9,\)"),
        (weights(**{"knowledge_base/output/bias": torch.zeros(8, dtype=torch.int64)}), "int64"),
        (cut, "not readable as safetensors"),
        (raw(b""), "not readable as safetensors"),
        (raw(b"PK\3\4 an archive"), "not readable as safetensors"),
        (raw((1 << 60).to_bytes(8, "little") + b"{}"), "not readable as safetensors"),
        (raw(len(HUGE).to_bytes(8, "little") + HUGE), "not readable as safetensors"),
    ],
)
def test_a_broken_folder_is_one_sentence(folder, harm, said, capsys):
    harm(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        snmn.load_model(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and len(message) < 1000


def test_the_command_tells_in_one_line_what_is_wrong(folder, tmp_path):
    (folder / "config.json").write_text("{")
    with pytest.raises(SystemExit, match=r"^snmn.export: .*config.json: not readable as JSON"):
        export.main([str(folder), str(tmp_path / "out.ckpt")])


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    path = made(tmp_path / "a.ckpt")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "README.md").write_text("mine")
    with pytest.raises(CheckpointError, match="thesis: there are other files in this folder"):
        export.export_folder(path, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "README.md").read_text() == "mine"


def test_without_the_package_both_ways_name_it(folder, tmp_path, monkeypatch):
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CheckpointError, match="not installed: pip install safetensors"):
        snmn.load_model(folder)
    with pytest.raises(CheckpointError, match="not installed: pip install safetensors"):
        export.export_folder(tmp_path / "a.ckpt", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    # What needs no such file still works.
    assert snmn.load_model(tmp_path / "a.ckpt").module_names == MODULES


def test_a_folder_may_be_called_anything(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy.ckpt")
    assert snmn.load_model(str(tmp_path / "copy.ckpt")).module_names == MODULES
