"""Converts checkpoints of the two earlier codebases into ours.

    python -m snmn.convert WEIGHTS CONFIG.yaml OUT.ckpt

WEIGHTS is a Lightning checkpoint of the PyTorch adaptation (``.ckpt``), a TensorFlow 1 snapshot
of the original (its path without extension; needs the tensorflow package), or an ``.npz`` with
one array per TensorFlow variable, named as in the graph. Layers are recognised by role: by their
name where the two codebases fix it, otherwise by their shape. What can be seen in the weights
(widths, steps, the original's heads) comes from there, everything else from the yaml, or from the
defaults of the two codebases where it says nothing.
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
from snmn.checkpoints.checks import check_state
from snmn.checkpoints.from_adaptation import adaptation_arguments, adaptation_state
from snmn.checkpoints.from_original import original_arguments, original_state
from snmn.checkpoints.published_settings import flatten, model_arguments
from snmn.common.errors import UserError, shown
from snmn.network.model import SNMN, build_model
from snmn.network.model_arguments import check_arguments
from snmn.storage.torch_file import TorchFileError, read_torch_file
from snmn.storage.typed_settings import read_yaml

Weights = Mapping[str, Tensor]


class ConversionError(UserError):
    """A file cannot be converted; the message names it and is fit for a user."""


# Where the default of both codebases is not that of `build_model`.
DEFAULTS = {"validate_modules": True}


def build_from_original(variables: Weights, settings: dict) -> SNMN:
    """A model of ours from TensorFlow variables by name and the original's settings."""
    arguments = DEFAULTS | model_arguments(settings) | original_arguments(variables)
    return _build(arguments, original_state(variables, arguments))


def build_from_adaptation(weights: Weights, settings: dict) -> SNMN:
    """A model of ours from one of the adaptation's two models (names without its prefix)."""
    arguments = DEFAULTS | model_arguments(settings) | adaptation_arguments(weights)
    # Its weights always have both heads; those that are used are the ones asked for.
    dataset = flatten(settings).get("DATASET")
    arguments |= {task: True for task in ("vqa", "loc") if dataset in (task, "joint")}
    return _build(arguments, adaptation_state(weights, arguments))


def _build(arguments: dict, state: dict[str, Tensor]) -> SNMN:
    check_arguments(arguments)
    model = build_model(**arguments)
    check_state(model, state)
    model.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()})
    model.build_arguments = arguments
    return model


def read_variables(path: Path) -> dict[str, Tensor]:
    """All TensorFlow variables of a snapshot or of its ``.npz`` copy, as float tensors."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
    try:
        import tensorflow as tf
    except ImportError:
        raise SystemExit(
            f"{path} is taken for a TensorFlow snapshot, which needs the tensorflow package: "
            "install it, or save the variables as an .npz where it is installed"
        ) from None
    reader = tf.train.load_checkpoint(str(path))
    return {
        name: torch.from_numpy(np.asarray(reader.get_tensor(name))).float()
        for name in reader.get_variable_to_shape_map()
    }


def split_averages(variables: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Raw weights, and their moving averages if all of them are there (TF: .../EMA names)."""
    averages = {}
    raw = {}
    for name, value in variables.items():
        average = re.fullmatch(r"(.+)/ExponentialMovingAverage", name)
        if average:
            averages[average[1]] = value
        elif name.startswith("model/") and not re.search(r"/Adam(_\d+)?$", name):
            raw[name] = value
    return raw, averages if averages.keys() >= raw.keys() else None


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
        raise ConversionError(f"{weights}: {shown(error)}") from None
    except Exception as error:  # Weights of something else do not fit in any of many ways.
        reason = f"{type(error).__name__}: {shown(error)}"
        raise ConversionError(f"{weights}: not the weights of such a model ({reason})") from None
    save_model(out, raw, arguments=raw.build_arguments, averaged=averaged)
    count = sum(parameter.numel() for parameter in raw.parameters())
    kinds = "raw and EMA weights" if averaged else "raw weights only, no EMA in the file"
    return f"{out}: {count:,} parameters, {kinds}"


def read_models(weights: Path, settings: dict) -> tuple[SNMN, SNMN | None]:
    """The model of a file of weights, and the one of their moving average if it is there."""
    averaged = None
    if weights.suffix == ".ckpt":
        state = read_torch_file(weights)
        state = state.get("state_dict", state)
        parts = {
            prefix: {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            for prefix in ("online_model.", "offline_model.")
        }
        raw = build_from_adaptation(parts["online_model."], settings)
        if parts["offline_model."]:
            averaged = build_from_adaptation(parts["offline_model."], settings)
    else:
        variables, averages = split_averages(read_variables(weights))
        raw = build_from_original(variables, settings)
        averaged = build_from_original(averages, settings) if averages else None
    return raw, averaged


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
    parser.add_argument("weights", type=Path, help=".ckpt, .npz or TensorFlow snapshot")
    parser.add_argument("config", type=Path, help="yaml file of the run that made the weights")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    given = parser.parse_args(arguments)
    try:
        print(convert(given.weights, read_settings(given.config), given.out))
    except (ValueError, OSError) as error:
        sys.exit(f"snmn.convert: {error}")


if __name__ == "__main__":
    main()
