"""Which program each question of a training step runs: a search by trial, from answers alone.

Ours, not the paper's. Questions of one wording run one program (see `programs` for what there is to
choose from), and what they lose under each of several decides which.

- Modules learn only from wordings whose program is settled. At first those are the ones that have
  but one program.
- The others are on trial: beside each training step their questions run, without learning, programs
  whose modules have all learnt already. One that takes away half of what is lost by answering
  blindly, and is the best of all, is settled.
- Wordings that no such program explains wait for a module that has not learnt anything yet. When
  many wait, they get it all at one time: for a block of steps their questions learn under programs
  with that module, under each at first and then more and more under the better ones.
- What is settled but still answered badly stays on trial, and changes if another program is plainly
  better.
- Expressions with sides teach no new module, they try what has learnt: the cube that is "left of
  the ball" is nearly always the leftmost, or another one would be left of it, too. So which end a
  relation starts from does not show in them; it does in "the cube of the same size as the ball".
  Where there are questions and expressions, modules learn from questions.
- Where there are expressions alone, nouns tell nearly all, and what is lost blindly is the choice
  among a scene's objects, not the one among all places.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from snmn.training.layout_search.entry import Entry, Score
from snmn.training.layout_search.familiarity import Familiarity
from snmn.training.layout_search.lessons import LEARNING, Lessons
from snmn.training.layout_search.programs import Program, programs
from snmn.training.layout_search.trials import Trials
from snmn.training.layout_search.wordings import Wording, wording

_PERIOD = 250  # training steps between reviews
_READY = 0.5  # of questions with fewer phrases have to be explained before one is tried
_EXPLAINED = 0.5  # of what is lost by answering blindly is the most that they may lose
_WAITING = 0.04  # of all questions have to wait before a module is new
_OBJECTS = math.log(6.5)  # nats of a choice among the objects of a scene


class LayoutSearch:
    """Chooses programs for questions, and learns from their losses which are good.

    ``most_steps`` is T; before the training step ``begin`` nothing is tried. ``teacher`` is the
    task whose questions teach new modules. Each training step calls `choose`, then `record` for
    what was learnt and for what was tried. What it knows follows from those calls alone; `state`
    and `load` take it through a checkpoint.
    """

    def __init__(self, *, most_steps: int, begin: int, seed: int = 0, teacher: str = "vqa"):
        self._most_steps, self._begin, self._seed = most_steps, begin, seed
        self._teacher = teacher
        self._entries: dict[str, Entry] = {}
        self._lessons = Lessons()
        self._familiarity = Familiarity()
        self._trials = Trials(self._lessons, self._familiarity, patient=teacher == "loc")
        self._reviewed = 0

    def choose(
        self, questions: Sequence[Sequence[int]], step: int, *, task: str
    ) -> tuple[list[Program | None], list[Program | None]]:
        """Programs to learn under and to try, of each question (word indices without padding).

        None where a question does not take part. ``task`` is vqa or loc.
        """
        if step >= self._begin and step >= self._reviewed + _PERIOD:
            self._review(step)
        rng = np.random.default_rng([self._seed, step, len(task)])
        learning, trying = [], []
        for words in questions:
            asked = wording(tuple(words))
            entry = self._entry(asked, task)
            entry.seen += 1
            place = entry.settled
            if place is None and entry.teaches:
                place = self._lessons.choose(entry, step, rng)
            tried = self._trials.next(entry) if step >= self._begin else None
            learning.append(None if place is None else entry.programs[place])
            trying.append(None if tried is None else entry.programs[tried])
        return learning, trying

    def record(
        self,
        questions: Sequence[Sequence[int]],
        chosen: Sequence[Program | None],
        losses: Sequence[float],
        answers: Sequence[int],
        *,
        task: str,
        tried: bool,
    ) -> None:
        """Take note of losses under the programs that `choose` gave, and of the true answers.

        ``tried`` says whether they ran on trial. A negative answer is unknown.
        """
        for words, program, loss, answer in zip(questions, chosen, losses, answers, strict=True):
            entry = self._entry(wording(tuple(words)), task)
            if answer < 0:
                continue
            if not tried:
                entry.answers[answer] += 1
            if program is not None:
                scores = entry.trial if tried else entry.training
                place = entry.programs.index(program)
                scores.setdefault(place, Score()).add(loss)
                if tried:
                    self._trials.judge(entry)
                else:
                    self._lessons.record(entry, place, loss)

    def settled(self) -> dict[str, Program]:
        """The programs of the wordings that have one."""
        return {
            text: entry.program
            for text, entry in self._entries.items()
            if entry.program is not None
        }

    def _entry(self, asked: Wording, task: str) -> Entry:
        key = f"{task}: {asked.text}"
        if key not in self._entries:
            found = programs(
                asked.kinds, asked.turn, describe=task == "vqa", most_steps=self._most_steps
            )
            teaches = task == self._teacher and not (task == "loc" and "R" in asked.kinds)
            settled = 0 if len(found) == 1 else None
            most = _OBJECTS if self._teacher == "loc" else math.inf
            self._entries[key] = Entry(found, settled=settled, teaches=teaches, most=most)
        return self._entries[key]

    def _review(self, step: int) -> None:
        """See which module is new, and how long the sentences are that can be tried."""
        self._reviewed = step
        entries = self._entries.values()
        if not self._lessons.learnt:
            settled = self.settled().values()
            self._lessons.learnt = {s.module for program in settled for s in program} & LEARNING
        if self._lessons.new and self._lessons.is_over(self._taught(), step):
            self._lessons.end()
            for entry in entries:
                entry.waiting, entry.trial = False, {}
        for entry in entries:
            self._trials.judge(entry)
        self._familiarity.learn(
            (entry.program, entry.answers.total()) for entry in entries if entry.program
        )
        self._trials.open = _opened(entries)
        if self._lessons.new is None:
            self._begin_lesson(step)
        for entry in entries:
            entry.seen = 0
            if entry.waiting:
                # What has learnt meanwhile may explain it by now.
                entry.trial = {}
            if entry.settled in entry.training:
                entry.training = {entry.settled: entry.training[entry.settled]}

    def _begin_lesson(self, step: int) -> None:
        """Make the module new that most of the questions that wait can use."""
        seen: Counter[str] = Counter()
        for entry in self._taught():
            if entry.waiting:
                for module in {m for p in entry.programs for m in self._lessons.unlearnt(p)}:
                    seen[module] += entry.seen
        total = sum(entry.seen for entry in self._taught())
        for module, count in seen.most_common(1):
            if count >= _WAITING * total:
                self._lessons.begin(module, step)

    def _taught(self) -> list[Entry]:
        """The wordings that teach."""
        return [entry for entry in self._entries.values() if entry.teaches]

    def state(self) -> dict[str, Any]:
        """All it knows as plain values, for a checkpoint."""
        return {
            "lessons": self._lessons.state(),
            "familiarity": self._familiarity.state(),
            "reviewed": self._reviewed,
            "open": self._trials.open,
            "entries": {text: entry.state() for text, entry in self._entries.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`. Raises ValueError for one that is none."""
        try:
            self._lessons.load(state["lessons"])
            self._familiarity.load(state["familiarity"])
            self._reviewed, self._trials.open = state["reviewed"], state["open"]
            entries = state["entries"].items()
            self._entries = {text: Entry.load(entry) for text, entry in entries}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise ValueError("no state of a search for layouts") from None


def _opened(entries: Iterable[Entry]) -> int:
    """How many phrases a question may have to be tried."""
    most = max((entry.phrases for entry in entries), default=0)
    for phrases in range(3, most + 1):
        fewer = [entry for entry in entries if entry.phrases < phrases]
        explained = sum(entry.seen for entry in fewer if entry.loses_less(_EXPLAINED))
        if explained < _READY * sum(entry.seen for entry in fewer):
            return phrases - 1
    return most
