"""Names and shapes of the original's TensorFlow variables, translated into our state dict.

TensorFlow kernels are [in, out], convolutions [height, width, in, out]; LSTM gates lie in the
order input, candidate, forget, output over the joint rows [input; hidden].
"""

import torch
from torch import Tensor

from snmn.checkpoints.original_variables import (
    ANSWER,
    ANSWER_HIDDEN,
    EMBEDDING,
    LOC,
    Weights,
    layer_scopes,
    loc_layers,
    module_score_layers,
    reconstruction_parts,
    required,
)
from snmn.checkpoints.used_weights import UsedWeights
from snmn.network.lstm import forget_bias

MODULE_LAYERS = {
    "Find": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Transform": {"fc_c_mapped": "control", "conv_att_out": "score"},
    "Scene": {"conv_att_out": "score"},
    "DescribeOne": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
    "DescribeTwo": {"fc_c_mapped": "control", "fc_mem_out": "memory"},
}


def original_state(variables: Weights, arguments: dict) -> dict[str, Tensor]:
    """Our state dict from TensorFlow variables; ``arguments`` are those of the model.

    Raises ValueError, which names it, for a variable that is missing or of no known use.
    """
    used = UsedWeights(variables)
    state = {"question_encoder.embedding": required(used, EMBEDDING)}
    state.update(_question_lstm(used))
    layers = module_score_layers(variables)
    state.update(_controller(used, arguments["num_steps"], layers))
    state.update(_dense(used, "model/kb_batch/conv1", "knowledge_base.input"))
    state.update(_dense(used, "model/kb_batch/conv2", "knowledge_base.output"))
    for module, layers in MODULE_LAYERS.items():
        for theirs, ours in layers.items():
            target = f"nmn.neural_modules._{module}.{ours}"
            state.update(_dense(used, f"model/NMN/{module}/{theirs}", target))
    if arguments["vqa"]:
        hidden = ANSWER_HIDDEN[arguments["answer_use_question"]]
        state.update(_dense(used, hidden, "answer_head.hidden"))
        state.update(_dense(used, f"{ANSWER}fc2", "answer_head.output"))
    if arguments["loc"]:
        state.update(_localisation(used, loc_layers(variables)))
    if arguments["reconstruct_question"]:
        scopes = tuple(f"{scope}/" for scope in reconstruction_parts(variables).values())
        own = {name: used[name] for name in variables if name.startswith(scopes)}
        state.update(_reconstruction(own, arguments))
    used.check()
    return state


def _dense(variables: Weights, scope: str, target: str) -> dict[str, Tensor]:
    """A dense layer or 1x1 convolution as one of our linear layers."""
    weight = required(variables, f"{scope}/weights")
    state = {f"{target}.weight": weight.reshape(weight.shape[-2:]).t()}
    if f"{scope}/biases" in variables:
        state[f"{target}.bias"] = variables[f"{scope}/biases"]
    return state


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
        kernel, bias = (required(variables, f"{scope}/{part}") for part in ("kernel", "bias"))
        state.update(_lstm(kernel, bias, f"question_encoder.{target}"))
    return state


def _controller(variables: Weights, num_steps: int, layers: list[str]) -> dict[str, Tensor]:
    scope = "model/controller"
    steps = [
        _dense(variables, f"{scope}/fc_q_{t}", "controller.step_question") for t in range(num_steps)
    ]
    state = {name: torch.cat([step[name] for step in steps]) for name in steps[0]}
    state["controller.initial_control"] = required(variables, f"{scope}/c_init").flatten()
    state.update(_dense(variables, f"{scope}/fc_cq", "controller.question_and_control"))
    state.update(_dense(variables, f"{scope}/fc_cv_i", "controller.word_score"))
    if len(layers) == 1:
        state.update(_dense(variables, layers[0], "controller.module_score"))
    else:
        for layer, index in zip(layers, (0, 2), strict=True):
            state.update(_dense(variables, layer, f"controller.module_score.{index}"))
    return state


def _affine(variables: Weights, end: str) -> list[str]:
    """The scalar weight ("w") or bias ("b") of the cells' scores."""
    return [n for n in variables if n.startswith(LOC) and "affine" in n and n.endswith(end)]


def _localisation(variables: Weights, roles: dict[str, str]) -> dict[str, Tensor]:
    state = {}
    if "convolution" in roles:
        scope = roles["convolution"]
        kernel = required(variables, f"{scope}/weights")
        state["cell_scores.convolution.weight"] = kernel.permute(3, 2, 0, 1)
        state["cell_scores.convolution.bias"] = required(variables, f"{scope}/biases")
    else:
        for end, ours in (("w", "weight"), ("b", "bias")):
            for name in _affine(variables, end)[:1]:
                state[f"cell_scores.{ours}"] = variables[name].reshape(())
    for role in ("offset", "question"):
        if role in roles:
            state.update(_dense(variables, roles[role], f"box_offsets.{role}"))
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
        state.update(_lstm(kernel, bias, f"reconstruction.{role}"))
    (output,) = layer_scopes(rest, "model/")
    state.update(_dense(rest, output, "reconstruction.output"))
    return state
