"""Modules learn one at a time, each from all the questions that wait for it.

A module that is new to all learns nothing from a few questions here and there, and nothing can be
told of programs with it before it has learnt. So it gets a block of training steps, in which what
no other program explains learns under programs with it: under all of them alike at first, and then
more and more under those that turn out better.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from snmn.training.layout_search.entry import Entry, faded, plain_programs, read_programs
from snmn.training.layout_search.programs import Program

# Modules with weights of their own.
LEARNING = frozenset("_Find _Transform _Scene _DescribeOne _DescribeTwo".split())

_LONGEST = 2000  # training steps of a block
_LEARNT = 1 / 3  # of the questions that learn a module have to be explained for it to end before
_EXPLAINED = 0.5  # of what is lost by answering blindly
_LEAST = 8  # questions that say anything about a program
_FEW = 6  # programs with a new module that a wording may have to learn it: more would blur it
_EVENLY = 300  # training steps for which a new module learns under all of them alike
_ANYWAY = 0.2  # the share of questions that run any of them later
_TEMPERATURE = 0.1  # of what is lost blindly, of the choice by the others


class Lessons:
    """Which modules have learnt, and which one is new."""

    def __init__(self):
        self.learnt: set[str] = set()
        self.new: str | None = None
        self._began = 0
        # Wordings with phrases of the same kinds tell each other what a program loses, as a share
        # of what is lost blindly.
        self._losses: dict[tuple[tuple[Program, ...], int], float] = {}

    def unlearnt(self, program: Program) -> set[str]:
        """The modules of a program that have not learnt anything yet."""
        return ({step.module for step in program} & LEARNING) - self.learnt

    def with_new(self, entry: Entry) -> list[int]:
        """A wording's programs whose modules have learnt but for the new one, which they have.

        None where there are too many.
        """
        if self.new is None:
            return []
        places = [
            p for p, program in enumerate(entry.programs) if self.unlearnt(program) == {self.new}
        ]
        return places if len(places) <= _FEW else []

    def choose(self, entry: Entry, step: int, rng: np.random.Generator) -> int | None:
        """The program under which a question learns the new module."""
        places = self.with_new(entry) if entry.waiting else []
        if not places:
            return None
        chances = np.ones(len(places))
        if step >= self._began + _EVENLY:
            losses = [self._losses.get((entry.programs, place), 1.0) for place in places]
            chances = np.exp(-(np.array(losses) - min(losses)) / _TEMPERATURE)
        chances = _ANYWAY / len(places) + (1 - _ANYWAY) * chances / chances.sum()
        return places[rng.choice(len(places), p=chances)]

    def record(self, entry: Entry, place: int, loss: float) -> None:
        """Take note of what a question lost that learnt the new module."""
        if entry.waiting and entry.blind is not None:
            key, share = (entry.programs, place), loss / entry.blind
            self._losses[key] = faded(self._losses.get(key, share), share)

    def begin(self, module: str, step: int) -> None:
        """Make a module the new one."""
        self.new, self._began, self._losses = module, step, {}

    def is_over(self, entries: Iterable[Entry], step: int) -> bool:
        """Whether the new module has learnt enough, or had its time."""
        seen = explained = 0
        for entry in entries:
            if entry.waiting and entry.settled is None and self.with_new(entry):
                seen += entry.seen
                recent = [s.recent for s in entry.training.values() if s.count >= _LEAST]
                if entry.blind and recent and min(recent) < _EXPLAINED * entry.blind:
                    explained += entry.seen
        return step >= self._began + _LONGEST or (seen > 0 and explained >= _LEARNT * seen)

    def end(self) -> None:
        """The new module is one that has learnt."""
        self.learnt.add(self.new)
        self.new = None

    def state(self) -> dict[str, Any]:
        """All of it as plain values, for a checkpoint."""
        return {
            "learnt": sorted(self.learnt),
            "new": self.new,
            "began": self._began,
            "losses": [
                [plain_programs(programs), place, loss]
                for (programs, place), loss in self._losses.items()
            ],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.learnt, self.new = set(state["learnt"]), state["new"]
        self._began = state["began"]
        self._losses = {
            (read_programs(programs), place): loss for programs, place, loss in state["losses"]
        }
