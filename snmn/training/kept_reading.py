"""What a model read of questions before, kept while it learns to read others.

A trained model's modules fit the words that its controller listens to, and its answer head the
vectors that stand for whole questions. A controller that is taught further layouts from questions
alone, without images, would drift away from both. So it is held to what it did before, wherever
that was right: not in the paper, and off in the published configurations.
"""

import copy

import torch
from torch import Tensor

from snmn.network.controller import Control
from snmn.network.model import SNMN
from snmn.network.question_encoder import EncodedQuestion
from snmn.training.losses import Targets

_LEAST = 1e-6  # no attention counts as less


class KeptReading:
    """The question encoder and controller that a model has when this is made."""

    def __init__(self, model: SNMN):
        self._encoder, self._controller = (
            copy.deepcopy(part).eval().requires_grad_(False)
            for part in (model.question_encoder, model.controller)
        )

    def loss(self, encoded: EncodedQuestion, control: Control, batch: Targets) -> Tensor:
        """How far words and vectors are from before, in questions whose layout was right then.

        The divergence of the attention to words, summed over steps, and the squared distance of
        the vectors of whole questions; their sum, averaged over these questions, 0 without any.
        """
        self._encoder.to(batch.question.device)
        self._controller.to(batch.question.device)
        with torch.no_grad():
            before = self._encoder(batch.question, batch.length)
            earlier = self._controller(before)
        right = (earlier.module_logits.argmax(dim=2) == batch.layout).all(dim=1)  # [N]
        was = earlier.question_attention + _LEAST
        now = control.question_attention + _LEAST
        words = (was * (was.log() - now.log())).sum(dim=(1, 2))
        vectors = (encoded.summary - before.summary).square().sum(dim=1)
        return ((words + vectors) * right).sum() / right.sum().clamp_min(1)
