"""The nine neural modules (section 3.3 and table 1 of the paper), one class each.

All modules run at every step on the same state, and the network adds up their results by the
controller's weights. So a module does not copy the stack: it says where the pointer lands and
which places it writes, all by name, and computes just the maps it writes there. What depends on
the question and the image alone is planned for all T steps before the first of them; memory, on
which no map depends, follows after the last.

Shapes beside the usual alphabet: P = H * W cells, C control width.
"""

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from snmn.network.knowledge_base import KnowledgeBase, l2_normalize
from snmn.network.stack import Place

if TYPE_CHECKING:
    from snmn.network.routing import Routes


class StepView:
    """The state that all modules see at one step, and what several of them compute from it.

    maps [N,L,P] the stack; routes where to read and write it.
    """

    def __init__(self, maps: Tensor, routes: "Routes", knowledge: KnowledgeBase):
        self.maps, self.routes, self.knowledge = maps, routes, knowledge
        # The map at the pointer, and the one below it: [N,2,P].
        self.top_two = torch.bmm(routes.top_two, maps)

    @cached_property
    def top_two_in_order(self) -> tuple[Tensor, Tensor]:
        """Minimum and maximum of the top two maps: [N,P] each."""
        return _Order.apply(*self.top_two.unbind(1))

    @cached_property
    def pooled_top(self) -> Tensor:
        """The knowledge base averaged under the top map: [N,D]."""
        return self.knowledge.pool(self.top_two[:, :1]).squeeze(1)


class _Order(Function):
    """Minimum and maximum of two tensors; where they are equal, the gradients go apart.

    PyTorch's own spend most of a small step on the gradient's masks.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward((first < second).to(first.dtype))
        return torch.minimum(first, second), torch.maximum(first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        (first_is_lower,) = ctx.saved_tensors
        first = torch.lerp(upper, lower, first_is_lower)
        return first, lower + upper - first


class NeuralModule(nn.Module, ABC):
    """Base of the modules: ``inputs`` maps are popped, ``outputs`` maps are pushed.

    ``lands`` is where the pointer goes, ``writes`` the places whose maps are replaced.
    """

    inputs: ClassVar[int]
    outputs: ClassVar[int]
    lands: Place = Place.TOP
    writes: tuple[Place, ...] = ()

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor | None:
        """What all steps need, [N,T,...], from control [N,T,C]; None where there is nothing."""
        return None

    @abstractmethod
    def forward(self, view: StepView, plan: Tensor | None) -> tuple[Tensor, ...]:
        """A map [N,P] for each of ``writes``; ``plan`` is this step's part [N,...]."""


class NoOp(NeuralModule):
    """Leaves everything as it is, memory too, so that short layouts can be padded."""

    inputs, outputs = 0, 0

    def forward(self, view: StepView, plan: None) -> tuple[Tensor, ...]:
        """Nothing."""
        return ()


class Find(NeuralModule):
    """Pushes where the image matches the words: conv(norm(K * W c)); table 1, row "Find"."""

    inputs, outputs = 0, 1
    lands, writes = Place.ABOVE, (Place.ABOVE,)

    def __init__(self, *, control_dim: int, kb_dim: int):
        super().__init__()
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The attention of every step, which needs no stack: [N,T,P]."""
        return knowledge.score(self.control(control), self.score.weight, self.score.bias)

    def forward(self, view: StepView, plan: Tensor) -> tuple[Tensor, ...]:
        """This step's attention."""
        return (plan,)


class Transform(NeuralModule):
    """Moves attention to related objects: conv(norm(K * W c * pool(a))); row "Transform"."""

    inputs, outputs = 1, 1
    writes = (Place.TOP,)

    def __init__(self, *, control_dim: int, kb_dim: int):
        super().__init__()
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The mapped control of every step: [N,T,D]."""
        return self.control(control)

    def forward(self, view: StepView, plan: Tensor) -> tuple[Tensor, ...]:
        """Attention to what stands in the relation to the top map's objects."""
        query = (plan * view.pooled_top)[:, None]  # [N,1,D]
        attention = view.knowledge.score(query, self.score.weight, self.score.bias)
        return (attention.squeeze(1),)


class Filter(NeuralModule):
    """Finds, with Find's own layers, and intersects with the top map; row "Filter".

    Written out rather than run one after the other: after the push, place l holds
    (1 - above_l) stack_l + above_l found, and And reads that at the pointer before and after
    its pop. What it found stays left over above the pointer.
    """

    inputs, outputs = 1, 1
    lands, writes = Place.BACK, (Place.LEFT_OVER, Place.BACK)

    def forward(self, view: StepView, plan: Tensor) -> tuple[Tensor, ...]:
        """What Find finds (``plan`` is Find's), and its minimum with the top map."""
        routes = view.routes
        both = torch.bmm(routes.pushed, view.maps)
        both = torch.addcmul(both, routes.own, plan[:, None])  # [N,2,P]
        return plan, _Order.apply(*both.unbind(1))[0]


class And(NeuralModule):
    """Replaces the top two maps by their minimum; row "And"."""

    inputs, outputs = 2, 1
    lands, writes = Place.BELOW, (Place.BELOW,)

    def forward(self, view: StepView, plan: None) -> tuple[Tensor, ...]:
        """The minimum."""
        return (view.top_two_in_order[0],)


class Or(NeuralModule):
    """Replaces the top two maps by their maximum; row "Or"."""

    inputs, outputs = 2, 1
    lands, writes = Place.BELOW, (Place.BELOW,)

    def forward(self, view: StepView, plan: None) -> tuple[Tensor, ...]:
        """The maximum."""
        return (view.top_two_in_order[1],)


class Scene(NeuralModule):
    """Pushes where anything is: conv(norm(K)); row "Scene"."""

    inputs, outputs = 0, 1
    lands, writes = Place.ABOVE, (Place.ABOVE,)

    def __init__(self, *, kb_dim: int):
        super().__init__()
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The attention, the same at every step: [N,T,P], a view of [N,P]."""
        attention = knowledge.score_unmodulated(self.score.weight, self.score.bias)
        return attention[:, None].expand(-1, control.shape[1], -1)

    def forward(self, view: StepView, plan: Tensor) -> tuple[Tensor, ...]:
        """The attention."""
        return (plan,)


class DescribeOne(NeuralModule):
    """Writes to memory what is under the top map; row "Answer" with one input.

    memory <- W'[c; memory; norm(W c * pool(a))]. With ``keep_stack`` the stack stays as it was,
    otherwise the map is replaced by zeros.
    """

    inputs, outputs = 1, 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int, keep_stack: bool):
        super().__init__()
        self.keep_stack, self.widths = keep_stack, [control_dim, memory_dim, kb_dim]
        if not keep_stack:
            self.lands = [Place.TOP, Place.BELOW][self.inputs - 1]
            self.writes = (self.lands,)
        self.control = nn.Linear(control_dim, kb_dim)
        self.memory = nn.Linear(sum(self.widths), memory_dim)

    def forward(self, view: StepView, plan: None) -> tuple[Tensor, ...]:
        """Zeros, unless the stack is kept."""
        return tuple(torch.zeros_like(view.maps[:, 0]) for _ in self.writes)

    def describe(self, control: Tensor, pooled: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What memory becomes at every step, but for the share of the old memory.

        Takes control [N,T,C] and the knowledge base averaged under the top map and under the one
        below, [N,T,D] each. Returns the new memory [N,T,D] and the weight [D,D] of the old one.
        """
        from_control, from_memory, from_image = self.memory.weight.split(self.widths, dim=1)
        attended = math.prod(pooled[: self.inputs])
        described = l2_normalize(self.control(control) * attended)
        new = linear(control, from_control, self.memory.bias) + linear(described, from_image)
        return new, from_memory


class DescribeTwo(DescribeOne):
    """Writes to memory how the top two maps compare; row "Answer" with two inputs.

    memory <- W'[c; memory; norm(W c * pool(a1) * pool(a2))]. With ``keep_stack`` stack and
    pointer stay as they were, otherwise the two maps are replaced by one of zeros.
    """

    inputs, outputs = 2, 1
