"""Compares a model's steps with the truth while a test runs, by `explanation_measures`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from snmn.common.vocabulary import ANSWERS
from snmn.data.batch import Batch
from snmn.evaluation.discrete_layouts import run_discretely
from snmn.evaluation.explanation_measures import (
    Explanation,
    QuestionTruth,
    Reading,
    attended_objects,
)
from snmn.evaluation.forward_simulation import trace_quantities
from snmn.evaluation.last_maps import last_maps
from snmn.evaluation.marks import Look, Marker
from snmn.figures.trace import Trace, trace
from snmn.figures.trace_text import trace_text
from snmn.figures.verdicts import verdicts
from snmn.network.model import SNMNOutput

# Of an image's file name, a question_index and a grid (H, W).
Truths = Callable[[str, int, tuple[int, int]], QuestionTruth]

ATTENDED, ELSEWHERE, OTHERS = (
    "attended objects",
    "as many cells elsewhere",
    "as many cells of other objects",
)


class Explainer(pl.Callback):
    """Sums up an `Explanation` of each task, in ``explanations``, while Lightning tests.

    ``columns`` are for each task what is said of its questions one by one, by their rows in the
    imdb: the trace in words, the discrete program and what it gives, and the marks.

    Args:
        truths: for each task, where its truth comes from.
        marker: finds the marks of the model that is tested.
        seed: of the cells that are deleted for comparison.
        deleting: whether features are deleted, which takes most of the time.
    """

    def __init__(
        self,
        truths: Mapping[str, Truths],
        *,
        marker: Marker,
        seed: int = 0,
        deleting: bool = True,
    ):
        self.truths, self.marker, self.deleting = truths, marker, deleting
        self.explanations = {task: Explanation() for task in truths}
        self.columns: dict[str, dict[int, dict[str, str]]] = {task: {} for task in truths}
        self._rng = np.random.default_rng(seed)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: dict[str, SNMNOutput],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare every question of the batch."""
        imdb = trainer.datamodule.questions("test")[batch.task]
        output, explanation = outputs["output"], self.explanations[batch.task]
        grid = tuple(output.image_attention.shape[2:])
        boxes = pl_module.predicted_boxes(batch, output) if batch.task == "loc" else None
        again = run_discretely(
            pl_module.model, batch.question, batch.length, batch.image_features, output
        )
        other_boxes = pl_module.predicted_boxes(batch, again) if batch.task == "loc" else None
        by_layout = _by_layout(batch, output, boxes, again, other_boxes)
        looks = [self.marker.look(one.float().cpu().numpy()) for one in batch.image_features]
        each = len(batch) // len(looks)
        masks: dict[str, dict[int, np.ndarray]] = {ATTENDED: {}, ELSEWHERE: {}, OTHERS: {}}
        for n in range(len(batch)):
            row = int(batch.question_index[n])
            number, name = int(imdb.question_index[row]), imdb.filenames[int(batch.image[n])]
            truth = self.truths[batch.task](name, number, grid)
            box = None if boxes is None else boxes[n]
            traced = trace(output, n, batch.question[n], int(batch.length[n]), box=box)
            attention = np.stack([step.attention.ravel() for step in traced.steps])
            modules = [step.module for step in traced.steps]
            words = np.stack([step.words for step in traced.steps])
            reading = truth.read(modules, traced.words, words)
            explanation.add_steps(modules, attention, truth.cells, reading, grid)
            explanation.discrete.add_layout(modules, reading.layout)
            explanation.discrete.add_answer(*(column[n] for column in by_layout))
            explanation.add_program(
                reading.answer is not None, *_verdicts(reading, truth.cells, batch, output, n)
            )
            discrete = _prediction(again, other_boxes, n)
            self._judge(
                batch.task, traced, discrete, looks[n // each], by_layout[2][n], reading, row, name
            )
            for last in last_maps(traced, self.marker.answering):
                explanation.last_maps.add(last.ravel(), truth.cells, truth.asked, grid)
            if self.deleting:
                for what, mask in self._deletions(traced, truth.cells).items():
                    masks[what][n] = mask
                explanation.nothing_attended += n not in masks[ATTENDED]
        for what, by_question in masks.items():
            if by_question:
                for changed in _changes(pl_module, batch, output, by_question, grid):
                    explanation.add_deletion(what, changed)

    def _judge(
        self,
        task: str,
        traced: Trace,
        discrete: str | list[float],
        look: Look | None,
        right: bool | None,
        reading: Reading,
        row: int,
        image: str,
    ) -> None:
        """Count a question's marks, and keep what is said of it."""
        marks = self.marker.marks(traced, discrete, look)
        quantities = trace_quantities(traced, marks, look, self.marker.answering)
        self.explanations[task].trust.add(marks, quantities, traced.confidence, right, image)
        self.columns[task][row] = {
            "in_words": trace_text(traced),
            "program": reading.program,
            "program_gives": reading.given,
            "marks": " ".join(mark.name for mark in marks),
        }

    def _deletions(self, traced: Trace, cells: np.ndarray) -> dict[str, np.ndarray]:
        """What to delete of a question's image, by name: [P] bool each; see `last_maps`."""
        attended = np.zeros(len(cells), dtype=bool)
        for attention in last_maps(traced, self.marker.answering):
            attended |= attended_objects(attention.ravel(), cells)
        if not attended.any():
            return {}
        region = cells[attended].any(axis=0)
        masks = {ATTENDED: region}
        rest = np.flatnonzero(~region)
        others = [np.flatnonzero(cells[k] & ~region) for k in np.flatnonzero(~attended)]
        self._rng.shuffle(others)
        # Object after object, so that what is deleted of others is as whole as can be.
        other_cells = list(dict.fromkeys(np.concatenate(others).tolist())) if others else []
        for what, pool in (
            (ELSEWHERE, self._rng.permutation(rest)),
            (OTHERS, np.array(other_cells, dtype=int)),
        ):
            if len(pool) >= region.sum():
                masks[what] = np.zeros_like(region)
                masks[what][pool[: region.sum()]] = True
        return masks


def _verdicts(
    reading: Reading, cells: np.ndarray, batch: Batch, output: SNMNOutput, n: int
) -> tuple[bool, bool | None]:
    """Whether the discrete program gives what the model predicts, and what is true (if known)."""
    given = reading.answer
    if batch.task == "loc":
        if given is None:
            return False, False
        cell = int(output.cell_scores[n].argmax())
        return bool(cells[given, cell]), bool(reading.selected[-1][given])
    known = batch.answer is not None and batch.answer[n] >= 0
    right = given == ANSWERS[batch.answer[n]] if known else None
    return given == ANSWERS[output.answer_logits[n].argmax()], right


def _by_layout(
    batch: Batch,
    output: SNMNOutput,
    boxes: Tensor | None,
    again: SNMNOutput,
    other_boxes: Tensor | None,
) -> tuple[list[bool], list[bool | None], list[bool | None]]:
    """Of each question, with its layout made discrete: whether the prediction is the same as the
    mixture's, whether it is right, and whether the mixture's is; None where nobody knows.
    """
    same = _predicted(batch, again) == _predicted(batch, output)
    return same.tolist(), verdicts(batch, again, other_boxes), verdicts(batch, output, boxes)


def _prediction(output: SNMNOutput, boxes: Tensor | None, n: int) -> str | list[float]:
    """The answer to question ``n``, or its box in pixels."""
    return ANSWERS[output.answer_logits[n].argmax()] if boxes is None else boxes[n].tolist()


def _predicted(batch: Batch, output: SNMNOutput) -> Tensor:
    """The answer or the best cell of each question, [N]."""
    scores = output.cell_scores if batch.task == "loc" else output.answer_logits
    return scores.argmax(dim=1)


@torch.no_grad()
def _changes(
    module: Any,
    batch: Batch,
    output: SNMNOutput,
    masks: dict[int, np.ndarray],
    grid: tuple[int, int],
) -> list[bool]:
    """Whether each question's prediction is another once the masked features [P] are zero."""
    rows = torch.tensor(list(masks), device=batch.question.device)
    each = len(batch) // len(batch.image_features)
    kept = torch.from_numpy(~np.stack(list(masks.values()))).view(-1, *grid, 1)
    features = batch.image_features[rows // each] * kept.to(batch.image_features)
    again = module.model(batch.question[rows], batch.length[rows], features)
    return (_predicted(batch, output)[rows] != _predicted(batch, again)).tolist()
