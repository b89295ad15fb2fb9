"""Names and shapes of the original's TensorFlow variables, translated into our state dict.

TensorFlow kernels are [in, out], convolutions [height, width, in, out]; LSTM gates lie in the
order input, candidate, forget, output over the joint rows [input; hidden].
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from snmn.common.vocabulary import MODULES

Weights = Mapping[str, Tensor]

MODULE_LAYERS = {
    "Find": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Transform": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Scene": {"conv_att_out": "score"},
    "DescribeOne": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
    "DescribeTwo": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
}
_LOC = "model/output_unit_loc/"
_STEP = re.compile(r"model/controller/fc_q_\d+/weights")


def original_arguments(variables: Weights) -> dict:
    """Arguments of `snmn.build_model` that the variables' shapes give away."""
    embedding = _only(variables, "model/input_unit/embed_mat")
    words, embed_dim = embedding.shape
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
        "vqa": "model/output_unit/fc1/weights" in variables,
        "loc": any(name.startswith(_LOC) for name in variables),
    }
    if lstm_dim != embed_dim:
        arguments["use_word_embed"] = control_dim == embed_dim
    if arguments["vqa"]:
        hidden = variables["model/output_unit/fc1/weights"]
        arguments["answer_hidden_dim"] = hidden.shape[1]
        arguments["answer_use_question"] = hidden.shape[0] != arguments["memory_dim"]
    if arguments["loc"]:
        kernels = {scope: variables[f"{scope}/weights"].shape for scope in _scopes(variables, _LOC)}
        offsets = [shape for shape in kernels.values() if shape[-1] == 4]
        affine = any("affine" in name for name in variables if name.startswith(_LOC))
        arguments["cell_affine"] = "scalar" if affine else None
        arguments["box_convolutional"] = len(offsets[0]) == 4
        arguments["box_use_question"] = len(kernels) > (1 if affine else 2)
    return arguments


def original_state(variables: Weights, arguments: dict) -> dict[str, Tensor]:
    """Our state dict from TensorFlow variables; ``arguments`` are those of the model."""
    state = {"question_encoder.embedding": variables["model/input_unit/embed_mat"]}
    state.update(_question_lstm(variables))
    state.update(_controller(variables, arguments["num_steps"]))
    state.update(_dense(variables, "model/kb_batch/conv1", "knowledge_base.input"))
    state.update(_dense(variables, "model/kb_batch/conv2", "knowledge_base.output"))
    for module, layers in MODULE_LAYERS.items():
        for theirs, ours in layers.items():
            target = f"nmn.neural_modules._{module}.{ours}"
            state.update(_dense(variables, f"model/NMN/{module}/{theirs}", target))
    if arguments["vqa"]:
        state.update(_dense(variables, "model/output_unit/fc1", "answer_head.hidden"))
        state.update(_dense(variables, "model/output_unit/fc2", "answer_head.output"))
    if arguments["loc"]:
        state.update(_localisation(variables))
    if arguments.get("reconstruct_question"):
        state.update(_reconstruction(variables, arguments))
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


def _lstm(kernels: list[Tensor], biases: list[Tensor], target: str) -> dict[str, Tensor]:
    """An LSTM of ours from one kernel and bias per direction."""
    hidden = kernels[0].shape[1] // 4
    kernels = [_gates(kernel) for kernel in kernels]
    return {
        f"{target}.input_weight": torch.stack([kernel[:-hidden] for kernel in kernels]),
        f"{target}.hidden_weight": torch.stack([kernel[-hidden:] for kernel in kernels]),
        f"{target}.bias": torch.stack([_gates(bias) for bias in biases]),
    }


def _question_lstm(variables: Weights) -> dict[str, Tensor]:
    scopes = [
        f"model/input_unit/bidirectional_rnn/{direction}/basic_lstm_cell"
        for direction in ("fw", "bw")
    ]
    return _lstm(
        [_only(variables, f"{scope}/kernel") for scope in scopes],
        [_only(variables, f"{scope}/bias") for scope in scopes],
        "question_encoder.lstm",
    )


def _module_score_layers(variables: Weights) -> list[str]:
    """The layers of the module logits: one, or the two of the MLP in order."""
    named = re.compile(r"model/controller/(fc_q_\d+|fc_cq|fc_cv_i)$")
    return [scope for scope in _scopes(variables, "model/controller/") if not named.match(scope)]


def _controller(variables: Weights, num_steps: int) -> dict[str, Tensor]:
    scope = "model/controller"
    steps = [
        _dense(variables, f"{scope}/fc_q_{t}", "controller.step_question") for t in range(num_steps)
    ]
    state = {name: torch.cat([step[name] for step in steps]) for name in steps[0]}
    state["controller.initial_control"] = _only(variables, f"{scope}/c_init").flatten()
    state.update(_dense(variables, f"{scope}/fc_cq", "controller.question_and_control"))
    state.update(_dense(variables, f"{scope}/fc_cv_i", "controller.word_score"))
    layers = _module_score_layers(variables)
    if len(layers) == 1:
        state.update(_dense(variables, layers[0], "controller.module_score"))
    else:
        # The last one gives a logit for each module.
        layers.sort(key=lambda layer: variables[f"{layer}/weights"].shape[-1] == len(MODULES))
        for layer, index in zip(layers, (0, 2), strict=True):
            state.update(_dense(variables, layer, f"controller.module_score.{index}"))
    return state


def _localisation(variables: Weights) -> dict[str, Tensor]:
    state = {}
    for scope in _scopes(variables, _LOC):
        weight = variables[f"{scope}/weights"]
        if weight.dim() == 4 and weight.shape[0] == 3:
            state["cell_scores.convolution.weight"] = weight.permute(3, 2, 0, 1)
            state["cell_scores.convolution.bias"] = variables[f"{scope}/biases"]
        elif weight.shape[-1] == 4:
            state.update(_dense(variables, scope, "box_offsets.offset"))
        else:
            state.update(_dense(variables, scope, "box_offsets.question"))
    for name, value in variables.items():
        if name.startswith(_LOC) and "affine" in name:
            state[f"cell_scores.{'weight' if name.endswith('w') else 'bias'}"] = value.reshape(())
    return state


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
        state.update(_lstm([kernel], [bias], f"reconstruction.{role}"))
    (output,) = _scopes(rest, "model/")
    state.update(_dense(rest, output, "reconstruction.output"))
    return state
