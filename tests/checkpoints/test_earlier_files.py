"""Files as the earlier codebases leave them are known by their content, and nothing is left out."""

import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import test as test_py
import train
from snmn import convert, load_model, predict
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.storage.torch_file import TorchFileError, read_foreign_torch_file, read_torch_file
from tests.helpers.earlier_weights import (
    D,
    E,
    K,
    adaptation_weights,
    settings_of,
    variables_of,
    write_genuine,
)
from tests.helpers.paths import ROOT

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
MLP = {"MODEL": settings_of({})["MODEL"] | {"CTRL": {"LINEAR_MODULE_WEIGHTS": False}}}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    state = adaptation_weights("online_model.") | adaptation_weights("offline_model.")
    return write_genuine(tmp_path_factory.mktemp("genuine"), state)


def converted(tmp_path, weights, settings):
    """The path of the converted checkpoint; SystemExit with the message where it is refused."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "converted.ckpt"
    convert.main([str(weights), str(tmp_path / "run.yaml"), str(out)])
    return out


def outputs(model, name="answer_logits"):
    torch.manual_seed(0)
    question, length = torch.randint(0, 82, (2, 5)), torch.tensor([5, 2])
    with torch.no_grad():
        return getattr(model.eval()(question, length, torch.rand(2, 3, 4, 5)), name)


@pytest.mark.slow
def test_genuine_checkpoints_are_converted_whatever_they_are_called(genuine, tmp_path):
    with pytest.raises(Exception, match="ModelCheckpoint"):
        torch.load(genuine["plain new.ckpt"], weights_only=True)
    bare = {
        prefix: {name.removeprefix(prefix): w for name, w in adaptation_weights(prefix).items()}
        for prefix in ("online_model.", "offline_model.")
    }
    expected = {
        prefix: outputs(convert.build_from_adaptation(weights, MLP))
        for prefix, weights in bare.items()
    }
    assert len(genuine) == 32
    for path in genuine.values():
        out = converted(tmp_path, path, MLP)
        raw, average = outputs(load_model(out, ema=False)), outputs(load_model(out))
        torch.testing.assert_close(raw, expected["online_model."])
        torch.testing.assert_close(average, expected["offline_model."])
    torch.save(bare["online_model."], tmp_path / "one.pth")
    model = load_model(converted(tmp_path, tmp_path / "one.pth", MLP))
    torch.testing.assert_close(outputs(model), expected["online_model."])


def test_what_is_unknown_in_a_checkpoint_is_a_name(genuine):
    for kind in ("new", "old"):
        content = read_foreign_torch_file(genuine[f"hyper-parameters {kind}.ckpt"])
        assert content["global_step"] == 131136 and content["lr_schedulers"] == []
        names = [key.name for key in content["callbacks"]]
        assert names[0] == "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
        assert next(iter(content["callbacks"].values()))["dirpath"] == "/home/someone/snmn"
        assert (
            content["hyper_parameters"].name == "pytorch_lightning.utilities.parsing.AttributeDict"
        )
        assert content["optimizer_states"][0]["state"][0]["exp_avg"].shape == (2, 3)
        with pytest.raises(TorchFileError, match="weights and plain values: .*ModelCheckpoint"):
            read_torch_file(genuine[f"hyper-parameters {kind}.ckpt"])


def test_reading_gives_what_torch_gives(tmp_path):
    long = torch.arange(12).view(3, 4)
    content = {
        "views": [long, long[1:, ::2], long.t(), torch.zeros(0, 3), torch.tensor(2.5)],
        "types": [torch.ones(2, dtype=t) for t in (torch.half, torch.bfloat16, torch.bool)],
        "plain": (None, True, -1, 2**70, 1.5, "é\n", b"\x00\xff", {1, "a"}, [], ((),)),
        "parameter": torch.nn.Parameter(torch.rand(2)),
        ("flat", 1): torch.Size([2, 3]),
    }
    for old in (False, True):
        path = tmp_path / "any.file"
        torch.save(content, path, _use_new_zipfile_serialization=not old)
        ours, theirs = read_torch_file(path), torch.load(path, weights_only=True)
        assert ours["plain"] == theirs["plain"] and list(ours) == list(theirs)
        assert torch.equal(ours["parameter"], theirs["parameter"])
        for part in ("views", "types"):
            for one, other in zip(ours[part], theirs[part], strict=True):
                assert one.dtype == other.dtype and one.stride() == other.stride()
                assert torch.equal(one, other)


def test_every_command_points_to_the_converter(genuine, tmp_path, capsys):
    snapshot = tmp_path / "00200000"
    (tmp_path / "00200000.index").write_bytes(b"x" * 40)
    (tmp_path / "00200000.data-00000-of-00001").write_bytes(b"x" * 40)
    np.savez(tmp_path / "weights.npz", **variables_of({}))
    torch.save({"state_dict": adaptation_weights("online_model.")}, tmp_path / "few.ckpt")
    sample = next((ROOT / "server" / "static").rglob("*.png"), None) or _picture(tmp_path)
    commands = {
        "test.py": lambda path: test_py.main([CONFIG, path]),
        "snmn.predict": lambda path: predict.main(
            [str(sample), "What is it?", "--checkpoint", path]
        ),
        "--resume": lambda path: train.main([CONFIG, "--resume", path]),
    }
    kinds = {
        genuine["hyper-parameters new.ckpt"]: "a checkpoint of the PyTorch adaptation",
        genuine["plain old.pth"]: "a checkpoint of the PyTorch adaptation",
        tmp_path / "few.ckpt": "a checkpoint of the PyTorch adaptation",
        snapshot: "a TensorFlow snapshot",
        tmp_path / "00200000.index": "a TensorFlow snapshot",
        tmp_path / "weights.npz": "an .npz of arrays",
    }
    for path, kind in kinds.items():
        with pytest.raises(CheckpointError, match=f"is {kind}: .*python -m snmn.convert"):
            read_checkpoint(path)
        for name, command in commands.items():
            with pytest.raises((SystemExit, CheckpointError)) as refused:
                command(str(path))
            text = str(refused.value)
            assert "snmn.convert" in text and str(path) in text and "\n" not in text, name


def _picture(folder):
    from PIL import Image

    Image.new("RGB", (48, 32)).save(folder / "picture.png")
    return folder / "picture.png"


def test_a_snapshot_is_read_by_any_of_its_names(tmp_path, monkeypatch):
    variables = variables_of({})
    reader = SimpleNamespace(
        get_variable_to_shape_map=lambda: {**variables, "save_counter": ()},
        get_tensor=lambda name: np.int64(1) if name == "save_counter" else variables[name],
    )
    asked = []
    loader = SimpleNamespace(load_checkpoint=lambda path: asked.append(path) or reader)
    prefix = tmp_path / "model.ckpt-200000"
    for end in ("index", "meta", "data-00000-of-00001"):
        (tmp_path / f"{prefix.name}.{end}").write_bytes(b"x" * 40)
    old = tmp_path / "model.ckpt"
    old.write_bytes(b"x" * 40 + bytes.fromhex("57fb808b247547db"))
    with pytest.raises(SystemExit, match="model.ckpt-200000: .*needs the tensorflow package"):
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        converted(tmp_path, prefix, settings_of({}))
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(train=loader))
    for name in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001"):
        converted(tmp_path, name, settings_of({}))
    converted(tmp_path, old, settings_of({}))
    assert asked == [str(prefix)] * 3 + [str(old)]


def test_files_of_no_codebase_are_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"neither")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    for name, why in (
        ("x.pth", "neither"),
        ("other.pt", "no weights of"),
        ("none", "No such file"),
    ):
        with pytest.raises(SystemExit, match=f"{name}: .*{why}"):
            converted(tmp_path, tmp_path / name, MLP)
    shutil.copy(ROOT / "server" / "models" / "vqa_gt_layout.ckpt", tmp_path / "ours.ckpt")
    with pytest.raises(SystemExit, match="ours.ckpt: it holds no weights of the adaptation"):
        converted(tmp_path, tmp_path / "ours.ckpt", MLP)


HEADS = {
    "with the question": {},
    "without the question": {"memory_alone": True},
    "without it, with boxes": {"memory_alone": True, "loc": True, "affine": True, "map": True},
    "boxes alone": {"vqa": False, "loc": True, "affine": True},
    "reconstruction": {"rec": True},
    "reconstruction from modules alone": {"rec": True, "rec_modules_alone": True},
}


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_the_original_is_built_with_the_heads_it_has(tmp_path, options):
    variables = variables_of(options)
    saved = {f"{name}:0": value for name, value in variables.items()}  # As TensorFlow names them.
    np.savez(tmp_path / "weights.npz", **saved)
    model = load_model(converted(tmp_path, tmp_path / "weights.npz", settings_of(options)))
    assert (model.answer_head is not None) == options.get("vqa", True)
    assert (model.reconstruction is not None) == options.get("rec", False)
    if model.answer_head is not None:
        memory = outputs(model, "memory").numpy()
        with torch.no_grad():
            summary = model.question_encoder(*_words())
        inputs = [memory] if options.get("memory_alone") else [summary.summary.numpy(), memory]
        first = "fc1_wo_q" if options.get("memory_alone") else "fc1"
        weights = {
            name: {k: variables[f"model/output_unit/{name}/{k}"] for k in ("weights", "biases")}
            for name in (first, "fc2")
        }
        hidden = np.concatenate(inputs, 1) @ weights[first]["weights"] + weights[first]["biases"]
        hidden = np.where(hidden > 0, hidden, np.expm1(hidden))
        expected = hidden @ weights["fc2"]["weights"] + weights["fc2"]["biases"]
        np.testing.assert_allclose(outputs(model), expected, rtol=1e-4, atol=1e-5)


def _words():
    torch.manual_seed(0)
    return torch.randint(0, 82, (2, 5)), torch.tensor([5, 2])


UNKNOWN = {
    "model/output_unit/fc3/weights": (7, 7),
    "model/output_unit/fc1_wo_q/biases": (7,),
    "model/output_unit_loc/extra/weights": (K, 4),
    "model/controller/fc_shortcut/weights": (D, D),
    "model/controller/fc_shortcut/biases": (D,),
    "model/NMN/Compare/fc_c_mapped/weights": (E, K),
    "model/kb_batch/conv3/weights": (1, 1, K, K),
    "model/elsewhere/kernel": (2, 4),
    "model/memory_gate": (),
    "tower/fc/weights": (2, 2),
    "model/memory_gate/Adamax": (),
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("rec", [False, True])
def test_an_unknown_variable_of_the_original_is_named(tmp_path, name, rec):
    options = {"loc": "loc" in name, "map": True, "affine": True, "rec": rec}
    saved = variables_of(options) | {name: np.ones(UNKNOWN[name], np.float32)}
    np.savez(tmp_path / "weights.npz", **saved)
    with pytest.raises(SystemExit, match=f"weights.npz: .*{re.escape(name)}"):
        converted(tmp_path, tmp_path / "weights.npz", settings_of(options))


def test_what_tensorflow_saves_of_training_is_known(tmp_path):
    raw = variables_of({})
    saved = raw | {f"{n}/ExponentialMovingAverage": v for n, v in variables_of({}, 1).items()}
    for slot in ("Adam", "Adam_1", "Adam_2", "Adam_3", "Momentum"):
        saved |= {f"{name}/{slot}": value for name, value in raw.items()}
    for name in ("beta1_power", "beta2_power", "beta1_power_1", "train/beta2_power"):
        saved[name] = np.float32(0.5)
    for name in ("global_step", "train/global_step", "save_counter"):
        saved[name] = np.int64(200000)
    for end in ("biased", "local_step"):
        saved[f"model/controller/c_init/ExponentialMovingAverage/{end}"] = np.ones((1, E))
    np.savez(tmp_path / "weights.npz", **saved)
    converted(tmp_path, tmp_path / "weights.npz", settings_of({}))
    gone = "model/kb_batch/conv1/biases/ExponentialMovingAverage"
    np.savez(tmp_path / "weights.npz", **{k: v for k, v in saved.items() if k != gone})
    with pytest.raises(SystemExit, match="conv1/biases has no moving average, unlike others"):
        converted(tmp_path, tmp_path / "weights.npz", settings_of({}))


@pytest.mark.parametrize("in_snapshot", [False, True])
def test_a_fixed_word_embedding(tmp_path, in_snapshot):
    name = "model/input_unit/embed_mat"
    raw, averages = variables_of({}), variables_of({}, seed=1)
    embedding = raw[name] if in_snapshot else raw.pop(name)
    averages.pop(name)  # It is not trained.
    saved = raw | {f"{n}/ExponentialMovingAverage": v for n, v in averages.items()}
    np.savez(tmp_path / "weights.npz", **saved)
    np.save(tmp_path / "embedding.npy", embedding)
    settings = settings_of({}) | {"USE_FIXED_WORD_EMBED": True}
    if not in_snapshot:
        with pytest.raises(SystemExit, match="name its file as FIXED_WORD_EMBED_FILE"):
            converted(tmp_path, tmp_path / "weights.npz", settings)
        settings["FIXED_WORD_EMBED_FILE"] = str(tmp_path / "embedding.npy")
    out = converted(tmp_path, tmp_path / "weights.npz", settings)
    for ema, variables in ((False, raw), (True, averages)):
        tensors = {n: torch.from_numpy(np.asarray(v)) for n, v in variables.items()}
        tensors[name] = torch.from_numpy(embedding)
        expected = convert.build_from_original(tensors, settings_of({}))
        model = load_model(out, ema=ema)
        assert "question_encoder.embedding" not in dict(model.named_parameters())
        torch.testing.assert_close(outputs(model), outputs(expected))


@pytest.mark.parametrize("alone", [False, True])
def test_the_adaptation_with_and_without_the_question(tmp_path, alone):
    state = adaptation_weights("online_model.", memory_alone=alone)
    torch.save({"state_dict": state}, tmp_path / "theirs.ckpt")
    model = load_model(converted(tmp_path, tmp_path / "theirs.ckpt", MLP))
    assert model.answer_head.use_question == (not alone)
    with torch.no_grad():
        summary = model.question_encoder(*_words()).summary
    memory = outputs(model, "memory")
    inputs = memory if alone else torch.cat([summary, memory], 1)
    first, last = (
        {k: state[f"online_model.output_unit.{n}.{k}"] for k in ("weight", "bias")} for n in (0, 3)
    )
    hidden = torch.nn.functional.elu(inputs @ first["weight"].T + first["bias"])
    torch.testing.assert_close(outputs(model), hidden @ last["weight"].T + last["bias"])


@pytest.mark.parametrize(
    "name",
    [
        "online_model.nmn.compare.weight",
        "online_model.output_unit.5.bias",
        "loss.weight",
        "model.x",
    ],
)
def test_an_unknown_weight_of_the_adaptation_is_named(tmp_path, name):
    state = adaptation_weights("online_model.") | {name: torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "theirs.ckpt")
    shown = name.removeprefix("online_model.")
    with pytest.raises(SystemExit, match=f"theirs.ckpt: .*{re.escape(shown)}"):
        converted(tmp_path, tmp_path / "theirs.ckpt", MLP)


def test_sizes_that_the_weights_do_not_have_are_never_built(tmp_path):
    saved = variables_of({})
    for name in ("model/NMN/DescribeOne/fc_mem_out/biases", "model/kb_batch/conv2/biases"):
        wide = saved | {name: np.zeros(60000, np.float32)}
        np.savez(tmp_path / "weights.npz", **wide)
        with pytest.raises(SystemExit, match="weights.npz: its weights"):
            converted(tmp_path, tmp_path / "weights.npz", settings_of({}))
