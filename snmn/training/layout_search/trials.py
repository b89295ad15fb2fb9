"""Which program a wording tries next, and what follows from what it lost under those it tried."""

import math

from snmn.training.layout_search.entry import Entry
from snmn.training.layout_search.familiarity import Familiarity
from snmn.training.layout_search.lessons import Lessons
from snmn.training.layout_search.programs import modules

_LEAST = 8  # questions that a program must have answered before it is settled
_SURE = 32  # ... and before it takes the place of a settled one
_HOPELESS = 4  # questions after which one that answers as if blindly is given up
# Shares of what is lost by answering blindly:
_PLAINLY = 0.25  # what loses less is settled before all others were tried
_EXPLAINED = 0.5  # the best of all is settled
_PROMISING = 0.9  # the best of few is learnt under, and stays on trial
_BADLY = 0.25  # settled wordings that lose more stay on trial
_FEW = 8  # programs
_GAIN = 0.1  # the share of its cost that another program has to take away from a settled one
_DOUBT = 2.0  # standard errors that it has to be better by, as it is compared over and over
_PRICE = 0.01  # nats, of each step of a program
_CAUTION = 0.5  # nats, of each nat of what is unfamiliar, over all questions to be answered


class Trials:
    """Tries programs of modules that have learnt, and settles wordings on the best.

    Questions with more than ``open`` phrases are not tried yet. If ``patient``, losses tell little:
    only what explains a wording plainly is settled while a module that has not learnt yet could do
    better, and of programs with one layout that all explain it, the most familiar.
    """

    def __init__(self, lessons: Lessons, familiarity: Familiarity, *, patient: bool = False):
        self.lessons, self.familiarity = lessons, familiarity
        self.patient = patient
        self.open = 2

    def next(self, entry: Entry) -> int | None:
        """The program to try next: one that may be the best, what is familiar first."""
        blind = entry.blind
        if len(entry.programs) < 2 or blind is None or entry.phrases > self.open:
            return None
        if entry.settled is not None and (
            entry.settled not in entry.training or entry.loses_less(_BADLY)
        ):
            return None
        places = [p for p in self._hopeful(entry) if entry.tried(p) < _enough(entry)]
        return max(places, key=lambda p: (self.familiarity(entry.programs[p]), -p), default=None)

    def _hopeful(self, entry: Entry) -> list[int]:
        """Programs of modules that have learnt, but for those that have shown to be worse."""
        places = [
            p for p, program in enumerate(entry.programs) if not self.lessons.unlearnt(program)
        ]
        known = [p for p in places if entry.tried(p) >= _HOPELESS]
        least = min((self._cost(entry, p) + entry.trial[p].error for p in known), default=math.inf)
        return [
            place
            for place in places
            if entry.tried(place) < _HOPELESS
            or (
                self._cost(entry, place) - entry.trial[place].error <= least
                and entry.trial[place].mean - entry.trial[place].error <= entry.blind
            )
        ]

    def judge(self, entry: Entry) -> None:
        """Settle a wording, change what it settled on, or let it wait."""
        blind = entry.blind
        if blind is None:
            return
        hopeful = self._hopeful(entry)
        tried = [place for place in hopeful if entry.tried(place) >= _enough(entry)]
        best = min(tried, key=lambda p: self._cost(entry, p), default=None)
        if self.patient and best is not None:
            best = self._most_familiar(entry, best)
        all_tried = len(tried) == len(hopeful)
        if entry.settled is None:
            if best is not None:
                loss = entry.trial[best].mean
                enough = _PROMISING if len(entry.programs) <= _FEW else _EXPLAINED
                if self.patient and self._may_do_better(entry):
                    enough = _PLAINLY
                if loss < _PLAINLY * blind or (all_tried and loss < enough * blind):
                    entry.settled, entry.trial, entry.waiting = best, {}, False
            if all_tried and entry.settled is None:
                self._give_up(entry)
        elif all_tried and best is not None and entry.tried(entry.settled) >= _HOPELESS:
            now, then = self._cost(entry, entry.settled), self._cost(entry, best)
            error = entry.trial[entry.settled].error + entry.trial[best].error
            if now - then > max(_GAIN * now, _DOUBT * error):
                entry.settled, entry.training = best, {}
            entry.trial = {}

    def _give_up(self, entry: Entry) -> None:
        """No program that has learnt explains a wording: it waits for a module that is new to all.

        If none can come, it learns under the best there is.
        """
        entry.waiting = self._may_do_better(entry)
        if not entry.waiting and entry.trial:
            entry.settled, entry.trial = min(entry.trial, key=lambda p: self._cost(entry, p)), {}

    def _most_familiar(self, entry: Entry, best: int) -> int:
        """Of the programs with the best one's layout that explain a wording, or the best itself."""
        blind, layout = entry.blind, modules(entry.programs[best])
        explain = [
            place
            for place in entry.trial
            if entry.tried(place) >= _HOPELESS
            and entry.trial[place].mean < _EXPLAINED * blind
            and modules(entry.programs[place]) == layout
        ]
        return max(explain, key=lambda p: (self.familiarity(entry.programs[p]), -p), default=best)

    def _may_do_better(self, entry: Entry) -> bool:
        """Whether a wording has programs with a module that has not learnt yet."""
        return any(self.lessons.unlearnt(program) for program in entry.programs)

    def _cost(self, entry: Entry, place: int) -> float:
        """What a program loses, with a price on its steps and on what is unfamiliar about them.

        The more questions it has to answer, the less that counts.
        """
        score = entry.trial[place]
        unfamiliar = -self.familiarity(entry.programs[place]) / _enough(entry)
        return score.mean + _PRICE * len(entry.programs[place]) + _CAUTION * unfamiliar


def _enough(entry: Entry) -> int:
    """How many questions a program must have answered to be judged."""
    return _LEAST if entry.settled is None else _SURE
