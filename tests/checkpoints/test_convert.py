"""Weights of both earlier codebases become checkpoints of ours, whatever heads they have."""

import inspect

import numpy as np
import pytest
import torch
import yaml

from config import Config, to_dict
from snmn import build_model, load_model
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.checkpoints.published_settings import MODEL_ARGUMENTS, flatten
from snmn.convert import DEFAULTS, build_from_original, main
from tests.helpers.earlier_weights import (
    SETTINGS,
    adaptation_weights,
    settings_of,
    variables_of,
)

OPTIONS = {
    "linear": {},
    "mlp without bias": {"mlp": True},
    "affine and map": {"loc": True, "affine": True, "map": True},
    "convolution and attended": {"loc": True, "loc_question": True},
    "reconstruction": {"rec": True},
}


def run(model):
    torch.manual_seed(0)
    question, length = torch.randint(0, 82, (2, 5)), torch.tensor([5, 2])
    return model.eval()(question, length, torch.rand(2, 3, 4, 5))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_npz_of_the_original_with_averages(tmp_path, capsys, options):
    raw, averages = variables_of(options), variables_of(options, seed=1)
    saved = dict(raw)
    saved |= {f"{name}/ExponentialMovingAverage": value for name, value in averages.items()}
    saved |= {f"{name}/Adam": value for name, value in raw.items()} | {"beta1_power": np.ones(())}
    np.savez(tmp_path / "weights.npz", **saved)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings_of(options)))
    out = tmp_path / "converted.ckpt"
    main([str(tmp_path / "weights.npz"), str(tmp_path / "run.yaml"), str(out)])
    assert "raw and EMA weights" in capsys.readouterr().out
    for ema, variables in ((False, raw), (True, averages)):
        tensors = {name: torch.from_numpy(np.asarray(v)) for name, v in variables.items()}
        expected = run(build_from_original(tensors, settings_of(options)))
        actual = run(load_model(out, ema=ema))
        torch.testing.assert_close(actual.answer_logits, expected.answer_logits)
        assert (actual.cell_scores is not None) == options.get("loc", False)
        assert (actual.reconstruction_logits is not None) == options.get("rec", False)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_weights_tell_what_the_yaml_leaves_out(tmp_path, options):
    variables = variables_of(options)
    np.savez(tmp_path / "weights.npz", **variables)
    sizes = {key: SETTINGS["MODEL"][key] for key in ("H_FEAT", "W_FEAT", "FEAT_DIM", "PE_DIM")}
    rest = {"NMN": {"STACK": {"LENGTH": 3}}, "REC": {"USE_REC_LOSS": options.get("rec", False)}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"MODEL": sizes}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"BASE": "base.yaml", "MODEL": rest}))
    out = tmp_path / "converted.ckpt"
    main([str(tmp_path / "weights.npz"), str(tmp_path / "run.yaml"), str(out)])
    settings = settings_of(options)
    settings["MODEL"]["NMN"] = settings["MODEL"]["NMN"] | {"VALIDATE_MODULES": True}
    tensors = {name: torch.from_numpy(np.asarray(v)) for name, v in variables.items()}
    actual, expected = run(load_model(out)), run(build_from_original(tensors, settings))
    for name in ("answer_logits", "cell_scores", "box_offsets", "module_probs"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name))


def test_what_is_left_out_has_the_default_of_the_earlier_codebases():
    flat = flatten(to_dict(Config()))
    built = {name: p.default for name, p in inspect.signature(build_model).parameters.items()}
    seen_in_weights = {"linear_module_weights", "vqa", "loc", "cell_affine", "box_convolutional"}
    for key, name in MODEL_ARGUMENTS.items():
        if name not in seen_in_weights:
            assert (built | DEFAULTS)[name] == flat[key], key


@pytest.mark.parametrize("loc", [False, True])
def test_a_checkpoint_of_the_adaptation(tmp_path, loc):
    state = adaptation_weights("online_model.") | adaptation_weights("offline_model.")
    torch.save({"state_dict": state}, tmp_path / "theirs.ckpt")
    settings = settings_of({"loc": loc})
    settings["MODEL"]["CTRL"] = {"LINEAR_MODULE_WEIGHTS": False}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "ours.ckpt"
    main([str(tmp_path / "theirs.ckpt"), str(tmp_path / "run.yaml"), str(out)])
    raw, averaged = run(load_model(out, ema=False)), run(load_model(out))
    assert not torch.equal(raw.answer_logits, averaged.answer_logits)
    if loc:
        assert raw.cell_scores.shape == (2, 12) and raw.box_offsets.shape == (2, 12, 4)
        state = read_checkpoint(out)["state_dict"]
        assert state["model.cell_scores.weight"].shape == (12,)
    with pytest.raises(CheckpointError, match="snmn.convert"):
        read_checkpoint(tmp_path / "theirs.ckpt")


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", **{"model/x": np.ones(3)})
    (tmp_path / "run.yaml").write_text("")
    with pytest.raises(SystemExit, match="no variable 'model/input_unit/embed_mat'"):
        main([str(tmp_path / "other.npz"), str(tmp_path / "run.yaml"), str(tmp_path / "o.ckpt")])
