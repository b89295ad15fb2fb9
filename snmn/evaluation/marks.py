"""When not to believe a prediction: marks with their reasons, found without knowing what is true.

- discrete_layout: run with each step's likeliest module alone, which is what is shown, the model
  gives another answer, or finds another place (an IoU of less than one half)
- undecided_step: a step's likeliest module has less than `DECIDED` of the weight
- wrong_kind: the answer is not of the kind that the words ask for, see `snmn.common.answer_kinds`
- no_object: of the last maps, that the answer is made from, none has `ON_OBJECTS` of its attention
  on cells that look like an object; "no" and "0", which say that there is none, are left alone
- unlike_image: the image's features are further from those of the training images than is usual
- no_sentence: the words are none that the grammar of the training data can say

The fourth and fifth need the statistics of `snmn.backbones.feature_statistics`, the last one
someone who can read; where these are not at hand, the mark stands nowhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snmn.backbones.feature_statistics import FeatureStatistics, find_statistics
from snmn.common.answer_kinds import ANSWERS_OF, OBJECT, kind_asked_for
from snmn.common.boxes import IOU_THRESHOLD, box_iou, cut_box, decode_boxes
from snmn.common.vocabulary import ANSWERS
from snmn.evaluation.discrete_layouts import run_discretely
from snmn.evaluation.last_maps import answering_modules, last_maps
from snmn.figures.trace import Trace
from snmn.network.model import SNMN, SNMNOutput

DECIDED = 0.5
ON_OBJECTS = 0.2
MARKS = (
    "discrete_layout",
    "undecided_step",
    "wrong_kind",
    "no_object",
    "unlike_image",
    "no_sentence",
)


@dataclass(frozen=True)
class Mark:
    """One of `MARKS`, and in a sentence why it stands."""

    name: str
    reason: str


@dataclass(frozen=True)
class Look:
    """What is known of an image without its scene.

    - distance: from the training images, in units of the largest usual one; from 1 on it is unlike
    - objects [H,W]: the probability that a cell shows an object
    """

    distance: float
    objects: np.ndarray


class Marker:
    """Finds the marks of a model's predictions.

    Args:
        model: the model, whose modules that answers are made by are ``answering``.
        features: attributes of the backbone, or of the stored features, that it looks at.
        reads: whether a grammar understands a question's words; None where there is none.
    """

    def __init__(
        self, model: SNMN, features: Mapping, *, reads: Callable[[str], bool] | None = None
    ):
        self.model = model
        self.answering = answering_modules(model)
        self.statistics: FeatureStatistics | None = find_statistics(features)
        self.reads = reads

    def look(self, features: np.ndarray) -> Look | None:
        """What the statistics say of an image's features [H,W,D]; None without statistics."""
        if self.statistics is None:
            return None
        distance = self.statistics.distance(features) / self.statistics.limit
        return Look(distance, self.statistics.objects(features))

    def marks(
        self, traced: Trace, discrete: str | list[float] | None, look: Look | None
    ) -> list[Mark]:
        """All marks of a prediction, in the order of `MARKS`.

        ``discrete`` is what the layout made discrete gives, an answer or a box in pixels; None
        where it was not run. ``look`` is at the image.
        """
        found = {
            "discrete_layout": _discrete_layout(traced, discrete),
            "undecided_step": _undecided_step(traced),
            "wrong_kind": _wrong_kind(traced),
            "no_object": self._no_object(traced, look),
            "unlike_image": _unlike_image(look),
            "no_sentence": self._no_sentence(traced),
        }
        return [Mark(name, found[name]) for name in MARKS if found[name]]

    def marks_of_one(
        self,
        traced: Trace,
        output: SNMNOutput,
        question: Tensor,
        features: Tensor,
        size: tuple[int, int],
    ) -> list[Mark]:
        """All marks of what the model made of one question, which is asked again for them.

        ``output`` is of the word indices question [S] about features [1,H,W,D] of an image of
        (width, height) pixels.
        """
        length = torch.tensor([len(question)])
        again = run_discretely(self.model, question[None], length, features, output)
        if traced.box is None:
            discrete = ANSWERS[again.answer_logits[0].argmax()]
        else:
            cell, grid = again.cell_scores.argmax(dim=1), tuple(features.shape[1:3])
            boxes = decode_boxes(cell, again.box_offset, torch.tensor([size]), grid)
            discrete = cut_box(boxes[0], size).tolist()
        return self.marks(traced, discrete, self.look(features[0].numpy()))

    def _no_object(self, traced: Trace, look: Look | None) -> str | None:
        if look is None or prediction(traced) in ("no", "0"):
            return None
        shares = [
            float((attention * look.objects).sum())
            for attention in last_maps(traced, self.answering)
        ]
        if not shares or max(shares) >= ON_OBJECTS:
            return None
        maps = "The last map lies" if len(shares) == 1 else "The last maps lie"
        return (
            f"{maps} on no object: {_percent(max(shares))} of the attention that the answer is "
            "made from is where something seems to stand."
        )

    def _no_sentence(self, traced: Trace) -> str | None:
        if self.reads is None or self.reads(" ".join(traced.words)):
            return None
        return "The words make no question or expression of the kind that the model was trained on."


def prediction(traced: Trace) -> str | list[float]:
    """The answer, or of an expression the box in pixels."""
    return traced.answers[0][0] if traced.box is None else traced.box


def same_prediction(one: str | list[float], other: str | list[float]) -> bool:
    """Whether two answers are the same, or two boxes the same place."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return bool(box_iou(torch.tensor([one]), torch.tensor([other]))[0] >= IOU_THRESHOLD)


def _discrete_layout(traced: Trace, discrete: str | list[float] | None) -> str | None:
    if discrete is None or same_prediction(prediction(traced), discrete):
        return None
    instead = f'the answer is "{discrete}"' if isinstance(discrete, str) else "it finds another box"
    return (
        "The steps shown are not all that was computed: with each step's likeliest module alone "
        f"{instead}."
    )


def _undecided_step(traced: Trace) -> str | None:
    for number, step in enumerate(traced.steps, start=1):
        if step.probability < DECIDED:
            first, second = np.argsort(-step.probabilities)[:2]
            names = [traced.modules[place].removeprefix("_") for place in (first, second)]
            shares = [_percent(step.probabilities[place]) for place in (first, second)]
            return (
                f"Step {number} is undecided: {names[0]} has {shares[0]} of the weight, "
                f"{names[1]} {shares[1]}."
            )
    return None


def _wrong_kind(traced: Trace) -> str | None:
    kind, given = kind_asked_for(traced.words), prediction(traced)
    if kind == OBJECT:
        if traced.box is not None:
            return None
        return "The words denote an object and ask nothing, but they were answered as a question."
    if traced.box is not None:
        return "The words ask a question, but they were taken to denote an object."
    if kind is None or given in ANSWERS_OF[kind]:
        return None
    return f'The question asks for {kind}, which "{given}" is not.'


def _unlike_image(look: Look | None) -> str | None:
    if look is None or look.distance <= 1:
        return None
    return (
        "The image is unlike those that the model was trained on: it is "
        f"{look.distance:.1f} times as far from them as is usual at most."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
