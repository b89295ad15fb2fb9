"""Modules of one's own beside the nine: what they may be, and where their classes come from.

A name is like those of the nine: "_Not". A class is named by its path, "own_module.Not", which is
plain text: only who asks for it by that text, in a configuration or on a command line, has it
imported. Files of weights hold such text too, and nothing ever imports what they name.
"""

import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from snmn.common.errors import UserError, shown
from snmn.common.vocabulary import MODULES
from snmn.network.modules import AnswerModule, NeuralModule

_NAME = re.compile(r"_[A-Za-z]\w{0,63}", re.ASCII)
# Also where a class is that no import finds: "__main__.Not", "test_it.<locals>.Not".
_PATH = re.compile(r"[\w.<>-]{1,256}")


class OwnModuleError(UserError):
    """A module of one's own cannot be had; the message says which and why."""


def check_name(name: Any) -> None:
    """Raise OwnModuleError for what no module beside the nine can be called."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise OwnModuleError(
            f"modules have names like _Not, an underscore before letters and digits, not "
            f"{shown(repr(name))}"
        )
    if name in MODULES:
        raise OwnModuleError(f"{name} is one of the nine modules; give yours another name")
    if hasattr(nn.ModuleDict(), name):
        raise OwnModuleError(f"{name} is a name that PyTorch uses itself; give another one")


def check_paths(paths: Any) -> None:
    """Raise OwnModuleError unless these are paths of classes by name, all of it plain text."""
    if not isinstance(paths, dict):
        raise OwnModuleError(
            f"expected names and classes, as in {{_Not: own_module.Not}}, not {shown(repr(paths))}"
        )
    for name, path in paths.items():
        check_name(name)
        if not (isinstance(path, str) and _PATH.fullmatch(path)):
            raise OwnModuleError(
                f"{name} is a class by its path, as own_module.Not, not {shown(repr(path))}"
            )


def check_modules(modules: Mapping[str, type[NeuralModule]]) -> None:
    """Raise OwnModuleError unless these are classes of modules that can stand beside the nine."""
    if not isinstance(modules, Mapping):
        raise OwnModuleError(f"modules are classes by name, not {shown(repr(modules))}")
    known = set(MODULES)
    for name, kind in modules.items():
        check_name(name)
        if not (isinstance(kind, type) and issubclass(kind, NeuralModule)):
            raise OwnModuleError(
                f"{name} must be a class derived from snmn.NeuralModule or snmn.AnswerModule, not "
                f"{shown(repr(kind))}"
            )
        fault = _fault(kind, known)
        if fault:
            raise OwnModuleError(f"{name}: {kind.__name__} {fault}")
        known.add(name)


def _fault(kind: type[NeuralModule], known: set[str]) -> str:
    """What is missing in a class, or wrong; "" if nothing. ``known`` are the modules before it."""
    answers = issubclass(kind, AnswerModule)
    if type(kind.inputs) is not int or not 0 <= kind.inputs <= 8:
        return f"pops {shown(repr(kind.inputs))} maps: its inputs must be 0 to 8"
    if kind.outputs not in ((1,) if answers else (0, 1)) or type(kind.outputs) is not int:
        return f"pushes {shown(repr(kind.outputs))} maps: its outputs must be 0 or 1" + (
            ", of an AnswerModule 1" if answers else ""
        )
    unknown = [name for name in kind.runs if name not in known]
    if unknown:
        return f"runs {shown(unknown[0])}, which is neither one of the nine nor given before it"
    if answers and kind.describe is AnswerModule.describe:
        return "has no describe(knowledge, control, *attention)"
    pushes = kind.outputs and not (answers or kind.runs)
    if pushes and kind.forward is NeuralModule.forward:
        return "has no forward(knowledge, control, *attention)"
    return ""


def class_path(kind: type) -> str:
    """The path of a class, "own_module.Not"; `import_modules` finds it again if it can be."""
    return f"{kind.__module__}.{kind.__qualname__}"


def parse_modules(text: str) -> dict[str, str]:
    """Paths by name from a command line: "_Not=own_module.Not,_Count=own_module.Count"."""
    paths = {}
    for entry in re.split(r"[,\s]+", text.strip(", \t\n")) if text.strip() else ():
        name, equals, path = entry.partition("=")
        if not equals:
            raise OwnModuleError(f"modules are given as _Not=own_module.Not, not {shown(entry)}")
        paths[name] = path
    check_paths(paths)
    return paths


def import_modules(paths: Mapping[str, str]) -> dict[str, type[NeuralModule]]:
    """The classes of paths by name, imported from the current folder or Python's path.

    Runs their code. Raises OwnModuleError.
    """
    if not paths:
        return {}
    check_paths(dict(paths))
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    classes = {name: _import(name, path) for name, path in paths.items()}
    check_modules(classes)
    return classes


def _import(name: str, path: str) -> Any:
    if "." not in path:
        raise OwnModuleError(f"{name} is a class by its path, as own_module.Not, not {path}")
    try:
        return pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:  # Whatever a file of one's own does.
        reason = shown(f"{type(error).__name__}: {error}")
        raise OwnModuleError(
            f"{name} cannot be {path}, looked for in {os.getcwd()} and on Python's path: {reason}"
        ) from error
