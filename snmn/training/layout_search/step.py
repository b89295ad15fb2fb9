"""A training step under the programs of a search, which learns from the answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from snmn.data.batch import Batch
from snmn.network.intervention import Intervention
from snmn.network.model import SNMN, SNMNOutput
from snmn.training.layout_search.batches import aims, answer_losses, decisions, questions
from snmn.training.layout_search.search import LayoutSearch


def searching_step(
    model: SNMN,
    search: LayoutSearch,
    batch: Batch,
    step: int,
    *,
    own: bool,
    learn: Callable[[Batch, Intervention | None], tuple[Tensor, SNMNOutput]],
) -> tuple[Tensor, SNMNOutput]:
    """Choose programs for a batch, try some, and learn under the others.

    ``learn`` gives loss and output of a batch under an intervention; with ``own`` the model's own
    decisions run instead, and are still held to the programs.
    """
    asked, task, steps = questions(batch), batch.task, model.controller.num_steps
    learning, trying = search.choose(asked, step, task=task)
    if any(trying):
        tried = decisions(batch, trying, steps)
        with torch.no_grad():
            output = model(batch.question, batch.length, batch.image_features, tried)
        losses, answers = answer_losses(batch, output)
        search.record(asked, trying, losses, answers, task=task, tried=True)
    decided = decisions(batch, learning, steps)
    loss, output = learn(aims(batch, learning, decided), None if own else decided)
    losses, answers = answer_losses(batch, output)
    search.record(asked, learning, losses, answers, task=task, tried=False)
    return loss, output
