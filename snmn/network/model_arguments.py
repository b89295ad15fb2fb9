"""Which arguments of `snmn.build_model` are possible: their types, and sizes a machine can hold.

They come from files: configurations, and checkpoints that a stranger may have made.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from snmn.common.errors import shown
from snmn.network.model import build_model
from snmn.network.own_modules import OwnModuleError, check_paths

LARGEST_SIZE = 1 << 16
# The stack's tables have the square of its length, and T steps run one after the other.
_LARGEST = {"stack_length": 256, "num_steps": 256, "height": 128, "width": 128, "pe_dim": 4096}
_SMALLEST = {"pe_dim": 0}
_ABOVE_ZERO = ("gumbel_temperature", "soft_sharpen_temperature", "answer_keep_prob")
_AFFINES = ("scalar", "cell")
_PARAMETERS = inspect.signature(build_model).parameters


def check_argument(name: str, value: Any, *, called: str | None = None) -> None:
    """Raise ValueError for a value that an argument cannot have; ``called`` is the user's name."""
    called = called or name
    if name not in _PARAMETERS:
        raise ValueError(f"{shown(called)} is not an argument of the model")
    kind = _PARAMETERS[name].annotation
    found = shown(repr(value))
    if name == "cell_affine":
        if not (value is None or isinstance(value, str) and value in _AFFINES):
            raise ValueError(f"{called} cannot be {found}")
    elif name == "fixed_embedding":
        if not (value is None or isinstance(value, Tensor) and value.is_floating_point()):
            raise ValueError(f"{called} is an array of numbers, not {found}")
    elif name == "modules":
        # As text: classes are nobody's but the caller's of build_model.
        try:
            check_paths({} if value is None else value)
        except OwnModuleError as error:
            raise ValueError(f"{called}: {error}") from None
    elif kind is int:
        least, most = _SMALLEST.get(name, 1), _LARGEST.get(name, LARGEST_SIZE)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{called} is a whole number from {least} to {most}, not {found}")
    elif kind is float:
        number = type(value) in (int, float) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and name in _ABOVE_ZERO):
            raise ValueError(f"{called} is a positive number, not {found}")
    elif type(value) is not kind:
        raise ValueError(f"{called} must be of type {kind.__name__}, not {found}")


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the first argument that cannot be."""
    for name, value in arguments.items():
        check_argument(name, value)


def default_arguments() -> dict[str, Any]:
    """The arguments that `snmn.build_model` takes unless told otherwise."""
    return {name: parameter.default for name, parameter in _PARAMETERS.items()}
