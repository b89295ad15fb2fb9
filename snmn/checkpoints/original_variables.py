"""Which of the original's TensorFlow variables is which, and of what model they are.

The original's names are fixed but for some layers that it made without one; those are told by
their shapes.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from snmn.common.errors import shown
from snmn.common.vocabulary import MODULES

Weights = Mapping[str, Tensor]

EMBEDDING = "model/input_unit/embed_mat"
ANSWER = "model/output_unit/"
# The first layer of the answer head, with the question (VQA_OUTPUT_USE_QUESTION) and without.
ANSWER_HIDDEN = {True: f"{ANSWER}fc1", False: f"{ANSWER}fc1_wo_q"}
LOC = "model/output_unit_loc/"
_LINEAR = "model/controller/fc_module_w_linear"
_STEP = re.compile(r"model/controller/fc_q_\d+/weights")
# Parts of the original whose names are fixed; those of the reconstruction are not.
_PARTS = ("input_unit", "controller", "kb_batch", "NMN", "output_unit", "output_unit_loc")


def original_arguments(variables: Weights) -> dict:
    """Arguments of `snmn.build_model` that the variables' shapes give away."""
    words, embed_dim = required(variables, EMBEDDING).shape
    lstm_dim = required(variables, "model/controller/fc_q_0/biases").shape[0]
    control_dim = required(variables, "model/controller/c_init").shape[-1]
    layers = module_score_layers(variables)
    arguments = {
        "num_words": words,
        "embed_dim": embed_dim,
        "lstm_dim": lstm_dim,
        "kb_dim": required(variables, "model/kb_batch/conv2/biases").shape[0],
        "memory_dim": required(variables, "model/NMN/DescribeOne/fc_mem_out/biases").shape[0],
        "num_steps": sum(bool(_STEP.fullmatch(name)) for name in variables),
        "linear_module_weights": len(layers) == 1,
        "mlp_module_weights_bias": all(f"{layer}/biases" in variables for layer in layers),
        "vqa": any(name.startswith(ANSWER) for name in variables),
        "loc": any(name.startswith(LOC) for name in variables),
    }
    if lstm_dim != embed_dim:
        arguments["use_word_embed"] = control_dim == embed_dim
    if arguments["vqa"]:
        with_question = f"{ANSWER_HIDDEN[False]}/weights" not in variables
        hidden = required(variables, f"{ANSWER_HIDDEN[with_question]}/weights")
        arguments["answer_hidden_dim"] = hidden.shape[1]
        arguments["answer_use_question"] = with_question
    if arguments["loc"]:
        roles = loc_layers(variables)
        if "offset" not in roles:
            raise ValueError(f"the weights have no layer of box offsets in {LOC}")
        arguments["cell_affine"] = None if "convolution" in roles else "scalar"
        arguments["box_convolutional"] = variables[f"{roles['offset']}/weights"].dim() == 4
        arguments["box_use_question"] = "question" in roles
    parts = reconstruction_parts(variables)
    arguments["reconstruct_question"] = bool(parts)
    if parts:
        read_dim = _read_dim(variables[f"{parts['reader']}/kernel"])
        arguments["reconstruct_from_control"] = read_dim != len(MODULES)
    return arguments


def required(variables: Weights, name: str) -> Tensor:
    """The variable of a name. Raises ValueError where there is none."""
    if name not in variables:
        raise ValueError(f"the weights have no variable {name!r}: not a snapshot of the original?")
    return variables[name]


def layer_scopes(variables: Weights, prefix: str) -> list[str]:
    """Layers (names without /weights) under a prefix."""
    return sorted(
        name.removesuffix("/weights")
        for name in variables
        if name.startswith(prefix) and name.endswith("/weights")
    )


def module_score_layers(variables: Weights) -> list[str]:
    """The layers of the module logits: one, or the two of the MLP in order."""
    if f"{_LINEAR}/weights" in variables:
        return [_LINEAR]
    # By shape, those of a telling name first.
    dim = variables["model/controller/fc_q_0/biases"].shape[0]
    named = re.compile(r"model/controller/(fc_q_\d+|fc_cq|fc_cv_i)")
    others = [
        scope
        for scope in layer_scopes(variables, "model/controller/")
        if not named.fullmatch(scope)
    ]
    others.sort(key=lambda scope: "fc_module_w" not in scope)
    shapes = {scope: tuple(variables[f"{scope}/weights"].shape) for scope in others}
    last = [scope for scope in others if shapes[scope] == (dim, len(MODULES))][:1]
    if not last:
        raise ValueError(
            f"the weights have no layer of {len(MODULES)} modules in model/controller/"
        )
    first = [scope for scope in others if shapes[scope] == (dim, dim) and scope != last[0]][:1]
    return first + last


def loc_layers(variables: Weights) -> dict[str, str]:
    """Layers of the localisation heads by role: "convolution", "offset", "question"."""
    roles = {}
    for scope in layer_scopes(variables, LOC):
        *kernel, _, outputs = variables[f"{scope}/weights"].shape
        if kernel == [3, 3]:
            role = "convolution"
        else:
            role = "offset" if outputs == 4 else "question"
        if role in roles:
            names = f"{shown(roles[role])}/weights and {shown(scope)}/weights"
            raise ValueError(f"of its weights {names} only one can have a use")
        roles[role] = scope
    return roles


def reconstruction_parts(variables: Weights) -> dict[str, str]:
    """Scopes of the "reader", "writer" and "output" of the reconstruction; none unless all are.

    They are told by their shapes among what lies beyond the parts whose names are known.
    """
    words, embed_dim = variables[EMBEDDING].shape
    lstm_dim = variables["model/controller/fc_q_0/biases"].shape[0]
    decisions = len(MODULES), len(MODULES) + variables["model/controller/c_init"].shape[-1]
    parts = {}
    for name in sorted(variables):
        scope, _, kind = name.rpartition("/")
        shape = tuple(variables[name].shape)
        if name.split("/")[1] in _PARTS:
            continue
        if kind == "kernel" and shape[1:] == (4 * lstm_dim,):
            read_dim = _read_dim(variables[name])
            if read_dim == embed_dim:
                parts.setdefault("writer", scope)
            elif read_dim in decisions:
                parts.setdefault("reader", scope)
        elif kind == "weights" and shape == (lstm_dim, words):
            parts.setdefault("output", scope)
    return parts if len(parts) == 3 else {}


def _read_dim(kernel: Tensor) -> int:
    """The width of what an LSTM reads, from its joint kernel [read + hidden, 4 * hidden]."""
    return kernel.shape[0] - kernel.shape[1] // 4
