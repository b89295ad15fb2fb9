"""The training loop of CellNet: resumable, and the same from the same seed."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from clevr_prep.pretraining.data import AugmentedSceneCells, batches
from clevr_prep.pretraining.evaluate import normalise
from clevr_prep.pretraining.loss import cell_losses, total
from snmn.backbones.base import BackboneError
from snmn.backbones.cellnet import STAGES, CellNet
from snmn.storage.torch_file import TorchFileError, read_torch_file, write_torch_file

WARM_UP = 0.03
FINAL_LR = 0.01
MAX_NORM = 5.0
EMA_DECAY = 0.998


def average_weights(averages: list[Tensor], values: list[Tensor], updates: Tensor | int) -> None:
    """Move averages towards values in place, faster at first so that the start is forgotten."""
    decay = min(EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    torch._foreach_lerp_(averages, values, 1 - decay)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over the first 3 % of steps, then half a cosine down to 1 %."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * progress))


class TrainingRun:
    """Training from start or checkpoint to the last step; iterate over it for the losses.

    Args:
        pairs: (image file, scene) to train on.
        folder: gets checkpoint.pt and log.csv; a checkpoint there is continued.
        steps: total optimiser steps.
        batch_size: images a step.
        lr: highest learning rate of AdamW.
        weight_decay: on convolution kernels only.
        seed: for initial weights, order and augmentation.
        mirror: flip half of the images.
        bfloat16: run convolutions in bfloat16.
        workers: decoding processes.
        every: steps between checkpoints.
        stages: size of the network, see :class:`~snmn.backbones.cellnet.CellNetTrunk`.

    Attributes:
        step: steps done.
        average: CellNet with the moving average of the weights.
        settings: what the result depends on.

    Raises:
        BackboneError: the folder's checkpoint is of a run with other settings, or damaged.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, dict]],
        *,
        folder: Path,
        steps: int,
        batch_size: int,
        lr: float,
        weight_decay: float,
        seed: int = 0,
        mirror: bool = True,
        bfloat16: bool = False,
        workers: int = 0,
        every: int = 500,
        stages: tuple[tuple[int, int], ...] = STAGES,
    ):
        self.settings = {
            "steps": steps,
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "seed": seed,
            "mirror": mirror,
            "precision": "bfloat16" if bfloat16 else "float32",
        }
        self.folder, self.workers, self.every = folder, workers, every
        self.data = AugmentedSceneCells(pairs, seed=seed, mirror=mirror)
        torch.manual_seed(seed)
        self.network = CellNet(stages=stages).to(memory_format=torch.channels_last)
        self._averaged = AveragedModel(self.network, multi_avg_fn=average_weights)
        kernels, others = [], []
        for name, parameter in self.network.named_parameters():
            kernel = parameter.ndim == 4 and not name.endswith("position")
            (kernels if kernel else others).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [{"params": kernels, "weight_decay": weight_decay}, {"params": others}],
            lr=lr,
            weight_decay=0.0,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: learning_rate_factor(step, steps)
        )
        self.step = 0
        self._parts = {
            "network": self.network,
            "average": self._averaged,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        if self._checkpoint.exists():
            self._resume()

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def average(self) -> CellNet:
        """Averaged weights with the current batch statistics."""
        return self._averaged.module

    def _resume(self) -> None:
        try:
            state = read_torch_file(self._checkpoint)
            settings, self.step = state["settings"], state["step"]
        except (TorchFileError, KeyError, TypeError) as error:
            raise BackboneError(f"{self._checkpoint} is damaged: {error}") from error
        if settings != self.settings:
            raise BackboneError(
                f"{self._checkpoint} is of a run with {settings}; choose another --out"
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    def _save(self) -> None:
        state = {"settings": self.settings, "step": self.step}
        state |= {name: part.state_dict() for name, part in self._parts.items()}
        write_torch_file(self._checkpoint, state)

    def _log(self, losses: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "lr", *losses])
            rate = self.optimiser.param_groups[0]["lr"]
            writer.writerow(
                [self.step, f"{rate:.3g}", *(f"{loss:.4f}" for loss in losses.values())]
            )

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Do the remaining steps; yields each step's loss by head."""
        steps, batch_size = self.settings["steps"], self.settings["batch_size"]
        loader = DataLoader(
            self.data,
            batch_sampler=list(batches(self.step, steps, batch_size)),
            num_workers=self.workers,
            prefetch_factor=8 if self.workers else None,
        )
        bfloat16 = self.settings["precision"] == "bfloat16"
        recent: dict[str, float] = {}
        for pixels, targets in loader:
            self.network.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                features = self.network.trunk(normalise(pixels))
                outputs = self.network.predict(features)
            losses = cell_losses(features, outputs, targets)
            self.optimiser.zero_grad(set_to_none=True)
            total(losses).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_NORM)
            self.optimiser.step()
            self.schedule.step()
            self._averaged.update_parameters(self.network)
            self.step += 1
            recent = {
                name: 0.98 * recent.get(name, loss.item()) + 0.02 * loss.item()
                for name, loss in losses.items()
            }
            if self.step % self.every == 0 or self.step == steps:
                self._save()
                self._log(recent)
            yield recent
