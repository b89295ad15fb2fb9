"""Adam with TensorFlow's epsilon, which the published hyper-parameters were tuned for.

TensorFlow adds epsilon to the square root of the uncorrected second moment, so at step t it
equals torch's Adam with epsilon / sqrt(1 - beta2^t). Parameters with tiny gradients, such as
biases of attention, drift by percents within five steps under the other convention.
"""

import math
from collections.abc import Callable

import torch


class TFAdam(torch.optim.Adam):
    """`torch.optim.Adam` with ``tf_eps`` in TensorFlow's convention; other arguments as there."""

    def __init__(self, params, *, lr: float, betas=(0.9, 0.999), tf_eps: float = 1e-8):
        super().__init__(params, lr=lr, betas=betas, fused=True)
        # Or else Lightning refuses to clip gradients in mixed precision, as a fused step may divide
        # by the loss scale itself. Where there is one, the scaler divides before clipping instead.
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            group.setdefault("tf_eps", tf_eps)

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Make one update; see `torch.optim.Optimizer.step`."""
        for group in self.param_groups:
            steps = (self.state[p]["step"] for p in group["params"] if "step" in self.state[p])
            coming = int(next(steps, 0)) + 1
            group["eps"] = group["tf_eps"] / math.sqrt(1 - group["betas"][1] ** coming)
        return super().step(closure)
