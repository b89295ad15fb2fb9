"""What a model's card says it reaches, in one form for all who show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEASURES = {"accuracy": "vqa", "precision_at_1": "loc"}


@dataclass(frozen=True)
class CardScore:
    """A score: answers that are right (task "vqa"), or boxes ("loc").

    - measure: "accuracy" or "precision_at_1"
    - asked: what was asked, such as "rendered test, 5,000 questions"
    - share: the share that is right
    - discrete: the same with the layout made discrete; None where the card does not say
    """

    measure: str
    asked: str
    share: float
    discrete: float | None

    @property
    def task(self) -> str:
        """Whose score it is, "vqa" or "loc"."""
        return MEASURES[self.measure]


def card_scores(card: Mapping[str, Any]) -> list[CardScore]:
    """The scores of a card as `read_card` gives it; what is not a score there is left out."""
    discrete = _table(card.get("discrete"))
    scores = []
    for measure in MEASURES:
        for asked, entry in _table(card.get(measure)).items():
            share = _share(entry)
            if share is not None:
                by_layout = _share(_table(discrete.get(asked)).get("right"))
                scores.append(CardScore(measure, asked, share, by_layout))
    return scores


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _share(entry: Any) -> float | None:
    """The share of a score."""
    value = _table(entry).get("share")
    return float(value) if type(value) in (int, float) else None
