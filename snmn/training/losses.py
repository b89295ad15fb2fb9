"""All losses of SNMN in one place (section 3.5 of the paper and the original's configuration).

Each is returned under its own name, already times its weight, so that their sum is what is
minimised and each can be logged.

Differences from the original, both off in the published configurations: without expert layouts,
training may begin held to one layout that is the same for all questions (``prior_layouts``); with
them, steps may be held to words of their kind in the sentence's order (``reading_order_weight``).
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.common.schedules import Staged
from snmn.common.vocabulary import MODULES
from snmn.network.heads import offsets_at
from snmn.network.model import SNMNOutput
from snmn.training.reading_order_loss import ReadingOrderLoss

UNKNOWN = -1  # an answer or a cell that nobody knows

SHARPEN_LOSS_TYPES = ("entropy", "max_prob")
# How the sharpen loss rises between the schedule's begin (0) and end (1). The original evaluated
# source text from its configuration (SHARPEN_LOSS_SCALING_FUNC); here a function has a name.
SHARPEN_SCALINGS = {
    "linear": lambda progress: progress,
    "quadratic": lambda progress: progress**2,
    "cosine": lambda progress: 0.5 - 0.5 * math.cos(math.pi * progress),
    "constant": lambda progress: 1.0,
}


class Targets(Protocol):
    """What the losses read of a batch; see `snmn.data.batch.Batch`."""

    question: Tensor  # [N,S]
    length: Tensor  # [N]
    answer: Tensor | None  # [N], -1 unknown
    layout: Tensor | None  # [N,T]
    next_read: Tensor | None  # [N,T], see `snmn.common.reading_order`
    words: Tensor | None  # [N,T,S] which words the layout's steps are to listen to
    box_cell: Tensor | None  # [N], -1 unknown
    box_offset: Tensor | None  # [N,4], in units of the grid


def module_entropy(probs: Tensor) -> Tensor:
    """Entropy of module probabilities [...,M] in nats: [...]."""
    return -(probs * torch.log(probs.clamp_min(1e-5))).sum(dim=-1)


def schedule_progress(step: int, begin: int, end: int) -> float:
    """0 before ``begin``, 1 after ``end``, linear in between (SHARPEN_SCHEDULE_*)."""
    if step < begin:
        return 0.0
    return 1.0 if step >= end else (step - begin) / (end - begin)


class SNMNLoss(nn.Module):
    """The weighted sum of losses that a configuration asks for.

    A weight of None switches a loss off. sharpen_begin and sharpen_end are training steps, and
    sharpen_scaling one of `SHARPEN_SCALINGS`. With prior_layouts [(step, layout), ...] the
    layouts of all questions are held to the one that is given for the step, as
    `layout_distribution` reads it for a model's ``module_names``, by their cross-entropy with it.
    Its weight is prior_weight until the step prior_begin and falls to 0 at prior_end.

    A batch gives the losses that it has labels for, so the batches of a joint model's two tasks
    each give their own, and unlabelled ones none but those that need no label.
    """

    def __init__(
        self,
        *,
        answer_weight: float | None = 1.0,
        layout_weight: float | None = None,
        cell_weight: float | None = None,
        offset_weight: float | None = None,
        reconstruction_weight: float | None = None,
        reading_order_weight: float | None = None,
        words_weight: float | None = None,
        sharpen_weight: float | None = None,
        sharpen_type: str = "entropy",
        sharpen_begin: int = 0,
        sharpen_end: int = 0,
        sharpen_scaling: str = "linear",
        prior_layouts: Sequence[tuple[int, str]] = (),
        prior_weight: float = 0.0,
        prior_begin: int = 0,
        prior_end: int = 0,
        weight_decay: float = 0.0,
        module_names: Sequence[str] = MODULES,
    ):
        super().__init__()
        if sharpen_type not in SHARPEN_LOSS_TYPES:
            raise ValueError(f"sharpen_type must be one of {SHARPEN_LOSS_TYPES}")
        if sharpen_scaling not in SHARPEN_SCALINGS:
            raise ValueError(f"sharpen_scaling must be one of {', '.join(SHARPEN_SCALINGS)}")
        self.sharpen_scaling = SHARPEN_SCALINGS[sharpen_scaling]
        self.answer_weight, self.layout_weight = answer_weight, layout_weight
        self.cell_weight, self.offset_weight = cell_weight, offset_weight
        self.reconstruction_weight = reconstruction_weight
        self.reading_order_weight = reading_order_weight
        self.reading_order = ReadingOrderLoss()
        self.words_weight = words_weight
        self.sharpen_weight, self.sharpen_type = sharpen_weight, sharpen_type
        self.sharpen_begin, self.sharpen_end = sharpen_begin, sharpen_end
        self.weight_decay = weight_decay
        self.prior_weight, self.prior_begin, self.prior_end = prior_weight, prior_begin, prior_end
        priors = [layout_distribution(layout, module_names) for _, layout in prior_layouts]
        self.register_buffer("priors", torch.stack(priors) if priors else None, persistent=False)
        places = [(step, place) for place, (step, _) in enumerate(prior_layouts)]
        self.prior_places = Staged(places) if places else None  # in ``priors``

    def forward(
        self, output: SNMNOutput, batch: Targets, model: nn.Module, step: int
    ) -> dict[str, Tensor]:
        """Losses by name: answer, layout, cell, offset, reconstruction, words, reading_order,
        sharpen, prior, l2.

        ``step`` is the number of training iterations done before.
        """
        losses = {}
        if self.answer_weight is not None and batch.answer is not None:
            losses["answer"] = self.answer_weight * known_cross_entropy(
                output.answer_logits, batch.answer
            )
        losses |= self.of_reading(output, batch)
        if self.cell_weight is not None and batch.box_cell is not None:
            losses["cell"] = self.cell_weight * known_cross_entropy(
                output.cell_scores, batch.box_cell
            )
        if self.offset_weight is not None and batch.box_cell is not None:
            known = batch.box_cell != UNKNOWN
            predicted = offsets_at(output.box_offsets, batch.box_cell.clamp_min(0))
            # Unknown boxes have no error. Left out by their index, the host would have to wait
            # until the device has counted the others.
            target = torch.where(known[:, None], batch.box_offset, predicted.detach())
            errors = F.mse_loss(predicted, target, reduction="none").mean(dim=1)  # [N]
            losses["offset"] = self.offset_weight * errors.sum() / known.sum().clamp_min(1)
        if self.reconstruction_weight is not None:
            losses["reconstruction"] = self.reconstruction_weight * reconstruction_loss(
                output.reconstruction_logits, batch.question, batch.length
            )
        if self.words_weight is not None and batch.words is not None:
            losses["words"] = self.words_weight * words_loss(output.word_logits, batch.words)
        if self.sharpen_weight is not None:
            progress = schedule_progress(step, self.sharpen_begin, self.sharpen_end)
            scale = self.sharpen_scaling(progress)
            losses["sharpen"] = self.sharpen_weight * scale * self._sharpness(output.module_probs)
        if self.priors is not None:
            scale = 1 - schedule_progress(step, self.prior_begin, self.prior_end)
            if scale:
                distance = self._from_prior(output.module_logits, step)
                losses["prior"] = self.prior_weight * scale * distance
        if self.weight_decay:
            losses["l2"] = self.weight_decay * l2_regularisation(model)
        return losses

    def of_reading(self, output: SNMNOutput, batch: Targets) -> dict[str, Tensor]:
        """Those of what is read of a question, by name: layout, reading_order."""
        losses = {}
        if self.layout_weight is not None and batch.layout is not None:
            # Averaged over those that have a layout, however few: each counts as ever.
            losses["layout"] = self.layout_weight * known_cross_entropy(
                output.module_logits.flatten(0, 1), batch.layout.flatten()
            )
        if self.reading_order_weight is not None and batch.next_read is not None:
            losses["reading_order"] = self.reading_order_weight * self.reading_order(
                output.question_attention, batch.question, batch.layout, batch.next_read
            )
        return losses

    def _from_prior(self, logits: Tensor, step: int) -> Tensor:
        """Cross-entropy of all layouts, logits [N,T,M], with the prior of a training step."""
        prior = self.priors[self.prior_places.at(step)]  # [T,M]
        return F.cross_entropy(logits.flatten(0, 1), prior.repeat(len(logits), 1))

    def _sharpness(self, probs: Tensor) -> Tensor:
        if self.sharpen_type == "entropy":
            return module_entropy(probs).mean()
        return (1 - probs.amax(dim=-1)).mean()


def layout_distribution(layout: str, modules: Sequence[str] = MODULES) -> Tensor:
    """Module probabilities [T,M] of a layout in words, a word for each step.

    A word names a module, or several that share the step equally: "_Find _And/_Or _DescribeOne".
    ``modules`` are the M names in the order of a model's logits. Raises ValueError for a name that
    is none of them.
    """
    names = [word.split("/") for word in layout.split()]
    for name in (name for step in names for name in step):
        if name not in modules:
            raise ValueError(f"no module is called {name!r}; there are {', '.join(modules)}")
    probs = torch.zeros(len(names), len(modules))
    for row, step in zip(probs, names, strict=True):
        row[[modules.index(name) for name in step]] = 1 / len(step)
    return probs


def known_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy of logits [N,K] with what is known of truth [N]; 0 where nothing is."""
    total = F.cross_entropy(logits, truth, ignore_index=UNKNOWN, reduction="sum")
    return total / (truth != UNKNOWN).sum().clamp_min(1)


def reconstruction_loss(logits: Tensor, question: Tensor, length: Tensor) -> Tensor:
    """Mean cross-entropy over true words: logits [N,S,words], question [N,S], length [N]."""
    losses = F.cross_entropy(logits.flatten(0, 1), question.flatten(), reduction="none")
    positions = torch.arange(question.shape[1], device=length.device)
    mask = (positions < length[:, None]).to(losses.dtype)
    return (losses.view_as(mask) * mask).sum() / mask.sum()


def words_loss(logits: Tensor, aim: Tensor) -> Tensor:
    """Cross-entropy of word attention, logits [N,T,S], with aims [N,T,S].

    Each row of an aim sums to 1, or to 0 where a step has none.
    """
    # Padding has logits of -inf and is nobody's aim.
    log_attention = logits.log_softmax(dim=2).masked_fill(aim == 0, 0.0)
    return -(aim * log_attention).sum() / aim.any(dim=2).sum().clamp_min(1)


def l2_regularisation(model: nn.Module) -> Tensor:
    """Half the summed squares of dense and convolution kernels.

    Not of biases, LSTM kernels, embeddings, the initial control or the localisation affine,
    which the original does not regularise either.
    """
    kernels = [
        layer.weight for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    # Norms of many tensors at once, which no temporary copy of the kernels is made for.
    return 0.5 * torch.stack(torch._foreach_norm(kernels)).square().sum()
