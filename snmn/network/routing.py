"""Which places of the stack each module reads, keeps and writes, and where its pointer lands.

All this depends on the pointer alone (section 3.4 of the paper). A pointer that is sharpened to
one-hot has only L values, so what follows from it is looked up; a soft one is worked out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snmn.network.modules import NeuralModule
from snmn.network.stack import Place, StackPointer


@dataclass
class Routes:
    """One step's weights of places.

    top_two [N,2,L] reads the maps at and below the pointer. Filter reads at ``pushed`` [N,2,L],
    of what was there before it pushed; its own map has the shares ``own`` [N,2,1] in that.
    writes [N,W,L] are where the W maps go that modules write, in the order of the modules, and
    moves [N,M,2L] what each module keeps of every place, and its pointer afterwards.
    """

    top_two: Tensor
    pushed: Tensor
    own: Tensor
    writes: Tensor
    moves: Tensor


class Router(nn.Module):
    """Finds the routes of ``modules`` for any pointer."""

    def __init__(self, pointer: StackPointer, modules: Sequence[NeuralModule]):
        super().__init__()
        self.places, self.hard = pointer.places, pointer.hard_sharpen
        L, M = pointer.length, len(modules)
        pairs = [(m, place) for m, module in enumerate(modules) for place in module.writes]
        writer, written = torch.tensor(pairs).unbind(1)
        self.register_buffer("writer", writer, persistent=False)  # [W] module of each map
        self.register_buffer("written", written, persistent=False)  # [W] its place
        lands = torch.tensor([module.lands for module in modules])
        self.register_buffer("lands", lands, persistent=False)  # [M]
        self.shapes = {
            "top_two": (2, L),
            "pushed": (2, L),
            "own": (2, 1),
            "writes": (len(pairs), L),
            "moves": (M, 2 * L),
        }
        self.sizes = [rows * columns for rows, columns in self.shapes.values()]
        table = self._work_out(pointer.one_hot)
        self.register_buffer("table", table, persistent=False)  # [L, all of it]

    def forward(self, pointer: Tensor) -> Routes:
        """The routes for a pointer [N,L]."""
        flat = pointer @ self.table if self.hard else self._work_out(pointer)
        parts = flat.split(self.sizes, dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        return Routes(**{name: part.unflatten(1, shape) for (name, shape), part in named})

    def _work_out(self, pointer: Tensor) -> Tensor:
        """All routes of pointers [N,L], side by side."""
        places = self.places(pointer)  # [N,5,L]
        above = places[:, Place.ABOVE, None]
        pushed = places[:, Place.ABOVE : Place.BACK + 1]
        writes = places.index_select(1, self.written)
        lands = places.index_select(1, self.lands)
        moves = torch.cat([torch.ones_like(lands).index_add(1, self.writer, -writes), lands], dim=2)
        top_two = places[:, Place.TOP : Place.BELOW + 1]
        routes = (top_two, pushed * (1 - above), pushed @ above.mT, writes, moves)
        return torch.cat([route.flatten(1) for route in routes], dim=1)
