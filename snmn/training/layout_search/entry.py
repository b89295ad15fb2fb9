"""What a search for layouts knows of one wording."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from snmn.training.layout_search.programs import Program, Step

_FADE = 0.98  # of a running mean, with each question
_LEAST_ANSWERS = 24  # questions that say anything about a wording's answers


@dataclass
class Score:
    """Losses in nats under a program: how many, sum, sum of squares, and a running mean."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    recent: float = 0.0

    def add(self, loss: float) -> None:
        """Count one question's loss."""
        self.recent = faded(self.recent, loss) if self.count else loss
        self.count += 1
        self.total += loss
        self.squares += loss * loss

    @property
    def mean(self) -> float:
        """Of all that was counted."""
        return self.total / self.count

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        variance = max(self.squares / self.count - self.mean**2, 1e-3)
        return math.sqrt(variance / self.count)


def faded(mean: float, value: float) -> float:
    """A running mean, one value later."""
    return _FADE * mean + (1 - _FADE) * value


@dataclass
class Entry:
    """A wording's programs, which of them is settled, and scores by place in ``programs``.

    ``trial`` holds what was tried since it was last decided, ``training`` what was learnt under,
    ``answers`` all true answers, ``seen`` the number of questions since the last review;
    ``waiting`` says that the wording waits for a module that is new to all, ``teaches`` that its
    questions may teach one; ``most`` bounds `blind`.
    """

    programs: tuple[Program, ...]
    settled: int | None = None
    trial: dict[int, Score] = field(default_factory=dict)
    training: dict[int, Score] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    seen: int = 0
    waiting: bool = False
    teaches: bool = True
    most: float = math.inf

    @property
    def program(self) -> Program | None:
        """The one that is settled."""
        return None if self.settled is None else self.programs[self.settled]

    @property
    def phrases(self) -> int:
        """How many phrases its questions have, at least one."""
        return 1 + max(step.phrase for program in self.programs for step in program)

    @property
    def blind(self) -> float | None:
        """What is lost by answering as often as the answers come, in nats; None too early."""
        total = self.answers.total()
        if total < _LEAST_ANSWERS:
            return None
        shares = [count / total for count in self.answers.values()]
        return min(max(-math.fsum(p * math.log(p) for p in shares), 0.1), self.most)

    def tried(self, place: int) -> int:
        """How many questions have tried a program."""
        score = self.trial.get(place)
        return score.count if score else 0

    def loses_less(self, share: float) -> bool:
        """Whether training loses less than a share of what is lost blindly; no if unknown."""
        score = self.training.get(self.settled)
        return bool(score and self.blind and score.recent < share * self.blind)

    def state(self) -> dict[str, Any]:
        """All of it as plain values, for a checkpoint."""
        return {
            "programs": plain_programs(self.programs),
            "settled": self.settled,
            "trial": {place: vars(score) for place, score in self.trial.items()},
            "training": {place: vars(score) for place, score in self.training.items()},
            "answers": dict(self.answers),
            "seen": self.seen,
            "waiting": self.waiting,
            "teaches": self.teaches,
            "most": self.most,
        }

    @classmethod
    def load(cls, state: dict[str, Any]) -> "Entry":
        """Made anew from a `state`."""
        return cls(
            programs=read_programs(state["programs"]),
            settled=state["settled"],
            trial={place: Score(**score) for place, score in state["trial"].items()},
            training={place: Score(**score) for place, score in state["training"].items()},
            answers=Counter(state["answers"]),
            seen=state["seen"],
            waiting=state["waiting"],
            teaches=state["teaches"],
            most=state["most"],
        )


def plain_programs(programs: Sequence[Program]) -> list[list[list]]:
    """Programs as lists."""
    return [[list(step) for step in program] for program in programs]


def read_programs(plain: Sequence[Sequence[Sequence]]) -> tuple[Program, ...]:
    """Programs from such lists."""
    return tuple(tuple(Step(*step) for step in program) for program in plain)
