"""A model as a folder, as model hubs have them: model.safetensors, config.json and README.md.

What `read_folder` gives of one is what a checkpoint's file holds, and is checked like that. The
weights have the names of `SNMN`'s state dict; ``config.json`` has the rest:

- model_type, architectures: "snmn", ["SNMN"]
- model: arguments of `snmn.build_model`; a ``fixed_embedding`` is true, its numbers are weights
- vocabularies: the three word lists
- features: what the features were made with, their "backbone" at least; absent if unknown
- training: the other hyper-parameters of the run that made it; absent without any
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snmn.checkpoints.checks import PREFIX, CheckpointError
from snmn.common.errors import shown
from snmn.storage.whole_files import replacing

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# JSON takes many times its size in memory; ours has some kilobytes.
LARGEST_CONFIG = 1 << 22
_KIND = "snmn"
_SAME = ("vocabularies", "features")  # As in a checkpoint.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_EMBEDDING = "question_encoder.embedding"


def read_folder(folder: Path) -> dict[str, Any]:
    """What a folder holds, in the form of a checkpoint. Raises CheckpointError, which names it."""
    config = _read_config(folder)
    state = _read_weights(folder)
    model, training = config.get("model"), config.get("training", {})
    if not isinstance(model, dict) or not isinstance(training, dict):
        part = "training" if isinstance(model, dict) else "model"
        raise CheckpointError(f"{folder / CONFIG}: its {part} is no table of names")
    if model.get("fixed_embedding") is True and _EMBEDDING in state:
        # A buffer of the weights; the shape is enough to build the model again.
        model = model | {"fixed_embedding": torch.zeros_like(state[_EMBEDDING])}
    parts = {part: config[part] for part in _SAME if part in config}
    return parts | {
        "state_dict": {PREFIX + name: value for name, value in state.items()},
        "hyper_parameters": training | {"model": model},
    }


def folder_backbone(folder: Path) -> str | None:
    """Name of the backbone whose features a folder's model takes, None where it does not say."""
    features = _read_config(folder).get("features")
    name = features.get("backbone") if isinstance(features, dict) else None
    return name if isinstance(name, str) else None


def write_folder(folder: Path, checkpoint: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint's weights and the rest, and a card; what was exported there before goes.

    Each file is whole or not there, and without the last, config.json, the folder is no model.
    Raises CheckpointError, also for a folder with other files, or OSError.
    """
    _, save = _safetensors(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: there are other files in this folder; name a new one")
    hyper = checkpoint["hyper_parameters"]
    model = dict(hyper["model"])
    if isinstance(model.get("fixed_embedding"), Tensor):
        model["fixed_embedding"] = True
    config = {"model_type": _KIND, "architectures": ["SNMN"], "model": model}
    config |= {part: checkpoint[part] for part in _SAME if part in checkpoint}
    if training := {name: value for name, value in hyper.items() if name != "model"}:
        config["training"] = training
    try:
        text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: its hyper-parameters cannot be JSON ({error})") from None
    state = {  # Copies: the format has no two names for the same numbers.
        name.removeprefix(PREFIX): value.clone(memory_format=torch.contiguous_format)
        for name, value in checkpoint["state_dict"].items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    contents = {WEIGHTS: save(state, metadata={"format": "pt"})}
    contents |= {CARD: card.encode("utf-8"), CONFIG: text.encode("utf-8")}
    for name, content in contents.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(content)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: not the folder of a model, there is no {CONFIG} in it; "
            "python -m snmn.export --format safetensors CHECKPOINT OUT makes one"
        )
    if path.stat().st_size > LARGEST_CONFIG:
        raise CheckpointError(f"{path}: larger than the {LARGEST_CONFIG} bytes that are read")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({shown(error)})") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != _KIND:
        raise CheckpointError(
            f"{path}: not of a model of this project: its model_type is {shown(repr(kind))}, "
            f'not "{_KIND}"'
        )
    return config


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors by name."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder}: not the folder of a model, there is no {WEIGHTS} in it")
    load, _ = _safetensors(folder)
    from safetensors import SafetensorError

    try:
        # All of it, rather than mapped: a file that is cut short meanwhile would end the process.
        state = load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (SafetensorError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: not readable as safetensors ({shown(e)})") from None
    for name, value in state.items():
        if value.dtype not in _DTYPES:
            raise CheckpointError(
                f"{path}: its weights {shown(repr(name))} are of type {value.dtype}, "
                "not floating point of 16 to 64 bits"
            )
    return state


def _safetensors(folder: Path) -> tuple[Any, Any]:
    """The functions that read and write the format. CheckpointError where they are missing."""
    try:
        from safetensors.torch import load, save
    except ImportError:
        raise CheckpointError(
            f"{folder}: a model's folder keeps its weights in the format of the package "
            "safetensors, which is not installed: pip install safetensors"
        ) from None
    return load, save
