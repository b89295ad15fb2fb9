"""Exponential moving average of the weights, which is what the published results test.

Differences from the PyTorch adaptation: the average starts from the model's own weights and
follows each optimiser step, as in the original (EMA_DECAY 0.999 of every parameter).
"""

from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from torch import Tensor


class ExponentialMovingAverage(pl.Callback):
    """Averages the parameters of ``pl_module.model`` and validates and tests with the average.

    Checkpoints hold the average as ``ema_state_dict``, by parameter name, beside the raw weights.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._raw: list[Tensor] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start from the model's own weights."""
        if not self.average:
            self.average = {
                name: parameter.detach().clone()
                for name, parameter in pl_module.model.named_parameters()
            }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow every optimiser step, however many a training step makes."""
        for name, parameter in pl_module.model.named_parameters():
            self.average[name] = self.average[name].to(parameter.device)
        for optimiser in trainer.optimizers:
            optimiser.register_step_post_hook(lambda *_: self.update(pl_module.model))

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """average <- decay * average + (1 - decay) * weights."""
        torch._foreach_lerp_(list(self.average.values()), list(model.parameters()), 1 - self.decay)

    @contextmanager
    def applied(self, model: torch.nn.Module):
        """Within the context the model's parameters are the averaged ones."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap_back(model)

    @torch.no_grad()
    def _swap(self, model: torch.nn.Module) -> None:
        self._raw = [parameter.detach().clone() for parameter in model.parameters()]
        torch._foreach_copy_(list(model.parameters()), list(self.average.values()))

    @torch.no_grad()
    def _swap_back(self, model: torch.nn.Module) -> None:
        torch._foreach_copy_(list(model.parameters()), self._raw)
        self._raw = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        self._swap(pl_module.model)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on training the raw weights."""
        self._swap_back(pl_module.model)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Never leave the average in the place of the weights, not for a last checkpoint."""
        if self._raw is not None:
            self._swap_back(pl_module.model)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict
    ) -> None:
        """Add the average to the checkpoint."""
        checkpoint["ema_state_dict"] = dict(self.average)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict
    ) -> None:
        """Resume the average."""
        self.average = dict(checkpoint["ema_state_dict"])
