"""Converts checkpoints of the two earlier codebases into ours.

    python -m snmn.convert WEIGHTS CONFIG.yaml OUT.ckpt

WEIGHTS is a Lightning checkpoint of the PyTorch adaptation, a TensorFlow 1 snapshot of the original
(any of its files, or their common beginning; needs the tensorflow package), or an ``.npz`` with one
array per TensorFlow variable, named as in the graph; which of them is told by its content. Layers
are recognised by role: by their name where the two codebases fix it, otherwise by their shape.
Every variable is used, or known to have no use in a trained model, or else named in an error. What
can be seen in the weights (widths, steps, the original's heads) comes from there, everything else
from the yaml, or from the defaults of the two codebases where it says nothing. The word embedding
of a run with USE_FIXED_WORD_EMBED, which snapshots do not hold, is read from its
FIXED_WORD_EMBED_FILE.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snmn.checkpoints.checkpoint import save_model
from snmn.checkpoints.checks import PREFIX, check_content, check_state
from snmn.checkpoints.earlier_files import (
    OFFLINE,
    ONLINE,
    is_npz,
    read_adaptation,
    read_npz,
    read_snapshot,
    snapshot_prefix,
)
from snmn.checkpoints.from_adaptation import adaptation_arguments, adaptation_state
from snmn.checkpoints.from_original import original_state
from snmn.checkpoints.original_variables import EMBEDDING, original_arguments
from snmn.checkpoints.published_settings import flatten, model_arguments
from snmn.common.errors import UserError, shown
from snmn.common.paths import home_path
from snmn.network.model import SNMN, build_model
from snmn.storage.npy_file import ArrayFileError, read_array
from snmn.storage.torch_file import TorchFileError, is_torch_file
from snmn.storage.typed_settings import read_yaml

Weights = Mapping[str, Tensor]


class ConversionError(UserError):
    """A file cannot be converted; the message names it and is fit for a user."""


# Where the default of both codebases is not that of `build_model`.
DEFAULTS = {"validate_modules": True}
_AVERAGE = re.compile(r"(.+)/ExponentialMovingAverage")
# What TensorFlow 1 saves of training: steps, and the slots of optimisers and of moving averages.
_WITHOUT_USE = re.compile(
    r"(.+/)?(global_step|beta[12]_power)(_\d+)?"
    r"|.+/(Adam|Momentum|RMSProp|Adagrad|Adadelta)(_\d+)?"
    r"|.+/ExponentialMovingAverage/(biased|local_step)"
    r"|_CHECKPOINTABLE_OBJECT_GRAPH|save_counter"
)


def build_from_original(variables: Weights, settings: dict) -> SNMN:
    """A model of ours from TensorFlow variables by name and the original's settings.

    The word embedding may be missing where the settings name the file of a fixed one.
    """
    flat = flatten(settings)
    fixed = bool(flat.get("USE_FIXED_WORD_EMBED"))
    if fixed and EMBEDDING not in variables:
        variables = {**variables, EMBEDDING: _read_embedding(flat)}
    arguments = DEFAULTS | model_arguments(settings) | original_arguments(variables)
    return _build(arguments, original_state(variables, arguments), fixed)


def build_from_adaptation(weights: Weights, settings: dict) -> SNMN:
    """A model of ours from one of the adaptation's two models (names without its prefix)."""
    flat = flatten(settings)
    arguments = DEFAULTS | model_arguments(settings) | adaptation_arguments(weights)
    # Its weights always have both heads; those that are used are the ones asked for.
    dataset = flat.get("DATASET")
    arguments |= {task: True for task in ("vqa", "loc") if dataset in (task, "joint")}
    state = adaptation_state(weights, arguments)
    return _build(arguments, state, bool(flat.get("USE_FIXED_WORD_EMBED")))


def _read_embedding(flat: dict) -> Tensor:
    """The word embedding of FIXED_WORD_EMBED_FILE."""
    path = str(flat.get("FIXED_WORD_EMBED_FILE") or "")
    if not path:
        raise ValueError(
            "with USE_FIXED_WORD_EMBED the weights hold no word embedding: name its file as "
            "FIXED_WORD_EMBED_FILE in the configuration"
        )
    try:
        return torch.from_numpy(read_array(path).astype(np.float32))
    except (ArrayFileError, ValueError) as error:
        raise ValueError(f"FIXED_WORD_EMBED_FILE: {path} {error}") from None


def _build(arguments: dict, state: dict[str, Tensor], fixed_embedding: bool) -> SNMN:
    if fixed_embedding:
        arguments["fixed_embedding"] = state["question_encoder.embedding"]
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    # Before anything of such sizes is built.
    prefixed = {PREFIX + name: tensor for name, tensor in state.items()}
    check_content({"state_dict": prefixed, "hyper_parameters": {"model": arguments}})
    model = build_model(**arguments)
    check_state(model, state)
    model.load_state_dict(state)
    model.build_arguments = arguments
    return model


def split_averages(
    variables: Mapping[str, np.ndarray], *, fixed_embedding: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Raw weights, and their moving averages if there are any (TF: .../ExponentialMovingAverage).

    An embedding that is not trained has no average, and is its own. Raises ValueError, which names
    it, for a variable that is none of the model and not known to be without use, and for averages
    of some weights alone.
    """
    raw, averages = {}, {}
    for name, value in variables.items():
        average = _AVERAGE.fullmatch(name)
        if average:
            averages[average[1]] = _tensor(name, value)
        elif _WITHOUT_USE.fullmatch(name):
            continue
        elif name.startswith("model/"):
            raw[name] = _tensor(name, value)
        else:
            raise ValueError(f"nothing is known of its variable {shown(name)}")
    if averages and fixed_embedding and EMBEDDING in raw:
        averages.setdefault(EMBEDDING, raw[EMBEDDING])
    for name in [*raw, *averages] if averages else ():
        if name not in raw or name not in averages:
            there = "a moving average alone" if name in averages else "no moving average"
            raise ValueError(f"its variable {shown(name)} has {there}, unlike others")
    return raw, averages or None


def _tensor(name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"its variable {shown(name)} holds no numbers")
    return torch.from_numpy(array.astype(np.float32))


def convert(weights: Path, settings: dict, out: Path) -> str:
    """Convert a file of weights and write the checkpoint; returns one line about it.

    Raises ConversionError, which names the file.
    """
    try:
        raw, averaged = read_models(weights, settings)
    except OSError as error:
        raise ConversionError(f"{weights}: {error.strerror or error}") from None
    except TorchFileError as error:
        raise ConversionError(f"{weights}: not a readable checkpoint ({error})") from None
    except KeyError as error:
        raise ConversionError(f"{weights}: the weights have no {shown(error)}") from None
    except ValueError as error:
        raise ConversionError(f"{weights}: {' '.join(str(error).split())}") from None
    except Exception as error:  # Weights of something else do not fit in any of many ways.
        reason = f"{type(error).__name__}: {shown(error)}"
        raise ConversionError(f"{weights}: not the weights of such a model ({reason})") from None
    save_model(out, raw, arguments=raw.build_arguments, averaged=averaged)
    count = sum(parameter.numel() for parameter in raw.parameters())
    kinds = "raw and EMA weights" if averaged else "raw weights only, no EMA in the file"
    return f"{out}: {count:,} parameters, {kinds}"


def read_models(weights: Path, settings: dict) -> tuple[SNMN, SNMN | None]:
    """The model of a file of weights, and the one of their moving average if it is there."""
    prefix = snapshot_prefix(weights)
    if prefix or is_npz(weights):
        variables = read_snapshot(prefix) if prefix else read_npz(weights)
        fixed = bool(flatten(settings).get("USE_FIXED_WORD_EMBED"))
        raw, averages = split_averages(variables, fixed_embedding=fixed)
        averaged = build_from_original(averages, settings) if averages else None
        return build_from_original(raw, settings), averaged
    if not is_torch_file(weights):
        raise ValueError(
            "neither a checkpoint of the PyTorch adaptation, nor a TensorFlow snapshot, nor an "
            ".npz of its variables"
        )
    raw, averages = split_models(read_adaptation(weights))
    averaged = build_from_adaptation(averages, settings) if averages else None
    return build_from_adaptation(raw, settings), averaged


def split_models(state: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Weights of the adaptation's model and of its moving average, if it is there, by bare name.

    Weights without a prefix are those of one model. Raises ValueError for any of another.
    """
    parts = {ONLINE: {}, OFFLINE: {}}
    bare = not any(name.startswith((ONLINE, OFFLINE)) for name in state)
    for name, value in state.items():
        prefix = next((prefix for prefix in parts if name.startswith(prefix)), None)
        if prefix is None and not bare:
            raise ValueError(f"nothing is known of its weights {shown(name)}")
        parts[prefix or ONLINE][name.removeprefix(prefix or "")] = value
    return parts[ONLINE], parts[OFFLINE] or None


def read_settings(path: Path) -> dict:
    """Dotted settings of a yaml file and those it is based on."""
    merged = {}
    for _, settings in read_yaml(path):
        merged |= flatten(settings)
    return merged


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m snmn.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=home_path, help="checkpoint, snapshot or .npz")
    parser.add_argument("config", type=home_path, help="yaml file of the run that made the weights")
    parser.add_argument("out", type=home_path, help="checkpoint to write")
    given = parser.parse_args(arguments)
    try:
        print(convert(given.weights, read_settings(given.config), given.out))
    except (ValueError, OSError) as error:
        sys.exit(f"snmn.convert: {error}")


if __name__ == "__main__":
    main()
