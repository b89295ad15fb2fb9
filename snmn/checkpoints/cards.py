"""The card of a trained model: how it was made, what it reaches, and of which file that is said.

A card is the JSON file NAME.json beside NAME.ckpt. Bundled models have whole cards, which
``python -m benchmarks.reproduce`` writes; one's own model needs of these fields only ``features``,
and no card at all where the features' shape says which they are.
"""

import dataclasses
import json
import math
import re
import shlex
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snmn.checkpoints.checks import CheckpointError
from snmn.common.errors import shown


@dataclass(frozen=True)
class Share:
    """A share of ``total`` with its 95 % interval."""

    share: float
    low: float
    high: float
    total: int


@dataclass(frozen=True)
class Discrete:
    """A model whose layouts are made discrete, as ``test.py --explain`` measures it.

    - right: its answers or boxes that are right
    - layouts: their effective number, the exponential of their entropy
    - commonest: the share of questions that have the commonest one
    """

    right: Share
    layouts: float
    commonest: float


@dataclass(frozen=True)
class Stage:
    """One run of train.py; ``minutes`` and ``commit`` are None where nobody knows them.

    - config, overrides: its configuration, from the project's root, and KEY VALUE pairs
    - seed: of the run, of several the best one's
    - steps: iterations
    - minutes: that training took, of all seeds
    - commit: of the code
    """

    config: str
    overrides: list[str]
    seed: int
    steps: int
    minutes: float | None = None
    commit: str | None = None

    @property
    def command(self) -> str:
        """The call of train.py."""
        words = ["python", "train.py", self.config, *self.overrides, "-s", str(self.seed)]
        return shlex.join(words)


@dataclass(frozen=True)
class Rendered:
    """A dataset that was trained on: the command that makes it, its seed, its training images."""

    command: str
    seed: int
    images: int


@dataclass(frozen=True)
class Card:
    """What is said of a model.

    - stages: the runs that made it, each but the first from the weights of the one before
    - history: what of its making no configuration of today expresses; empty: nothing
    - reproduced: whether the code that it lies with made this very file
    - seeds: the best validation score of each seed, where there were several
    - accuracy, precision_at_1: by what was asked, such as "rendered test, 5,000 questions"
    - discrete: likewise, with the layouts made discrete
    """

    about: str
    features: str
    stages: list[Stage]
    history: str
    reproduced: bool
    sha256: str
    data: list[Rendered]
    machine: str
    licence: str
    limits: str
    seeds: dict[str, float] = field(default_factory=dict)
    accuracy: dict[str, Share] = field(default_factory=dict)
    precision_at_1: dict[str, Share] = field(default_factory=dict)
    discrete: dict[str, Discrete] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Iterations of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def minutes(self) -> float | None:
        """That all stages took; None where one's is not known."""
        found = [stage.minutes for stage in self.stages]
        return None if None in found else sum(found)

    def as_json(self) -> str:
        """The text of its file; what is empty by default is left out."""
        content = dataclasses.asdict(self)
        for entry in dataclasses.fields(self):
            if entry.default_factory is dict and not content[entry.name]:
                del content[entry.name]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_whole_card(path: Path) -> Card:
    """A card with all its fields. Raises CheckpointError, which names file and field."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a card in JSON ({error})") from None
    try:
        card = _typed(content, Card, "")
        _check(card)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return card


def _check(card: Card) -> None:
    """What types do not say. Raises ValueError."""
    if not re.fullmatch("[0-9a-f]{64}", card.sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, not {shown(repr(card.sha256))}")
    if not card.stages:
        raise ValueError("stages is empty; a model was trained by one run at least")
    for place, stage in enumerate(card.stages):
        if len(stage.overrides) % 2:
            raise ValueError(f"stages[{place}].overrides come as pairs of KEY and VALUE")
        if stage.steps < 1:
            raise ValueError(f"stages[{place}].steps must be at least 1, not {stage.steps}")
    shares = {f"accuracy[{name!r}]": share for name, share in card.accuracy.items()}
    shares |= {f"precision_at_1[{name!r}]": share for name, share in card.precision_at_1.items()}
    shares |= {f"discrete[{name!r}].right": found.right for name, found in card.discrete.items()}
    for name, share in shares.items():
        if not 0 <= share.low <= share.share <= share.high <= 1:
            raise ValueError(f"{name}: a share lies in its interval, and that between 0 and 1")
    if not card.accuracy and not card.precision_at_1:
        raise ValueError("neither accuracy nor precision_at_1 says what the model reaches")
    if card.reproduced and (card.history or any(not stage.commit for stage in card.stages)):
        raise ValueError(
            "reproduced is true, so history must be empty and each stage's commit known"
        )


_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _typed(value: Any, kind: Any, where: str) -> Any:
    """A value of JSON as its type. Raises ValueError, which names its place."""
    if dataclasses.is_dataclass(kind):
        return _record(value, kind, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # Of a type and None.
        return None if value is None else _typed(value, arguments[0], where)
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, not {shown(repr(value))}")
        return [_typed(v, arguments[0], f"{where}[{n}]") for n, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a table of names, not {shown(repr(value))}")
        return {k: _typed(v, arguments[1], f"{where}[{k!r}]") for k, v in value.items()}
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{where} must be {_NAMES[kind]}, not {shown(repr(value))}")
    return value


def _record(value: Any, kind: type, where: str) -> Any:
    """A table of JSON as a dataclass."""
    within = f"{where}." if where else ""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'the card'} must be a table, not {shown(repr(value))}")
    hints = typing.get_type_hints(kind)
    for name in value:
        if name not in hints:
            raise ValueError(f"unknown field {shown(within + name)}; there are {', '.join(hints)}")
    found = {}
    for entry in dataclasses.fields(kind):
        if entry.name in value:
            found[entry.name] = _typed(value[entry.name], hints[entry.name], within + entry.name)
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise ValueError(f"the field {within}{entry.name} is missing")
    return kind(**found)
