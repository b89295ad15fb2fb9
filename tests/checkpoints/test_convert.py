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

E, D, K, A = 6, 8, 10, 28  # embedding, LSTM, knowledge base and memory, answers
SETTINGS = {
    "MODEL": {
        "H_FEAT": 3,
        "W_FEAT": 4,
        "FEAT_DIM": 5,
        "PE_DIM": 4,
        "T_CTRL": 3,
        "KB_DIM": K,
        "VQA_OUTPUT_DIM": 7,
        "NMN": {"MEM_DIM": K, "STACK": {"LENGTH": 3}},
    },
}
OPTIONS = {
    "linear": {},
    "mlp without bias": {"mlp": True},
    "affine and map": {"loc": True, "affine": True, "map": True},
    "convolution and attended": {"loc": True, "loc_question": True},
    "reconstruction": {"rec": True},
}


def settings_of(options):
    model = SETTINGS["MODEL"] | {
        "BUILD_LOC": options.get("loc", False),
        "LOC_SCORES_POS_AFFINE": options.get("affine", False),
        "BBOX_REG_AS_FCN": options.get("map", False),
        "BBOX_REG_USE_QUESTION": options.get("loc_question", False),
        "CTRL": {"MLP_MODULE_WEIGHTS_BIAS_TERM": False},
        "REC": {"USE_REC_LOSS": options.get("rec", False)},
    }
    return {"MODEL": model}


def original_shapes(options):
    """Variables of the original for small widths, by name."""
    shapes = {"input_unit/embed_mat": (82, E), "controller/c_init": (1, E)}

    def dense(scope, inputs, outputs, bias=True, kernel=()):
        shapes[f"{scope}/weights"] = (*kernel, inputs, outputs)
        if bias:
            shapes[f"{scope}/biases"] = (outputs,)

    def lstm(scope, inputs, hidden):
        shapes[f"{scope}/kernel"] = (inputs + hidden, 4 * hidden)
        shapes[f"{scope}/bias"] = (4 * hidden,)

    for direction in ("fw", "bw"):
        lstm(f"input_unit/bidirectional_rnn/{direction}/basic_lstm_cell", E, D // 2)
    dense("kb_batch/conv1", 5 + 4, K, kernel=(1, 1))
    dense("kb_batch/conv2", K, K, kernel=(1, 1))
    for t in range(3):
        dense(f"controller/fc_q_{t}", D, D)
    dense("controller/fc_cq", D + E, D)
    dense("controller/fc_cv_i", D, 1)
    if options.get("mlp"):
        dense("controller/first", D, D)
        dense("controller/second", D, 9, bias=False)
    else:
        dense("controller/fc_module_w_linear", D, 9, bias=False)
    for module in ("Find", "Transform", "DescribeOne", "DescribeTwo"):
        dense(f"NMN/{module}/fc_c_mapped", E, K)
    for module in ("Find", "Transform", "Scene"):
        dense(f"NMN/{module}/conv_att_out", K, 1, kernel=(1, 1))
    for module in ("DescribeOne", "DescribeTwo"):
        dense(f"NMN/{module}/fc_mem_out", E + K + K, K)
    dense("output_unit/fc1", D + K, 7)
    dense("output_unit/fc2", 7, A)
    if options.get("loc"):
        if options.get("affine"):
            shapes["output_unit_loc/loc_scores_affine_raw_w"] = ()
            shapes["output_unit_loc/loc_scores_affine_b"] = ()
        else:
            dense("output_unit_loc/conv_loc", 1, 1, kernel=(3, 3))
        dense("output_unit_loc/offset", K, 4, kernel=(1, 1) if options.get("map") else ())
        if options.get("loc_question"):
            dense("output_unit_loc/fc_question", D, K)
    if options.get("rec"):
        lstm("output_unit_rec/encoder/basic_lstm_cell", 9 + E, D)
        lstm("output_unit_rec/decoder/basic_lstm_cell", E, D)
        dense("output_unit_rec/words", D, 82)
    return {f"model/{name}": shape for name, shape in shapes.items()}


def variables_of(options, seed=0):
    random = np.random.RandomState(seed)
    return {
        name: np.asarray(random.randn(*shape), dtype=np.float32)
        for name, shape in original_shapes(options).items()
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


def adaptation_weights(prefix):
    random = np.random.RandomState(len(prefix))
    shapes = {
        "output_loc_aff_w": (3, 4, 1),
        "output_loc_aff_b": (3, 4, 1),
        "init_ctrl": (E,),
        "q_embed.weight": (82, E),
        "loc_conv.weight": (4, K, 1, 1),
        "loc_conv.bias": (4,),
    }
    for suffix in ("l0", "l0_reverse"):
        shapes[f"q_enc.weight_ih_{suffix}"] = (2 * D, E)
        shapes[f"q_enc.weight_hh_{suffix}"] = (2 * D, D // 2)
        shapes[f"q_enc.bias_ih_{suffix}"] = shapes[f"q_enc.bias_hh_{suffix}"] = (2 * D,)
    dense = {
        "controller.shared_control_proj": (D, D),
        **{f"controller.position_aware.{t}": (D, D) for t in range(3)},
        "controller.control_question": (D, E + D),
        "controller.attn": (1, D),
        "controller.module_fc.0": (D, D),
        "controller.module_fc.2": (9, D),
        "kb_process.0": (K, 9, 1, 1),
        "kb_process.2": (K, K, 1, 1),
        "output_unit.0": (7, D + K),
        "output_unit.3": (A, 7),
    }
    for name in ("find", "transform", "describeone", "describetwo"):
        dense[f"nmn.{name}_ci"] = (K, E)
    for name in ("find", "transform", "scene"):
        dense[f"nmn.{name}_conv"] = (1, K, 1, 1)
    for name in ("describeone", "describetwo"):
        dense[f"nmn.{name}_mem"] = (K, E + 2 * K)
    for name, shape in dense.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return {prefix + n: torch.from_numpy(random.randn(*s)).float() for n, s in shapes.items()}


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
