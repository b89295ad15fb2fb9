"""How an SNMN is trained, validated and tested with Lightning.

Differences from the PyTorch adaptation: one step serves all three stages; the losses are those
of `snmn.losses`; validation and testing use the moving average of the weights (`snmn.ema`).
"""

import logging
import math
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from snmn.batch import Batch
from snmn.checkpoint import vocabularies
from snmn.losses import SNMNLoss, module_entropy
from snmn.metrics import AccuracyByGroup, layout_correct
from snmn.model import SNMNOutput, build_model
from snmn.optimiser import TFAdam


def quiet_lightning() -> None:
    """Keep Lightning's advertisements and advice on defaults out of the terminal."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for module in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=module)


def learning_rate_scale(step: int, *, schedule: str, warmup: int, max_steps: int) -> float:
    """Factor on the learning rate at a step, from 0: linear warm-up, then constant or cosine."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, max_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class SNMNTraining(pl.LightningModule):
    """The model with its losses, optimiser and metrics.

    ``model`` and ``loss`` are the arguments of `snmn.build_model` and of `SNMNLoss`; they are
    saved in every checkpoint, so that `snmn.load_model` needs nothing else. ``config`` is saved
    beside them for the reader. After ``test``, ``predictions`` holds one entry a batch.
    """

    def __init__(
        self,
        *,
        model: dict[str, Any],
        loss: dict[str, Any],
        learning_rate: float = 1e-4,
        schedule: str = "constant",
        warmup_steps: int = 0,
        attention_lr_scale: float = 1.0,
        max_steps: int = 200_000,
        question_types: Sequence[str] = (),
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        fixed = model.get("fixed_embedding")
        self.save_hyperparameters(logger=False)
        if fixed is not None:
            # A buffer of the state dict; the shape is enough to build the model again.
            self.hparams["model"] = model | {"fixed_embedding": torch.zeros_like(fixed)}
        self.model = build_model(**model)
        self.loss = SNMNLoss(**loss)
        accuracies = {
            f"{stage}_{kind}": AccuracyByGroup(groups)
            for stage in ("val", "test")
            for kind, groups in (("answer", question_types), ("layout", ()))
        }
        self.accuracies = torch.nn.ModuleDict(accuracies)
        self.predictions: list[dict[str, Tensor]] = []

    def forward(self, batch: Batch) -> SNMNOutput:
        """Run the model on a batch."""
        return self.model(batch.question, batch.length, batch.image_features)

    def shared_step(self, batch: Batch, stage: str) -> tuple[Tensor | None, SNMNOutput]:
        """The step of every stage: forward, losses where there are labels, logging.

        Returns the total loss (None when the batch is unlabelled) and the output.
        """
        output = self(batch)
        total = None
        if (batch.answer >= 0).all():
            losses = self.loss(output, batch, self.model, self.global_step)
            total = torch.stack(list(losses.values())).sum()
            named = {f"{stage}/loss_{name}": value for name, value in losses.items()}
            shown = stage == "train"
            options = {"batch_size": len(batch), "on_step": shown, "on_epoch": not shown}
            self.log_dict(named, **options)
            self.log(f"{stage}/loss", total, prog_bar=shown, **options)
        return total, output

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One update's loss."""
        loss, output = self.shared_step(batch, "train")
        correct = output.answer_logits.argmax(dim=1) == batch.answer
        self.log("train/accuracy", correct.float().mean(), prog_bar=True, batch_size=len(batch))
        self.log("train/entropy", module_entropy(output.module_probs).mean())
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Losses and accuracies of a validation batch."""
        _, output = self.shared_step(batch, "val")
        self._count(batch, output, "val")

    def test_step(self, batch: Batch, index: int) -> None:
        """The same for a test batch; predictions are kept."""
        _, output = self.shared_step(batch, "test")
        self._count(batch, output, "test")
        confidence, predicted = output.answer_logits.softmax(dim=1).max(dim=1)
        self.predictions.append(
            {
                "question_index": batch.question_index.cpu(),
                "predicted": predicted.cpu(),
                "confidence": confidence.cpu(),
                "layout": output.module_logits.argmax(dim=-1).cpu(),
            }
        )

    def _count(self, batch: Batch, output: SNMNOutput, stage: str) -> None:
        labelled = batch.answer >= 0
        correct = output.answer_logits.argmax(dim=1) == batch.answer
        self.accuracies[f"{stage}_answer"].update(correct[labelled], batch.question_type[labelled])
        if batch.layout is not None:
            right = layout_correct(output.module_logits, batch.layout)
            self.accuracies[f"{stage}_layout"].update(right)

    def _log_accuracies(self, stage: str) -> None:
        for kind in ("answer", "layout"):
            metric = self.accuracies[f"{stage}_{kind}"]
            for group, value in metric.compute().items():
                name = f"{stage}/{kind}_accuracy"
                overall = group == "all"
                self.log(name if overall else f"{name}_{group}", value, prog_bar=overall)
            metric.reset()

    def on_fit_start(self) -> None:
        """Take the features' centre and scale from training images, unless resuming."""
        if self.model.knowledge_base.normalize_features and self.global_step == 0:
            self.model.knowledge_base.fit_normalization(self.trainer.datamodule.sample_features())

    def on_validation_epoch_end(self) -> None:
        """Log accuracies, overall and by question type."""
        self._log_accuracies("val")

    def on_test_epoch_start(self) -> None:
        """Forget the predictions of an earlier test."""
        self.predictions = []

    def on_test_epoch_end(self) -> None:
        """Log accuracies, overall and by question type."""
        self._log_accuracies("test")

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam in TensorFlow's convention, with the schedule stepped after each update."""
        h = self.hparams
        scores = [layer.weight for layer in self.model.nmn.attention_scores()]
        rest = [p for p in self.model.parameters() if not any(p is score for score in scores)]
        groups = [
            {"params": rest},
            {"params": scores, "lr": h.learning_rate * h.attention_lr_scale},
        ]
        optimiser = TFAdam(groups, lr=h.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: learning_rate_scale(
                step, schedule=h.schedule, warmup=h.warmup_steps, max_steps=h.max_steps
            ),
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint describe itself."""
        checkpoint["vocabularies"] = vocabularies()
