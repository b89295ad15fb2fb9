"""Names and shapes of the PyTorch adaptation's parameters, translated into our state dict.

Its linear layers are [out, in] like ours; LSTM gates lie in torch's order input, forget,
candidate, output, with two biases and no constant on the forget gate.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from snmn.checkpoints.used_weights import UsedWeights
from snmn.network.lstm import forget_bias

Weights = Mapping[str, Tensor]

MODULE_LAYERS = {
    "find_ci": "_Find.control",
    "find_conv": "_Find.score",
    "transform_ci": "_Transform.control",
    "transform_conv": "_Transform.score",
    "scene_conv": "_Scene.score",
    "describeone_ci": "_DescribeOne.control",
    "describeone_mem": "_DescribeOne.memory",
    "describetwo_ci": "_DescribeTwo.control",
    "describetwo_mem": "_DescribeTwo.memory",
}
_STEP = re.compile(r"controller\.position_aware\.\d+\.weight")
# It builds both heads whatever it trains, and a projection that nothing goes through.
_WITHOUT_USE = ("controller.shared_control_proj.",)
_HEADS = {"vqa": ("output_unit.",), "loc": ("output_loc_aff_", "loc_conv.")}


def adaptation_arguments(weights: Weights) -> dict:
    """Arguments of `snmn.build_model` that the weights' names and shapes give away.

    The adaptation has no other localisation heads than the per-cell affine and the fully
    convolutional offsets, and no reconstruction, whatever its configuration says.
    """
    if "q_embed.weight" not in weights:
        raise ValueError("the weights have no 'q_embed.weight': not a model of the adaptation?")
    words, embed_dim = weights["q_embed.weight"].shape
    control_dim = len(weights["init_ctrl"])
    lstm_dim = weights["controller.control_question.weight"].shape[0]
    memory_dim = weights["nmn.describeone_mem.weight"].shape[0]
    hidden_dim, answer_dim = weights["output_unit.0.weight"].shape
    arguments = {
        "num_words": words,
        "embed_dim": embed_dim,
        "lstm_dim": lstm_dim,
        "kb_dim": weights["kb_process.0.weight"].shape[0],
        "memory_dim": memory_dim,
        "num_steps": sum(bool(_STEP.fullmatch(name)) for name in weights),
        "linear_module_weights": "controller.module_fc.2.weight" not in weights,
        "mlp_module_weights_bias": "controller.module_fc.2.bias" in weights,
        "answer_hidden_dim": hidden_dim,
        "answer_use_question": answer_dim != memory_dim,
        "cell_affine": "cell",
        "box_convolutional": True,
        "box_use_question": False,
        "reconstruct_question": False,
    }
    if lstm_dim != embed_dim:
        arguments["use_word_embed"] = control_dim == embed_dim
    return arguments


def adaptation_state(weights: Weights, arguments: dict) -> dict[str, Tensor]:
    """Our state dict from one of the adaptation's models; ``arguments`` are those of ours.

    Raises KeyError for a weight that is missing, ValueError for one of no known use.
    """
    weights = UsedWeights(weights)
    state = {
        "question_encoder.embedding": weights["q_embed.weight"],
        "controller.initial_control": weights["init_ctrl"],
    }
    state.update(_question_lstm(weights))
    steps = range(arguments["num_steps"])
    for kind in ("weight", "bias"):
        blocks = [weights[f"controller.position_aware.{t}.{kind}"] for t in steps]
        state[f"controller.step_question.{kind}"] = torch.cat(blocks)
    # It joins [control; question] where we join [question; control].
    control_dim = len(weights["init_ctrl"])
    joint = weights["controller.control_question.weight"]
    state["controller.question_and_control.weight"] = torch.cat(
        [joint[:, control_dim:], joint[:, :control_dim]], dim=1
    )
    state["controller.question_and_control.bias"] = weights["controller.control_question.bias"]
    layers = {
        "controller.attn": "controller.word_score",
        "kb_process.0": "knowledge_base.input",
        "kb_process.2": "knowledge_base.output",
    }
    layers |= {f"nmn.{k}": f"nmn.neural_modules.{v}" for k, v in MODULE_LAYERS.items()}
    if arguments["linear_module_weights"]:
        single = "module_fc" if "controller.module_fc.weight" in weights else "module_fc.0"
        layers[f"controller.{single}"] = "controller.module_score"
    else:
        layers["controller.module_fc.0"] = "controller.module_score.0"
        layers["controller.module_fc.2"] = "controller.module_score.2"
    without_use = _WITHOUT_USE
    if arguments.get("vqa", True):
        layers |= {"output_unit.0": "answer_head.hidden", "output_unit.3": "answer_head.output"}
    else:
        without_use += _HEADS["vqa"]
    if arguments.get("loc"):
        layers["loc_conv"] = "box_offsets.offset"
        state["cell_scores.weight"] = weights["output_loc_aff_w"].flatten()
        state["cell_scores.bias"] = weights["output_loc_aff_b"].flatten()
    else:
        without_use += _HEADS["loc"]
    for theirs, ours in layers.items():
        state.update(_dense(weights, theirs, ours))
    weights.check(without_use=without_use)
    return state


def _dense(weights: Weights, layer: str, target: str) -> dict[str, Tensor]:
    """A linear layer or 1x1 convolution as one of our linear layers."""
    weight = weights[f"{layer}.weight"]
    state = {f"{target}.weight": weight.reshape(weight.shape[:2])}
    if f"{layer}.bias" in weights:
        state[f"{target}.bias"] = weights[f"{layer}.bias"]
    return state


def _question_lstm(weights: Weights) -> dict[str, Tensor]:
    state = {}
    for suffix, target in (("l0", "forward_lstm"), ("l0_reverse", "backward_lstm")):
        bias = weights[f"q_enc.bias_ih_{suffix}"] + weights[f"q_enc.bias_hh_{suffix}"]
        constant = forget_bias(len(bias) // 4)
        for ours, value in (
            ("weight_ih_l0", weights[f"q_enc.weight_ih_{suffix}"]),
            ("weight_hh_l0", weights[f"q_enc.weight_hh_{suffix}"]),
            ("bias_ih_l0", bias - constant),
            ("bias_hh_l0", constant),
        ):
            state[f"question_encoder.{target}.{ours}"] = value
    return state
