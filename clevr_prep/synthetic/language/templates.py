"""The template language of the grammar: words, choices, optional parts and slots.

``(how many|what number of) <many:d> are [either] <group:x>``: ``(a|b)`` is a choice, ``[a]`` is
optional, ``<category:variable>`` is a slot that another rule fills, ``{name}`` inserts a shared
piece, everything else is a word.
"""

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\{(\w+)\}|<(\w+):(\w+)>|([()|\[\]])|([^\s()|\[\]<>{}]+)")


class TemplateError(ValueError):
    """A template is not well-formed."""


class Slot(NamedTuple):
    """A place for a phrase of ``category`` that expresses the value of ``variable``."""

    category: str
    variable: str


class Choice(NamedTuple):
    """Alternative sequences, each a tuple of words, slots and choices."""

    options: tuple[tuple, ...]


def parse_template(text: str, pieces: dict[str, str]) -> tuple:
    """The sequence of words (str), ``Slot`` and ``Choice`` that a template stands for.

    Raises ``TemplateError`` for unbalanced brackets, an unknown piece or a stray character.
    """
    expanded = re.sub(r"\{(\w+)\}", lambda found: _piece(found[1], pieces), text)
    leftover = _TOKEN.sub("", expanded).strip()
    if leftover:
        raise TemplateError(f"cannot read {leftover!r} in template {text!r}")
    tokens = [match for match in _TOKEN.finditer(expanded)]
    options, position = _read_options(tokens, 0, text)
    if position != len(tokens):
        raise TemplateError(f"closing bracket without its opening one in {text!r}")
    return options[0] if len(options) == 1 else (Choice(tuple(options)),)


def _piece(name: str, pieces: dict[str, str]) -> str:
    if name not in pieces:
        raise TemplateError(f"unknown piece {{{name}}}")
    return pieces[name]


def _read_options(tokens: list, position: int, text: str) -> tuple[list[tuple], int]:
    """Alternatives from a position up to an unmatched closing bracket or the end."""
    options, current = [], []
    while position < len(tokens):
        _, category, variable, mark, word = tokens[position].groups()
        if mark in (")", "]"):
            break
        position += 1
        if word:
            current.append(word)
        elif category:
            current.append(Slot(category, variable))
        elif mark == "|":
            options.append(tuple(current))
            current = []
        else:
            inner, position = _read_options(tokens, position, text)
            closing = {"(": ")", "[": "]"}[mark]
            if position == len(tokens) or tokens[position][0] != closing:
                raise TemplateError(f"no {closing!r} for a {mark!r} in template {text!r}")
            position += 1
            current.append(Choice((*inner, ()) if mark == "[" else tuple(inner)))
    return [*options, tuple(current)], position
