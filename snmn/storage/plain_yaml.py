"""Yaml as plain values, read without trusting who wrote it.

PyYAML's safe loader runs no code. It does follow references, by which a few lines can stand for
billions of values or for themselves, and it fails on odd values in ways of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from snmn.common.errors import shown

LARGEST = 1 << 16  # bytes in a file; the longest of ours has 3,000
_MOST_VALUES = 10_000
_DEEPEST = 20


class PlainYamlError(ValueError):
    """Text that is not plain yaml; the message is one line."""


def read_plain_yaml(path: Path) -> Any:
    """The content of a file. Raises OSError, or PlainYamlError, which does not name the file."""
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise PlainYamlError(f"more than {LARGEST >> 10} KiB, far too long for settings")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlainYamlError(f"not yaml: {error}") from None
    return parse_plain_yaml(text)


def parse_plain_yaml(text: str) -> Any:
    """Text as numbers, strings, lists and dictionaries with text for keys."""
    try:
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PlainYamlError(f"not yaml: {error.problem}{line}") from None
    except RecursionError:
        raise PlainYamlError("not yaml for settings: nested too deeply") from None
    except Exception as error:  # A date or a number that is none fails in any way.
        raise PlainYamlError(f"not yaml: {shown(error)}") from None
    count = 0
    for key, depth in _keys(value, 0):
        count += 1
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise PlainYamlError("not yaml for settings: its references stand for too many values")
        if not isinstance(key, str):
            raise PlainYamlError(f"its keys are names, not {shown(repr(key))}")
    return value


def _keys(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """A key ("" in lists) and depth for each value, however often it is referred to."""
    if isinstance(value, dict):
        inner = value.items()
    else:
        inner = [("", entry) for entry in value] if isinstance(value, list | set) else ()
    for key, entry in inner:
        yield key, depth
        yield from _keys(entry, depth + 1)
