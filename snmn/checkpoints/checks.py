"""What a checkpoint is checked for, whoever made it, before anything is done with it.

What it holds (`check_content`), and whether it fits a model's weights, a configuration, features or
a training that goes on.
"""

from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snmn.checkpoints.published_settings import MODEL_ARGUMENTS, OWN_MODULES, model_arguments
from snmn.common.errors import UserError, shown
from snmn.common.vocabulary import MODULES
from snmn.network.model_arguments import check_arguments, default_arguments

# Of the names of a model's weights in a checkpoint's state dict.
PREFIX = "model."
# Where the heads of each task lie in a model's state dict.
HEADS = {"vqa": ("answer_head.",), "loc": ("cell_scores.", "box_offsets.")}
# Arguments of a model that change no weight: with others it can be tested, if not gone on with.
WITHOUT_WEIGHTS = (
    "hard_argmax_layout",
    "use_gumbel_softmax",
    "gumbel_temperature",
    "hard_sharpen",
    "soft_sharpen_temperature",
    "validate_modules",
    "hard_validation",
)
_TRAINED = {"global_step": int, "optimizer_states": list, "lr_schedulers": list, "loops": dict}


class CheckpointError(UserError):
    """A file is not a checkpoint of ours, or cannot be read."""


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns the ValueError of a check into a CheckpointError that names the file."""
    try:
        yield
    except ValueError as error:
        raise CheckpointError(f"{path}: not a usable checkpoint: {error}") from None


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


def check_resumable(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint from which no training can go on. Raises `CheckpointError`."""
    for name, kind in _TRAINED.items():
        if type(checkpoint.get(name)) is not kind:
            raise CheckpointError(
                f"{path}: not a usable checkpoint: it holds no state of a training run to go on "
                "from; TRAIN.INIT_WEIGHTS_FILE begins a new one with its weights"
            )


def check_modules_known(
    path: str | Path, arguments: Mapping[str, Any], known: Container[str]
) -> None:
    """Refuse a model with modules that none is known for by name. Raises `CheckpointError`."""
    own = arguments.get("modules") or {}
    missing = {name: kind for name, kind in own.items() if name not in known}
    if missing:
        pairs = ",".join(f"{name}={kind}" for name, kind in missing.items())
        raise CheckpointError(
            f"{path}: its model has modules of its own, {shown(', '.join(missing))}, whose code "
            "lies in no checkpoint; give their classes, in Python as modules={...}, in a "
            f"configuration as {OWN_MODULES}, to snmn.predict as --modules {shown(pairs)}, and to "
            "the demo in the same way as SNMN_MODULES"
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


def check_features(checkpoint: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuse features made in another way than those a checkpoint was trained on, if it says."""
    for key, wanted in checkpoint.get("features", {}).items():
        if found.get(key) != wanted:
            raise CheckpointError(
                f"the checkpoint was trained on features with {key} {wanted}, these have "
                f"{found.get(key)}: set FEATURE_DIR to features like those"
            )


def check_model(
    path: str | Path,
    checkpoint: dict[str, Any],
    settings: dict[str, Any],
    *,
    more_heads: bool = False,
    may_change: Collection[str] = (),
) -> dict[str, Any]:
    """Refuse a checkpoint whose model is not the one of a configuration, given as nested settings.

    With ``more_heads`` the configuration may have heads of a task that the checkpoint's model has
    not. Arguments of the model in ``may_change`` may differ; those that do are returned by their
    configuration keys, with the configuration's values. Raises `CheckpointError`, which names the
    first keys that differ.
    """
    _check_own_modules(path, checkpoint, settings)
    defaults = default_arguments()
    found = defaults | checkpoint["hyper_parameters"]["model"]
    wanted = defaults | model_arguments(settings)
    differing = {
        key: name
        for key, name in MODEL_ARGUMENTS.items()
        if found[name] != wanted[name]
        and _matters(name, found)
        and not (more_heads and name in HEADS and wanted[name])
    }
    refused = [
        f"{key} is {found[name]} there and {wanted[name]} in the configuration"
        for key, name in differing.items()
        if name not in may_change
    ]
    if refused:
        more = f" (and {len(refused) - 3} more)" if len(refused) > 3 else ""
        raise CheckpointError(f"{path} holds another model: {'; '.join(refused[:3])}{more}")
    return {key: wanted[name] for key, name in differing.items()}


def _check_own_modules(
    path: str | Path, checkpoint: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Names and order must be the same; a class may have moved since to another file."""
    found = checkpoint["hyper_parameters"]["model"]
    wanted = model_arguments(settings).get("modules") or {}
    check_modules_known(path, found, wanted)
    names = list(found.get("modules") or ())
    if names != list(wanted):
        raise CheckpointError(
            f"{path} holds another model: {OWN_MODULES} is {', '.join(names) or 'empty'} there and "
            f"{', '.join(wanted)} in the configuration"
        )


def _matters(argument: str, model: dict[str, Any]) -> bool:
    """Whether a model of the given arguments would be another if this one were."""
    part = argument.partition("_")[0]
    if argument in ("answer_keep_prob", "attention_init_scale"):
        return False  # Only training reads them.
    if part in ("box", "cell"):
        # Imports from the PyTorch adaptation have its own heads, whatever its configuration says.
        return model["loc"] and model["cell_affine"] != "cell"
    if part == "answer":
        return model["vqa"]
    return part != "reconstruct" or model["reconstruct_question"] or argument.endswith("_question")


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
        f"controller.module_score{'' if model['linear_module_weights'] else '.2'}.weight": (
            len(MODULES) + len(model["modules"] or ()),
            lstm,
        ),
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
