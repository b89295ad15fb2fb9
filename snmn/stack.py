"""The differentiable stack of attention maps and its pointer (section 3.4 of the paper).

A map is [N,P] raw logits over P = H * W cells, the stack [N,L,P], the pointer [N,L] a
distribution over the stack's places. Reading and writing are sums weighted by the pointer;
moving shifts it by one place.

Difference from the two earlier codebases: shifts are products with an [L,L] matrix, so any
stack length works, including 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def read(maps: Tensor, weights: Tensor) -> Tensor:
    """Read maps [N,L,P] with K sets of place weights [N,K,L]: [N,K,P]."""
    return torch.bmm(weights, maps)


class StackPointer(nn.Module):
    """Moves and sharpens the stack pointer.

    With ``guarded`` (GUARD_STACK_PTR), weight that would leave the stack stays at its end;
    without, it is lost. ``hard_sharpen`` (USE_HARD_SHARPEN) makes the pointer one-hot after each
    step, otherwise it becomes softmax(pointer / temperature).
    """

    def __init__(
        self,
        *,
        length: int,
        guarded: bool = True,
        hard_sharpen: bool = True,
        temperature: float = 0.2,
    ):
        super().__init__()
        if length < 1:
            raise ValueError(f"the stack needs at least one place, not {length}")
        self.length, self.hard_sharpen, self.temperature = length, hard_sharpen, temperature
        up = torch.diag(torch.ones(length - 1), 1)
        down = up.t().clone()
        if guarded:
            up[-1, -1] = 1.0
            down[0, 0] = 1.0
        self.register_buffer("shift_up", up, persistent=False)
        self.register_buffer("shift_down", down, persistent=False)

    def initial(self, N: int) -> Tensor:
        """The pointer of an empty stack: one-hot at place 0, [N,L]."""
        first = torch.zeros(N, dtype=torch.long, device=self.shift_up.device)
        return F.one_hot(first, self.length).to(self.shift_up.dtype)

    def up(self, pointer: Tensor) -> Tensor:
        """Move towards the top, as a push does: [N,L] -> [N,L]."""
        return pointer @ self.shift_up

    def down(self, pointer: Tensor) -> Tensor:
        """Move towards the bottom, as a pop does: [N,L] -> [N,L]."""
        return pointer @ self.shift_down

    def sharpen(self, pointer: Tensor) -> Tensor:
        """Make a mixed pointer decided again: [N,L] -> [N,L]."""
        if self.hard_sharpen:
            return F.one_hot(pointer.argmax(dim=1), self.length).to(pointer.dtype)
        return torch.softmax(pointer / self.temperature, dim=1)
