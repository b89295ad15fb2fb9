"""How an SNMN is trained, validated and tested with Lightning.

Differences from the PyTorch adaptation: one step serves all three stages; the losses are those
of `snmn.training.losses`; validation and testing use the moving average of the weights
(`snmn.training.ema`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from snmn.checkpoints.checkpoint import code_version, plain_arguments, vocabularies
from snmn.checkpoints.checks import check_features, naming
from snmn.common.boxes import decode_boxes
from snmn.data.batch import Batch
from snmn.network.intervention import Intervention
from snmn.network.model import SNMNOutput, build_model
from snmn.storage.typed_settings import ConfigError
from snmn.training.layout_search.search import LayoutSearch
from snmn.training.layout_search.step import searching_step
from snmn.training.losses import SNMNLoss, module_entropy
from snmn.training.metrics import NamedMeans
from snmn.training.nonfinite_check import LossWatch, check_weights
from snmn.training.optimiser import build_optimiser, learning_rate_scale
from snmn.training.resuming.run_identity import data_identity
from snmn.training.stage_metrics import StageMetrics, task_name

# Tells a step's random numbers from those of its batch, which have the same seed.
_NOISE = 2


class SNMNTraining(pl.LightningModule):
    """The model with its losses, optimiser and metrics.

    ``model`` and ``loss`` are the arguments of `snmn.build_model` and of `SNMNLoss`; they are
    saved in every checkpoint, so that `snmn.load_model` needs nothing else. ``config`` is saved
    beside them for the reader. ``seed`` is that of dropout and other noise in training: what a step
    draws depends on it and on the step alone, so that training resumes exactly. ``question_types``
    and ``expression_types`` name the groups of accuracy and precision. After ``test``,
    ``predictions`` holds a list of batches for each task.

    With ``layout_search`` (two training steps) questions train under the programs of a
    `LayoutSearch`, which tries some from the first step on; from the second on the model's own
    decisions run, still held to them.

    A model with both tasks makes two updates an iteration, one from a vqa batch and then one from a
    loc batch, as in the original; both are made by one optimiser. Whatever is counted in steps
    (schedules, ``max_steps``, the step in logs and file names) counts iterations. What both tasks
    have is logged under two names, with _vqa and _loc at their ends.
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
        seed: int = 0,
        question_types: Sequence[str] = (),
        expression_types: Sequence[str] = (),
        layout_search: tuple[int, int] | None = None,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        fixed = model.get("fixed_embedding")
        self.save_hyperparameters(logger=False)
        self.hparams["model"] = plain_arguments(model)
        if fixed is not None:
            # A buffer of the state dict; the shape is enough to build the model again.
            self.hparams["model"]["fixed_embedding"] = torch.zeros_like(fixed)
        self.model = build_model(**model)
        self.loss = SNMNLoss(**loss, module_names=self.model.module_names)
        tasks = (("vqa", self.model.answer_head), ("loc", self.model.cell_scores))
        self.tasks = tuple(task for task, head in tasks if head is not None)
        self.search = None
        if layout_search is not None:
            self.search = LayoutSearch(
                most_steps=self.model.controller.num_steps,
                begin=layout_search[0],
                seed=seed,
                teacher=self.tasks[0],
            )
        self.metrics = torch.nn.ModuleDict(
            {
                stage: StageMetrics(self.tasks, question_types, expression_types)
                for stage in ("val", "test")
            }
        )
        self.predictions: dict[str, list[dict[str, Tensor]]] = {}
        self.log_is_due = False
        self._means = NamedMeans()
        self._watch = LossWatch()

    @property
    def iteration(self) -> int:
        """Training iterations done; an iteration makes one update for each task."""
        return self.global_step // len(self.tasks)

    def forward(self, batch: Batch, intervention: Intervention | None = None) -> SNMNOutput:
        """Run the model on a batch."""
        return self.model(batch.question, batch.length, batch.image_features, intervention)

    def shared_step(
        self, batch: Batch, stage: str, intervention: Intervention | None = None
    ) -> tuple[Tensor, SNMNOutput]:
        """The step of every stage: forward, losses for which there are labels, logging.

        Returns the total loss and the output.
        """
        output = self(batch, intervention)
        if self.search is not None and stage != "train":
            # Experts' layouts are counted there, but are no aim.
            batch = replace(batch, layout=None)
        losses = self.loss(output, batch, self.model, self.iteration)
        total = sum(losses.values(), start=output.memory.new_zeros(()))
        if stage != "train" or self.log_is_due:
            for name, value in losses.items():
                self._log_batch(f"{stage}/loss_{name}", value, batch)
            self._log_batch(f"{stage}/loss", total, batch, shown=stage == "train")
        return total, output

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Seed what the step draws, and see whether loggers show it: telling them is slow."""
        interval = self.trainer.log_every_n_steps // len(self.tasks)
        self.log_is_due = (self.iteration + 1) % interval == 0
        key = [self.hparams.seed, _NOISE, self.global_rank, self.global_step]
        noise = int(np.random.SeedSequence(key).generate_state(1)[0])
        # Seeding all devices takes a hundred times longer.
        on_cpu = self.device.type == "cpu"
        (torch.default_generator if on_cpu else torch).manual_seed(noise)

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """One update's loss, and the module probabilities for callbacks.

        Raises NonFiniteError for a loss that is not a number.
        """
        if self.search is None:
            loss, output = self.shared_step(batch, "train")
        else:
            loss, output = searching_step(
                self.model,
                self.search,
                batch,
                self.iteration,
                own=self.iteration >= self.hparams.layout_search[1],
                learn=lambda aim, decided: self.shared_step(aim, "train", decided),
            )
        self._watch.add(self.iteration + 1, loss, batch)
        if self.log_is_due or loss.device.type == "cpu":
            self._watch.check(self._folder)
        if self.log_is_due:
            self._log_step(batch, output)
        self._log_iteration(done=self.global_step + 1)
        return {"loss": loss, "module_probs": output.module_probs.detach()}

    def _log_step(self, batch: Batch, output: SNMNOutput) -> None:
        """What a training batch shows beside its losses."""
        self.log("train/learning_rate", self.lr_schedulers().get_last_lr()[0])
        if batch.task == "vqa":
            name, right = "accuracy", output.answer_logits.argmax(dim=1) == batch.answer
        else:
            name, right = "cell_accuracy", output.cell_scores.argmax(dim=1) == batch.box_cell
        self._log_batch(f"train/{name}", right.float().mean(), batch, shown=True)
        self._log_batch("train/entropy", module_entropy(output.module_probs).mean(), batch)

    @property
    def _folder(self) -> Path | None:
        """Where checkpoints are written."""
        folder = getattr(self.trainer.checkpoint_callback, "dirpath", None)
        return Path(folder) if folder else None

    def validation_step(self, batch: Batch, index: int) -> None:
        """Losses and accuracies of a validation batch."""
        _, output = self.shared_step(batch, "val")
        self._count(batch, output, "val")

    def test_step(self, batch: Batch, index: int) -> dict[str, SNMNOutput]:
        """The same for a test batch; predictions are kept, and callbacks are given the output."""
        _, output = self.shared_step(batch, "test")
        self._count(batch, output, "test")
        kept = {
            "question_index": batch.question_index,
            "layout": output.module_logits.argmax(dim=-1),
        }
        if batch.task == "vqa":
            scores = output.answer_logits
        else:
            scores = output.cell_scores
            kept["box"] = self.predicted_boxes(batch, output)
        kept["confidence"], kept["predicted"] = scores.softmax(dim=1).max(dim=1)
        kept = {name: value.cpu() for name, value in kept.items()}
        self.predictions.setdefault(batch.task, []).append(kept)
        return {"output": output}

    def predicted_boxes(self, batch: Batch, output: SNMNOutput) -> Tensor:
        """Boxes [N,4] in pixels, at the best cell of each image."""
        cell, grid = output.cell_scores.argmax(dim=1), output.image_attention.shape[2:]
        return decode_boxes(cell, output.box_offset, batch.image_size, grid)

    def _count(self, batch: Batch, output: SNMNOutput, stage: str) -> None:
        boxes = self.predicted_boxes(batch, output) if batch.task == "loc" else None
        self.metrics[stage].update(batch, output, boxes)

    def _log_batch(self, name: str, value: Tensor, batch: Batch, *, shown: bool = False) -> None:
        """Log a value of one batch; in a joint model under the name of its task.

        In training it is the mean over processes, else it becomes one over all batches.
        """
        name = self.task_name(name, batch.task)
        if self.trainer.training:
            value = self.trainer.strategy.reduce(value.detach().clone(), reduce_op="mean")
            # Lightning reads what its bar shows after every batch, also of batches that log
            # nothing: from the host, or it would wait for the device each time.
            self.log(name, value.cpu(), prog_bar=shown)
        else:
            self._means.add(name, value, len(batch))

    def task_name(self, name: str, task: str) -> str:
        """What a value of a task is called in logs."""
        return task_name(name, task, self.tasks)

    def _log_iteration(self, done: int) -> None:
        """Tell loggers and checkpoint callbacks what to call the step, from updates done."""
        # A number would be copied to the device, and the copy waited for.
        self.log("step", torch.tensor(float(done // len(self.tasks))))

    def _log_metrics(self, stage: str) -> None:
        self.log_dict(self._means.compute())
        values, score = self.metrics[stage].compute()
        for name, value in values.items():
            self.log(f"{stage}/{name}", value)
        if score is not None:
            self.log(f"{stage}/score", score, prog_bar=True)

    def on_fit_start(self) -> None:
        """Take the features' centre and scale from training images unless a checkpoint had them.

        Raises ConfigError for a search for layouts in several processes.
        """
        if self.search is not None and self.trainer.world_size > 1:
            raise ConfigError(
                "TRAIN.LAYOUT_SEARCH counts the answers of one process: train on one device"
            )
        knowledge_base = self.model.knowledge_base
        if knowledge_base.normalize_features and not knowledge_base.feature_centre.any():
            knowledge_base.fit_normalization(self.trainer.datamodule.sample_features())

    def on_validation_epoch_end(self) -> None:
        """Log accuracies, overall and by question type."""
        self._log_metrics("val")
        self._log_iteration(done=self.global_step)

    def on_test_epoch_start(self) -> None:
        """Forget the predictions of an earlier test."""
        self.predictions = {}

    def on_test_epoch_end(self) -> None:
        """Log accuracies, overall and by question type."""
        self._log_metrics("test")

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam in TensorFlow's convention, with the schedule stepped after each update."""
        h = self.hparams
        optimiser = build_optimiser(
            self.model, learning_rate=h.learning_rate, attention_lr_scale=h.attention_lr_scale
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda update: learning_rate_scale(
                update // len(self.tasks),
                schedule=h.schedule,
                warmup=h.warmup_steps,
                max_steps=h.max_steps,
            ),
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint describe itself, but refuse to keep what is not worth it."""
        self._watch.check(self._folder)
        check_weights(self.model, self.iteration, self._folder)
        checkpoint["vocabularies"] = vocabularies(self.model.module_names)
        checkpoint["code_version"] = code_version()
        if self.search is not None:
            checkpoint["layout_search"] = self.search.state()
        if self.trainer.datamodule is not None:
            checkpoint |= data_identity(self.trainer.datamodule)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the search for layouts; refuse features of another kind.

        Raises CheckpointError.
        """
        if self.search is not None:
            with naming("the checkpoint to go on from"):
                self.search.load(checkpoint.get("layout_search"))
        if self._trainer is not None and self.trainer.datamodule is not None:
            check_features(checkpoint, self.trainer.datamodule.feature_identity())
