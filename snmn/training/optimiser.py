"""The optimiser and its schedule: Adam with TensorFlow's epsilon, as published.

TensorFlow adds epsilon to the square root of the uncorrected second moment, so at step t it
equals torch's Adam with epsilon / sqrt(1 - beta2^t). The published hyper-parameters were tuned for
it: parameters with tiny gradients, such as biases of attention, drift by percents within five steps
under the other convention.
"""

import math
from collections.abc import Callable

import torch

from snmn.network.model import SNMN


class TFAdam(torch.optim.Adam):
    """`torch.optim.Adam` with ``tf_eps`` in TensorFlow's convention; other arguments as there."""

    _updates: list[int] | None = None  # of each group, once they are known

    def __init__(self, params, *, lr: float, betas=(0.9, 0.999), tf_eps: float = 1e-8):
        super().__init__(params, lr=lr, betas=betas, fused=True)
        # Or else Lightning refuses to clip gradients in mixed precision, as a fused step may divide
        # by the loss scale itself. Where there is one, the scaler divides before clipping instead.
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            group.setdefault("tf_eps", tf_eps)

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a state; see `torch.optim.Optimizer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._updates = None

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Make one update; see `torch.optim.Optimizer.step`."""
        # Counted here: the parameters' own counts lie on the device, which would have to be waited
        # for at each step.
        if self._updates is None:
            self._updates = [self._updates_before(group) for group in self.param_groups]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()  # Gradients are there from now on.
        # Without any gradient a group has no update, nor do its parameters count one.
        moved = [any(p.grad is not None for p in group["params"]) for group in self.param_groups]
        coming = [updates + has for updates, has in zip(self._updates, moved, strict=True)]
        for group, update in zip(self.param_groups, coming, strict=True):
            if update:
                group["eps"] = group["tf_eps"] / math.sqrt(1 - group["betas"][1] ** update)
        # Once a plain Adam has been made in this process, its step runs hooks as well, which this
        # one's has run already: moving averages would take two steps at a time.
        adam = torch.optim.Adam.step
        (adam.__wrapped__ if getattr(adam, "hooked", False) else adam)(self)
        self._updates = coming
        return loss

    def _updates_before(self, group: dict) -> int:
        """How many updates the parameters of a group have had, as their state says."""
        steps = (self.state[p]["step"] for p in group["params"] if "step" in self.state[p])
        return int(next(steps, 0))


def build_optimiser(model: SNMN, *, learning_rate: float, attention_lr_scale: float) -> TFAdam:
    """The optimiser of a model; the weights that score cells have a learning rate of their own."""
    scores = [layer.weight for layer in model.nmn.attention_scores()]
    rest = [p for p in model.parameters() if not any(p is score for score in scores)]
    groups = [
        {"params": rest},
        {"params": scores, "lr": learning_rate * attention_lr_scale},
    ]
    return TFAdam(groups, lr=learning_rate)


def learning_rate_scale(step: int, *, schedule: str, warmup: int, max_steps: int) -> float:
    """Factor on the learning rate at a step, from 0: linear warm-up, then constant or cosine."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, max_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
