"""Losses that are no numbers, noticed in time and told with what is needed to look into them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from snmn.common.errors import UserError
from snmn.data.batch import Batch
from snmn.training.resuming.newest_checkpoint import newest_checkpoint


class NonFiniteError(UserError):
    """Training came to numbers that are none; the message is fit for a user."""


class LossWatch:
    """Remembers losses with their steps and questions until they are looked at.

    Looking at a loss waits for the device that computes it. On a CPU nothing is gained by
    waiting, so every loss is looked at at once.
    """

    def __init__(self):
        self._seen: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(self, step: int, loss: Tensor, batch: Batch) -> None:
        """Remember the loss of a batch at an iteration, from 1, and what the batch was about."""
        self._seen.append((step, loss.detach(), batch.question_index, batch.image))

    def check(self, folder: Path | None) -> None:
        """Raise NonFiniteError for the first loss since the last call that is not a number.

        ``folder`` is where the run's checkpoints are.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return
        finite = torch.stack([loss for _, loss, *_ in seen]).isfinite().tolist()
        for (step, loss, question_index, image), good in zip(seen, finite, strict=True):
            if not good:
                about = _questions(question_index, image)
                raise NonFiniteError(
                    f"the loss is {loss.item()} at step {step}, of {about}; {_way_out(folder)}"
                )


def check_weights(model: nn.Module, step: int, folder: Path | None) -> None:
    """Raise NonFiniteError for weights that are not numbers: they belong in no checkpoint."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise NonFiniteError(
                f"the weights {name} are not finite after step {step}; {_way_out(folder)}"
            )


def _questions(question_index: Tensor, image: Tensor) -> str:
    """What a batch is about: rows [N] of the imdb or, for questions in none, images [N]."""
    rows = question_index.tolist()
    if min(rows) >= 0:
        return f"questions {' '.join(map(str, rows))}"
    images = " ".join(map(str, dict.fromkeys(image.tolist())))
    return f"questions drawn for images {images}"


def _way_out(folder: Path | None) -> str:
    newest = newest_checkpoint(folder)
    if newest is None:
        return "there is no checkpoint yet: start again with a smaller TRAIN.SOLVER.LR"
    return f"the last good checkpoint is {newest}: go on from it with a smaller TRAIN.SOLVER.LR"
