"""What a checkpoint must hold before anything is built from it, whoever made it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snmn.common.errors import shown
from snmn.network.model_arguments import check_arguments, default_arguments

PREFIX = "model."
_TRAINED = {"global_step": int, "optimizer_states": list, "lr_schedulers": list, "loops": dict}


def check_content(checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError for a checkpoint whose parts are of other kinds or sizes than it says.

    A model is only as large as its file: every size is that of a weight in it.
    """
    hyper = checkpoint["hyper_parameters"]
    parts = {
        "state_dict": checkpoint.get("state_dict"),
        "ema_state_dict": checkpoint.get("ema_state_dict", {}),
        "features": checkpoint.get("features", {}),
        "hyper_parameters": hyper["model"],
    }
    for name, part in parts.items():
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise ValueError(f"its {name} is no table of names")
    for part in ("state_dict", "ema_state_dict"):
        for name, value in parts[part].items():
            if not _is_whole(value):
                raise ValueError(f"{shown(name)} in its {part} is no plain tensor")
    check_arguments(hyper["model"])
    state = parts["state_dict"]
    for name, shape in _sizes(default_arguments() | hyper["model"]).items():
        found = state.get(PREFIX + name)
        if found is None or tuple(found.shape) != shape:
            found = "missing" if found is None else tuple(found.shape)
            raise ValueError(f"its weights {name} are {found}, its model has {shape}")


def check_trained(checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError for a checkpoint from which training cannot go on."""
    for name, kind in _TRAINED.items():
        if type(checkpoint.get(name)) is not kind:
            raise ValueError(
                "it holds no state of a training run to go on from; TRAIN.INIT_WEIGHTS_FILE "
                "begins a new one with its weights"
            )


def check_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise ValueError, which names the first weight, for a state dict that does not fit."""
    expected = model.state_dict()
    for name in [*expected, *state]:
        if name not in state or name not in expected:
            raise ValueError(f"its weights and its model do not fit: {shown(name)} is in one alone")
        if state[name].shape != expected[name].shape:
            raise ValueError(
                f"its weights {name} are {tuple(state[name].shape)}, "
                f"its model has {tuple(expected[name].shape)}"
            )


def _is_whole(value: Any) -> bool:
    """Whether a tensor is dense and has its own numbers, rather than one repeated."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    return value.device.type == "cpu" and value.nbytes <= value.untyped_storage().nbytes()


def _sizes(model: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that between them have every size of a model."""
    lstm, kb, memory = model["lstm_dim"], model["kb_dim"], model["memory_dim"]
    control = model["embed_dim"] if model["use_word_embed"] else lstm
    sizes = {
        "question_encoder.embedding": (model["num_words"], model["embed_dim"]),
        "controller.step_question.weight": (model["num_steps"] * lstm, lstm),
        "knowledge_base.input.weight": (kb, model["feature_dim"] + model["pe_dim"]),
        "knowledge_base.output.weight": (kb, kb),
        "nmn.neural_modules._DescribeOne.memory.weight": (memory, control + memory + kb),
    }
    if model["vqa"]:
        hidden = model["answer_hidden_dim"]
        question = lstm if model["answer_use_question"] else 0
        sizes["answer_head.hidden.weight"] = hidden, memory + question
        sizes["answer_head.output.weight"] = model["num_answers"], hidden
    return sizes
