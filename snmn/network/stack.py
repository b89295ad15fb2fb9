"""The differentiable stack of attention maps and its pointer (section 3.4 of the paper).

A map is [N,P] raw logits over P = H * W cells, the stack [N,L,P], the pointer [N,L] a
distribution over the stack's places. Reading and writing are sums weighted by the pointer;
moving shifts it by one place.

Difference from the two earlier codebases: shifts are products with an [L,L] matrix, so any
stack length works, including 1.
"""

from enum import IntEnum

import torch
from torch import Tensor, nn


class Place(IntEnum):
    """Places of the stack, relative to the pointer of a step's incoming state."""

    TOP = 0  # where the pointer is
    BELOW = 1  # after a pop
    ABOVE = 2  # after a push
    BACK = 3  # after a push and a pop: the top again, but for the stack's ends
    LEFT_OVER = 4  # above, less what is written at the place after the pop


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
        shifts = {
            Place.TOP: torch.eye(length),
            Place.BELOW: down,
            Place.ABOVE: up,
            Place.BACK: up @ down,
            Place.LEFT_OVER: up,
        }
        ordered = torch.cat([shifts[place] for place in sorted(shifts)], dim=1)
        self.register_buffer("shifts", ordered, persistent=False)  # [L,5L]
        self.register_buffer("one_hot", torch.eye(length), persistent=False)

    def initial(self, N: int) -> Tensor:
        """The pointer of an empty stack: one-hot at place 0, [N,L]."""
        return self.one_hot[:1].expand(N, -1)

    def places(self, pointer: Tensor) -> Tensor:
        """Where modules may read and write with this pointer [N,L]: [N,5,L], as `Place` names."""
        places = (pointer @ self.shifts).unflatten(-1, (-1, self.length))  # [N,5,L]
        places[:, Place.LEFT_OVER] *= 1 - places[:, Place.BACK]
        return places

    def sharpen(self, pointer: Tensor) -> Tensor:
        """Make a mixed pointer decided again: [N,L] -> [N,L]."""
        if self.hard_sharpen:
            return self.one_hot.index_select(0, pointer.argmax(dim=1))
        return torch.softmax(pointer / self.temperature, dim=1)
