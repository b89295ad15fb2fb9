"""How much a program is like those that were found for other wordings.

Long sentences have many programs, and few questions to choose by. Those that are built as the
programs of shorter ones are believed first: what starts from what, and on which side of a relation
that stands, is the same all over a language.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from snmn.training.layout_search.programs import OTHERS, Program, Step

_NEW = 0.05  # how likely a step is to be one of those that no program has shown yet,
_KINDS = 10  # of which there may be so many


class Familiarity:
    """Counts how the steps of programs follow one another."""

    def __init__(self):
        self._seen: Counter[tuple] = Counter()
        self._known: dict[Program, float] = {}  # Since it last learnt; asked for at every step.

    def learn(self, programs: Iterable[tuple[Program, int]]) -> None:
        """Begin anew with programs and the number of questions of each."""
        self._seen.clear()
        self._known.clear()
        for program, count in programs:
            for pattern in _patterns(program):
                self._seen[pattern] += count
                self._seen[pattern[:1]] += count

    def __call__(self, program: Program) -> float:
        """The log-likelihood of a program, in nats: 0 at most."""
        if program not in self._known:
            chances = (self._chance(pattern) for pattern in _patterns(program))
            self._known[program] = sum(math.log(chance) for chance in chances)
        return self._known[program]

    def _chance(self, pattern: tuple) -> float:
        """Of a step of a module to be like this. However much was seen, what is new can be."""
        total = self._seen[pattern[:1]]
        share = self._seen[pattern] / total if total else 1 / _KINDS
        return (1 - _NEW) * share + _NEW / _KINDS

    def state(self) -> list[list[Any]]:
        """The counts as plain lists, for a checkpoint."""
        return [[list(pattern), count] for pattern, count in self._seen.items()]

    def load(self, state: Iterable[list[Any]]) -> None:
        """Go on from such counts."""
        self._known.clear()
        self._seen = Counter({tuple(pattern): count for pattern, count in state})


def _patterns(program: Program) -> list[tuple]:
    """Of each step its module, the one before, and how far apart they read in the sentence."""
    before = Step("", OTHERS)
    found = []
    for step in program:
        apart = step.phrase - before.phrase if OTHERS not in (step.phrase, before.phrase) else None
        found.append((step.module, before.module, apart))
        before = step
    return found
