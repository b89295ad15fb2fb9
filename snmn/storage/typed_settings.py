"""Typed settings from yaml files: strict keys, files based on others, errors that name both.

Settings are nested dataclasses; a field that is itself a dataclass is a section. Nothing here
knows which settings there are.
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snmn.common.errors import UserError, shown
from snmn.common.paths import home_path
from snmn.storage.plain_yaml import PlainYamlError, parse_plain_yaml, read_plain_yaml

_MOST_FILES = 100
_IN_A_HOME = re.compile(r"~[^/]*/")  # a path; a text of another kind may begin with "~" as well


class ConfigError(UserError):
    """Settings that cannot be used; the message says what to change."""


def read_yaml(path: str | Path, _readers: tuple[Path, ...] = ()) -> list[tuple[Path, dict]]:
    """The settings of a file after those of the files it is based on, in the order they apply.

    The key BASE names one file or a list of them, relative to the file it stands in.
    """
    path = Path(path)
    if path in _readers:
        raise ConfigError(f"{path}: BASE goes round in a circle")
    try:
        settings = read_plain_yaml(path) or {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except PlainYamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected keys and values")
    bases = settings.pop("BASE", None) or []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(_is_path(base) for base in bases):
        raise ConfigError(f"{path}: BASE names a file or a list of files, not {shown(repr(bases))}")
    files = []
    for base in bases:
        if len(files) + len(_readers) >= _MOST_FILES:
            raise ConfigError(f"{path}: more than {_MOST_FILES} files are based on another")
        files += read_yaml(path.parent / home_path(base), (*_readers, path))
    return [*files, (path, settings)]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


class Typed(str):
    """A value as it was typed on a command line: its field's type says what it means."""


def parse_overrides(overrides: list[str]) -> list[dict]:
    """Alternating dotted keys and values, as from a command line, as nested settings.

    The values are `Typed`.
    """
    if len(overrides) % 2:
        raise ConfigError(f"overrides come as KEY VALUE pairs; {overrides[-1]!r} has no value")
    parsed = []
    for key, text in zip(overrides[::2], overrides[1::2], strict=True):
        nested: Any = Typed(text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        parsed.append(nested)
    return parsed


def apply_settings(
    target: Any, settings: dict, *, where: str, ignored: Mapping[str, str]
) -> list[str]:
    """Set fields of a dataclass from nested settings; returns notes on keys without effect.

    ``where`` names the source in errors. ``ignored`` maps dotted keys that are accepted and do
    nothing to the reason why.
    """
    known = [*all_keys(type(target)), *ignored]
    notes = []

    def apply(section: Any, settings: dict, prefix: str) -> None:
        types = typing.get_type_hints(type(section))
        for key, value in settings.items():
            name = f"{prefix}{key}"
            if name in ignored:
                notes.append(f"{name} has no effect: {ignored[name]}")
            elif key not in types:
                raise ConfigError(f"{where}: unknown key {shown(name)}{_nearest(name, known)}")
            elif types[key] == dict[str, str]:
                setattr(section, key, _table(value, name, where))
            elif dataclasses.is_dataclass(types[key]):
                value = _meant(value, dict, name, where)
                if not isinstance(value, dict):
                    found = shown(repr(value))
                    raise ConfigError(f"{where}: {name} is a section of keys, not {found}")
                apply(getattr(section, key), value, f"{name}.")
            else:
                setattr(section, key, _typed(value, types[key], name, where))

    apply(target, settings, "")
    return notes


def _table(value: Any, name: str, where: str) -> dict[str, str]:
    """A mapping of names to texts, which replaces the one before it as a whole, like a list."""
    table = _meant(value, dict, name, where)
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        found = shown(repr(table))
        raise ConfigError(f"{where}: {name} is a mapping of names to texts, not {found}")
    return {key: str(text) for key, text in table.items()}


def all_keys(kind: type, prefix: str = "") -> list[str]:
    """Dotted names of all settings of a dataclass."""
    keys = []
    for key, type_ in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(type_):
            keys += all_keys(type_, f"{prefix}{key}.")
        else:
            keys.append(prefix + key)
    return keys


def _typed(value: Any, kind: type, name: str, where: str) -> Any:
    """The value as its field's type. A yaml number like 1e-5 arrives as text."""
    given = str(value) if isinstance(value, Typed) else value
    value = _meant(value, kind, name, where)
    try:
        if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            value = float(value)
        if kind is int and isinstance(value, float | str) and float(value).is_integer():
            value = int(float(value))
    except (ValueError, OverflowError):
        pass
    if kind is str and value is None:
        return ""
    if kind is str and isinstance(value, str) and _IN_A_HOME.match(value):
        value = str(home_path(value))
    fits = type(value) is kind
    if kind is float:
        fits = fits and math.isfinite(value)
    elif kind is str:
        fits = fits and "\0" not in value  # No path has that.
    if not fits:
        quotes = "; put it in quotes" if kind is str and not isinstance(given, str) else ""
        raise ConfigError(
            f"{where}: {name} must be of type {kind.__name__}, not {shown(repr(given))}{quotes}"
        )
    return value


def _meant(value: Any, kind: type, name: str, where: str) -> Any:
    """What was typed for a field: text for text and numbers, yaml for anything else.

    Yaml would take the text 007 for a number, on for True, and the number 010 for 8.
    """
    if not isinstance(value, Typed):
        return value
    text = str(value)
    if kind in (str, int, float):
        return text
    try:
        return parse_plain_yaml(text)
    except PlainYamlError:
        raise ConfigError(f"{where}: {name} cannot be {shown(repr(text))}") from None


def _nearest(name: str, known: list[str]) -> str:
    """A hint at the known key that looks most like ``name``."""
    same_end = [key for key in known if key.split(".")[-1] == name.split(".")[-1]]
    close = same_end or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest known one is {close[0]}"
