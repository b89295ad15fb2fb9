"""Small weights of both earlier codebases, under their own names, and files of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tests.helpers.paths import ROOT

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
    if options.get("memory_alone"):
        dense("output_unit/fc1_wo_q", K, 7)
    elif options.get("vqa", True):
        dense("output_unit/fc1", D + K, 7)
    if options.get("vqa", True):
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
        decisions = 9 + (0 if options.get("rec_modules_alone") else E)
        lstm("output_unit_rec/encoder/basic_lstm_cell", decisions, D)
        lstm("output_unit_rec/decoder/basic_lstm_cell", E, D)
        dense("output_unit_rec/words", D, 82)
    return {f"model/{name}": shape for name, shape in shapes.items()}


def variables_of(options, seed=0):
    random = np.random.RandomState(seed)
    return {
        name: np.asarray(random.randn(*shape), dtype=np.float32)
        for name, shape in original_shapes(options).items()
    }


def adaptation_weights(prefix, *, memory_alone=False):
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
        "output_unit.0": (7, K if memory_alone else D + K),
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


def write_genuine(folder: Path, state: dict) -> dict[str, Path]:
    """Checkpoints as the adaptation's Lightning 1.0.8 wrote them, by what is special in them.

    Another process writes them, with classes of the names that pickles of that version hold.
    """
    torch.save(state, folder / "state.pt")
    script = Path(__file__).with_name("write_genuine_checkpoints.py")
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {kind: Path(path) for kind, path in json.loads(done.stdout).items()}
