"""What loggers are told about training beside losses and accuracies."""

import time

import pytorch_lightning as pl
import torch
from torch import Tensor

from snmn.data.batch import Batch


class TrainingMonitor(pl.Callback):
    """Logs, whenever loggers are due:

    - ``modules/step0_Find`` and so on: the mean probability of each module at each step t, over the
      batch. As the probabilities of a step sum to 1, so do these.
    - ``train/gradient_norm``: of all gradients together, before they are clipped.
    - ``train/questions_per_second``: since loggers were last due, validation and saving left out.

    In a joint model the first two are logged for each task.
    """

    def __init__(self):
        self._questions = 0
        self._seconds = 0.0
        self._started: float | None = None
        self._task = ""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Begin to measure the time, unless the last batch left the clock running."""
        self._task = batch.task
        if self._started is None:
            self._started = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Log the norm of the gradients, which are not clipped yet."""
        if pl_module.log_is_due:
            gradients = [p.grad for p in pl_module.model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            pl_module.log(pl_module.task_name("train/gradient_norm", self._task), norm)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict[str, Tensor],
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Log module usage and speed."""
        self._questions += len(batch) * trainer.world_size
        if not pl_module.log_is_due:
            return
        usage = outputs["module_probs"].float().mean(dim=0)  # [N,T,M] -> [T,M]
        usage = trainer.strategy.reduce(usage, reduce_op="mean").tolist()
        usage_by_name = {
            pl_module.task_name(f"modules/step{t}{module}", batch.task): share
            for t, shares in enumerate(usage)
            for module, share in zip(pl_module.model.module_names, shares, strict=True)
        }
        # Past Lightning, which takes its time over each single value.
        step = -(-trainer.global_step // len(pl_module.tasks))
        for logger in trainer.loggers:
            logger.log_metrics(usage_by_name, step=step)
        if batch.task == pl_module.tasks[-1]:
            self._stop_clock()
            pl_module.log("train/questions_per_second", self._questions / self._seconds)
            self._questions, self._seconds = 0, 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation is no training time."""
        self._stop_clock()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict
    ) -> None:
        """Nor is writing checkpoints."""
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self._started is not None:
            self._seconds += time.perf_counter() - self._started
            self._started = None
