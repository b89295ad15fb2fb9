"""Keeps the answers of each question family balanced while questions are made."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable


class AnswerBalance:
    """Running answer counts of each question family.

    An answer is turned away while its count exceeds ``tolerance`` times that of its family's
    second most frequent answer (1.1 is CLEVR's figure), so that no family can be answered from
    its words alone. Keep one balance for a whole stream of questions; a fresh one for a few
    questions works too, because it starts yes/no families with a vote against one of the two at
    random.
    """

    def __init__(self, tolerance: float = 1.1):
        self.tolerance = tolerance
        self.counts: dict[Hashable, Counter] = defaultdict(Counter)

    def accepts(self, family: Hashable, answer: str, rng: random.Random) -> bool:
        """Whether one more question of this family may have this answer."""
        counts = self.counts[family]
        if not counts and answer in ("yes", "no"):
            counts[rng.choice(("yes", "no"))] += 1
        others = max((n for other, n in counts.items() if other != answer), default=0)
        return counts[answer] <= self.tolerance * others

    def add(self, family: Hashable, answer: str) -> None:
        """Count a question that was kept."""
        self.counts[family][answer] += 1


def collect(count: int, patience: int, ask: Callable[[bool], dict | None]) -> list[dict]:
    """The first ``count`` questions of those that ``ask`` makes, which may be None.

    It is told whether to be picky, in answers and about what was asked before: it is until
    ``patience`` attempts have been in vain, and again after the next question.
    """
    questions: list[dict] = []
    vain = 0
    while len(questions) < count:
        question = ask(vain < patience)
        vain = vain + 1 if question is None else 0
        if question is not None:
            questions.append(question)
    return questions
