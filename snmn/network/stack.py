"""The differentiable stack of attention maps and its pointer (section 3.4 of the paper).

A map is [N,P] raw logits over P = H * W cells, the stack [N,L,P], the pointer [N,L] a
distribution over the stack's places. Reading and writing are sums weighted by the pointer;
moving shifts it by one place.

Difference from the two earlier codebases: shifts are products with an [L,L] matrix, so any
stack length works, including 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Stack:
    """What modules see of the stack: places [N,L] relative to the pointer, and what lies there.

    read gives the maps [N,K,P] at places [N,K,L]. above is the place that a push writes to;
    places[k] is k places below the pointer, places[0] the pointer itself. tops[k] [N,P] is the map
    at places[k], sum_l places[k]_l maps_l.
    """

    read: Callable[[Tensor], Tensor]
    above: Tensor
    places: list[Tensor]
    tops: Sequence[Tensor]

    @property
    def pointer(self) -> Tensor:
        """The pointer [N,L]."""
        return self.places[0]

    def place(self, up: int) -> Tensor:
        """The place [N,L] that lies ``up`` (at most 1) above the pointer."""
        return self.above if up == 1 else self.places[-up]


@dataclass
class Effect:
    """What a module does to the stack: where the pointer goes, and which maps it writes where.

    Writing a at p makes stack_l (1 - p_l) + p_l a of every place l, so all a module does is linear
    in the stack: keep * stack + sum_k places_k maps_k, with keep = 1 - sum_k places_k.

    pointer [N,L] afterwards; places [N,L] and maps [N,P], one of each for every map written.
    """

    pointer: Tensor
    places: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)

    def read(self, before: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
        """The maps [N,K,P] at places [N,K,L] after it; ``before`` reads those before it."""
        if not self.places:
            return before(places)
        found = before(places * (1 - sum(self.places))[:, None])
        for place, written in zip(self.places, self.maps, strict=True):
            found = found + (places @ place[..., None]) * written[:, None]
        return found

    def then(self, later: "Effect") -> "Effect":
        """This effect and a later one as one: what is written over is kept no more."""
        keep = 1 - sum(later.places)
        places = [place * keep for place in self.places]
        return Effect(later.pointer, places + later.places, self.maps + later.maps)


def average(effects: list[Effect], weights: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [N,L,P] and pointer [N,L] after all effects, averaged by weights [N,M]."""
    pointers = torch.stack([effect.pointer for effect in effects], dim=1)  # [N,M,L]
    places = torch.stack([place for effect in effects for place in effect.places], dim=2)
    written = torch.stack([map_ for effect in effects for map_ in effect.maps], dim=1)  # [N,K,P]
    of_writes = [
        weight
        for effect, weight in zip(effects, weights.split(1, dim=1), strict=True)
        for _ in effect.places
    ]
    places = places * torch.cat(of_writes, dim=1)[:, None]  # [N,L,K]
    keep = weights.sum(dim=1)[:, None, None] - places.sum(dim=2, keepdim=True)  # [N,L,1]
    pointer = torch.bmm(weights[:, None], pointers).squeeze(1)
    return torch.baddbmm(keep * maps, places, written), pointer


class StackPointer(nn.Module):
    """Moves and sharpens the stack pointer.

    ``depth`` is how many places modules want to know, from the pointer down. With ``guarded``
    (GUARD_STACK_PTR), weight that would leave the stack stays at its end; without, it is lost.
    ``hard_sharpen`` (USE_HARD_SHARPEN) makes the pointer one-hot after each step, otherwise it
    becomes softmax(pointer / temperature).
    """

    def __init__(
        self,
        *,
        length: int,
        depth: int,
        guarded: bool = True,
        hard_sharpen: bool = True,
        temperature: float = 0.2,
    ):
        super().__init__()
        if length < 1:
            raise ValueError(f"the stack needs at least one place, not {length}")
        self.length, self.depth = length, depth
        self.hard_sharpen, self.temperature = hard_sharpen, temperature
        up = torch.diag(torch.ones(length - 1), 1)
        down = up.t().clone()
        if guarded:
            up[-1, -1] = 1.0
            down[0, 0] = 1.0
        self.register_buffer("shift_up", up, persistent=False)  # [L,L]
        self.register_buffer("shift_down", down, persistent=False)  # [L,L]

    def empty(self, N: int, P: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Zero maps [N,L,P], and the pointer [N,L] at its lowest place."""
        maps = self.shift_up.new_zeros(N, self.length, P, dtype=dtype)
        pointer = F.one_hot(self.shift_up.new_zeros(N, dtype=torch.long), self.length)
        return maps, pointer.to(dtype)

    def stack(self, maps: Tensor, pointer: Tensor) -> Stack:
        """Maps [N,L,P] as modules see them with a pointer [N,L]."""
        return self.look(partial(torch.bmm, mat2=maps), pointer)

    def look(self, read: Callable[[Tensor], Tensor], pointer: Tensor) -> Stack:
        """The places about a pointer [N,L], and what ``read`` finds there."""
        places = [pointer]
        while len(places) < self.depth:
            places.append(places[-1] @ self.shift_down)
        tops = read(torch.stack(places, dim=1)).unbind(1)
        return Stack(read, pointer @ self.shift_up, places, tops)

    def sharpen(self, pointer: Tensor) -> Tensor:
        """Make a mixed pointer decided again: [N,L] -> [N,L]."""
        if self.hard_sharpen:
            return F.one_hot(pointer.argmax(dim=1), self.length).to(pointer.dtype)
        return torch.softmax(pointer / self.temperature, dim=1)
