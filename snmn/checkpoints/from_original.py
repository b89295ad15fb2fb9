"""Names and shapes of the original's TensorFlow variables, translated into our state dict.

TensorFlow kernels are [in, out], convolutions [height, width, in, out]; LSTM gates lie in the
order input, candidate, forget, output over the joint rows [input; hidden].
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from snmn.checkpoints.used_weights import UsedWeights
from snmn.common.errors import shown
from snmn.common.vocabulary import MODULES
from snmn.network.lstm import forget_bias

Weights = Mapping[str, Tensor]

MODULE_LAYERS = {
    "Find": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Transform": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Scene": {"conv_att_out": "score"},
    "DescribeOne": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
    "DescribeTwo": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
}
EMBEDDING = "model/input_unit/embed_mat"
_ANSWER = "model/output_unit/"
# The first layer of the answer head, with the question (VQA_OUTPUT_USE_QUESTION) and without.
_ANSWER_HIDDEN = {True: f"{_ANSWER}fc1", False: f"{_ANSWER}fc1_wo_q"}
_LOC = "model/output_unit_loc/"
_LINEAR = "model/controller/fc_module_w_linear"
_STEP = re.compile(r"model/controller/fc_q_\d+/weights")
# Parts of the original whose names are fixed; those of the reconstruction are not.
_PARTS = ("input_unit", "controller", "kb_batch", "NMN", "output_unit", "output_unit_loc")


def original_arguments(variables: Weights) -> dict:
    """Arguments of `snmn.build_model` that the variables' shapes give away."""
    words, embed_dim = _only(variables, EMBEDDING).shape
    lstm_dim = _only(variables, "model/controller/fc_q_0/biases").shape[0]
    control_dim = _only(variables, "model/controller/c_init").shape[-1]
    layers = _module_score_layers(variables)
    arguments = {
        "num_words": words,
        "embed_dim": embed_dim,
        "lstm_dim": lstm_dim,
        "kb_dim": _only(variables, "model/kb_batch/conv2/biases").shape[0],
        "memory_dim": _only(variables, "model/NMN/DescribeOne/fc_mem_out/biases").shape[0],
        "num_steps": sum(bool(_STEP.fullmatch(name)) for name in variables),
        "linear_module_weights": len(layers) == 1,
        "mlp_module_weights_bias": all(f"{layer}/biases" in variables for layer in layers),
        "vqa": any(name.startswith(_ANSWER) for name in variables),
        "loc": any(name.startswith(_LOC) for name in variables),
    }
    if lstm_dim != embed_dim:
        arguments["use_word_embed"] = control_dim == embed_dim
    if arguments["vqa"]:
        with_question = f"{_ANSWER_HIDDEN[False]}/weights" not in variables
        hidden = _only(variables, f"{_ANSWER_HIDDEN[with_question]}/weights")
        arguments["answer_hidden_dim"] = hidden.shape[1]
        arguments["answer_use_question"] = with_question
    if arguments["loc"]:
        roles = _loc_layers(variables)
        if "offset" not in roles:
            raise ValueError(f"the weights have no layer of box offsets in {_LOC}")
        arguments["cell_affine"] = None if "convolution" in roles else "scalar"
        arguments["box_convolutional"] = variables[f"{roles['offset']}/weights"].dim() == 4
        arguments["box_use_question"] = "question" in roles
    parts = _reconstruction_parts(variables)
    arguments["reconstruct_question"] = bool(parts)
    if parts:
        read_dim = _read_dim(variables[f"{parts['reader']}/kernel"])
        arguments["reconstruct_from_control"] = read_dim != len(MODULES)
    return arguments


def original_state(variables: Weights, arguments: dict) -> dict[str, Tensor]:
    """Our state dict from TensorFlow variables; ``arguments`` are those of the model.

    Raises ValueError, which names it, for a variable that is missing or of no known use.
    """
    used = UsedWeights(variables)
    state = {"question_encoder.embedding": _only(used, EMBEDDING)}
    state.update(_question_lstm(used))
    layers = _module_score_layers(variables)
    state.update(_controller(used, arguments["num_steps"], layers))
    state.update(_dense(used, "model/kb_batch/conv1", "knowledge_base.input"))
    state.update(_dense(used, "model/kb_batch/conv2", "knowledge_base.output"))
    for module, layers in MODULE_LAYERS.items():
        for theirs, ours in layers.items():
            target = f"nmn.neural_modules._{module}.{ours}"
            state.update(_dense(used, f"model/NMN/{module}/{theirs}", target))
    if arguments["vqa"]:
        hidden = _ANSWER_HIDDEN[arguments["answer_use_question"]]
        state.update(_dense(used, hidden, "answer_head.hidden"))
        state.update(_dense(used, f"{_ANSWER}fc2", "answer_head.output"))
    if arguments["loc"]:
        state.update(_localisation(used, _loc_layers(variables)))
    if arguments["reconstruct_question"]:
        scopes = tuple(f"{scope}/" for scope in _reconstruction_parts(variables).values())
        own = {name: used[name] for name in variables if name.startswith(scopes)}
        state.update(_reconstruction(own, arguments))
    used.check()
    return state


def _only(variables: Weights, name: str) -> Tensor:
    if name not in variables:
        raise ValueError(f"the weights have no variable {name!r}: not a snapshot of the original?")
    return variables[name]


def _dense(variables: Weights, scope: str, target: str) -> dict[str, Tensor]:
    """A dense layer or 1x1 convolution as one of our linear layers."""
    weight = _only(variables, f"{scope}/weights")
    state = {f"{target}.weight": weight.reshape(weight.shape[-2:]).t()}
    if f"{scope}/biases" in variables:
        state[f"{target}.bias"] = variables[f"{scope}/biases"]
    return state


def _scopes(variables: Weights, prefix: str) -> list[str]:
    """Layers (names without /weights) under a prefix."""
    return sorted(
        name.removesuffix("/weights")
        for name in variables
        if name.startswith(prefix) and name.endswith("/weights")
    )


def _gates(matrix: Tensor) -> Tensor:
    """Reorder the last dimension's gates: input, candidate, forget, output -> ours."""
    write, candidate, forget, output = matrix.chunk(4, dim=-1)
    return torch.cat([write, forget, candidate, output], dim=-1)


def _lstm(kernel: Tensor, bias: Tensor, target: str) -> dict[str, Tensor]:
    """A `tensorflow_lstm` from a kernel [input + hidden, 4 * hidden] and its bias."""
    hidden = kernel.shape[1] // 4
    kernel = _gates(kernel).t()
    return {
        f"{target}.weight_ih_l0": kernel[:, :-hidden],
        f"{target}.weight_hh_l0": kernel[:, -hidden:],
        f"{target}.bias_ih_l0": _gates(bias),
        f"{target}.bias_hh_l0": forget_bias(hidden),
    }


def _question_lstm(variables: Weights) -> dict[str, Tensor]:
    state = {}
    for direction, target in (("fw", "forward_lstm"), ("bw", "backward_lstm")):
        scope = f"model/input_unit/bidirectional_rnn/{direction}/basic_lstm_cell"
        kernel, bias = (_only(variables, f"{scope}/{part}") for part in ("kernel", "bias"))
        state.update(_lstm(kernel, bias, f"question_encoder.{target}"))
    return state


def _module_score_layers(variables: Weights) -> list[str]:
    """The layers of the module logits: one, or the two of the MLP in order."""
    if f"{_LINEAR}/weights" in variables:
        return [_LINEAR]
    # By shape, those of a telling name first.
    dim = variables["model/controller/fc_q_0/biases"].shape[0]
    named = re.compile(r"model/controller/(fc_q_\d+|fc_cq|fc_cv_i)")
    others = [
        scope for scope in _scopes(variables, "model/controller/") if not named.fullmatch(scope)
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


def _controller(variables: Weights, num_steps: int, layers: list[str]) -> dict[str, Tensor]:
    scope = "model/controller"
    steps = [
        _dense(variables, f"{scope}/fc_q_{t}", "controller.step_question") for t in range(num_steps)
    ]
    state = {name: torch.cat([step[name] for step in steps]) for name in steps[0]}
    state["controller.initial_control"] = _only(variables, f"{scope}/c_init").flatten()
    state.update(_dense(variables, f"{scope}/fc_cq", "controller.question_and_control"))
    state.update(_dense(variables, f"{scope}/fc_cv_i", "controller.word_score"))
    if len(layers) == 1:
        state.update(_dense(variables, layers[0], "controller.module_score"))
    else:
        for layer, index in zip(layers, (0, 2), strict=True):
            state.update(_dense(variables, layer, f"controller.module_score.{index}"))
    return state


def _loc_layers(variables: Weights) -> dict[str, str]:
    """Layers of the localisation heads by role: "convolution", "offset", "question"."""
    roles = {}
    for scope in _scopes(variables, _LOC):
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


def _affine(variables: Weights, end: str) -> list[str]:
    """The scalar weight ("w") or bias ("b") of the cells' scores."""
    return [n for n in variables if n.startswith(_LOC) and "affine" in n and n.endswith(end)]


def _localisation(variables: Weights, roles: dict[str, str]) -> dict[str, Tensor]:
    state = {}
    if "convolution" in roles:
        scope = roles["convolution"]
        kernel = _only(variables, f"{scope}/weights")
        state["cell_scores.convolution.weight"] = kernel.permute(3, 2, 0, 1)
        state["cell_scores.convolution.bias"] = _only(variables, f"{scope}/biases")
    else:
        for end, ours in (("w", "weight"), ("b", "bias")):
            for name in _affine(variables, end)[:1]:
                state[f"cell_scores.{ours}"] = variables[name].reshape(())
    for role in ("offset", "question"):
        if role in roles:
            state.update(_dense(variables, roles[role], f"box_offsets.{role}"))
    return state


def _read_dim(kernel: Tensor) -> int:
    """The width of what an LSTM reads, from its joint kernel [read + hidden, 4 * hidden]."""
    return kernel.shape[0] - kernel.shape[1] // 4


def _reconstruction_parts(variables: Weights) -> dict[str, str]:
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


def _reconstruction(variables: Weights, arguments: dict) -> dict[str, Tensor]:
    """Two LSTMs, told apart by the width of what they read, and the output layer."""
    used = ("input_unit", "controller", "kb_batch", "NMN", "output_unit", "output_unit_loc")
    rest = {name: value for name, value in variables.items() if name.split("/")[1] not in used}
    state = {}
    for name, kernel in rest.items():
        if not name.endswith("/kernel"):
            continue
        read_dim = kernel.shape[0] - kernel.shape[1] // 4
        role = "writer" if read_dim == arguments["embed_dim"] else "reader"
        bias = rest[name.removesuffix("kernel") + "bias"]
        state.update(_lstm(kernel, bias, f"reconstruction.{role}"))
    (output,) = _scopes(rest, "model/")
    state.update(_dense(rest, output, "reconstruction.output"))
    return state
