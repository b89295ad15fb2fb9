"""The nine neural modules (section 3.3 and table 1 of the paper), one class each.

All modules run at every step on the same state, and the network adds up their results by the
controller's weights. So a module does not copy the stack: it returns an `Effect`, linear in the
old stack, that says what of each place it keeps and which maps it writes where. A module's
``plan`` computes, for all T steps at once and before the first of them, whatever depends on the
question and the image alone; its ``forward`` does the rest for one step.

Shapes beside the usual alphabet: P = H * W cells, C control width, K maps written.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from snmn.knowledge_base import KnowledgeBase, l2_normalize
from snmn.stack import StackPointer, read


class StepView:
    """The state that all modules see at one step, and what several of them compute from it.

    maps [N,L,P] the stack, pointer [N,L], memory [N,D].
    """

    def __init__(
        self,
        maps: Tensor,
        pointer: Tensor,
        memory: Tensor,
        *,
        stack_pointer: StackPointer,
        knowledge: KnowledgeBase,
    ):
        self.maps, self.pointer, self.memory = maps, pointer, memory
        self.knowledge = knowledge
        self.pushed = stack_pointer.up(pointer)
        self.popped = stack_pointer.down(pointer)
        # Filter pushes what it finds and pops it again; at the stack's end this may not undo.
        self.pushed_popped = stack_pointer.down(self.pushed)

    @cached_property
    def top_two(self) -> Tensor:
        """The map at the pointer, and the one below it: [N,2,P]."""
        return read(self.maps, torch.stack([self.pointer, self.popped], dim=1))

    @cached_property
    def pooled_top_two(self) -> Tensor:
        """The knowledge base averaged under each of the top two maps: [N,2,D]."""
        return self.knowledge.pool(self.top_two)


@dataclass
class Effect:
    """What a module does to the state: stack <- keep * stack + sum_k places_k maps_k.

    keep [N,L]; places [N,K,L] and maps [N,K,P], or None where it writes nothing; pointer [N,L];
    memory [N,D], or None for zero.
    """

    keep: Tensor
    pointer: Tensor
    places: Tensor | None = None
    maps: Tensor | None = None
    memory: Tensor | None = None


def write(pointer: Tensor, attention: Tensor) -> Effect:
    """Replace the map at the pointer [N,L] by ``attention`` [N,P]."""
    return Effect(1 - pointer, pointer, places=pointer[:, None], maps=attention[:, None])


def clear(pointer: Tensor) -> Effect:
    """Replace the map at the pointer [N,L] by zeros."""
    return Effect(1 - pointer, pointer)


class NeuralModule(nn.Module, ABC):
    """Base of the modules: ``inputs`` maps are popped, ``outputs`` maps are pushed."""

    inputs: ClassVar[int]
    outputs: ClassVar[int]

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor | None:
        """What all steps need, [N,T,...], from control [N,T,C]; None where there is nothing."""
        return None

    @abstractmethod
    def forward(self, view: StepView, plan: Tensor | None) -> Effect:
        """Run one step; ``plan`` is this step's part [N,...] of what `plan` returned."""


class NoOp(NeuralModule):
    """Leaves everything as it is, memory too, so that short layouts can be padded."""

    inputs, outputs = 0, 0

    def forward(self, view: StepView, plan: None) -> Effect:
        """Return the unchanged state."""
        return Effect(torch.ones_like(view.pointer), view.pointer, memory=view.memory)


class Find(NeuralModule):
    """Pushes where the image matches the words: conv(norm(K * W c)); table 1, row "Find"."""

    inputs, outputs = 0, 1

    def __init__(self, *, control_dim: int, kb_dim: int):
        super().__init__()
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The attention of every step, which needs no stack: [N,T,P]."""
        return knowledge.score(self.control(control), self.score.weight, self.score.bias)

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Push this step's attention."""
        return write(view.pushed, plan)


class Transform(NeuralModule):
    """Moves attention to related objects: conv(norm(K * W c * pool(a))); row "Transform"."""

    inputs, outputs = 1, 1

    def __init__(self, *, control_dim: int, kb_dim: int):
        super().__init__()
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The mapped control of every step: [N,T,D]."""
        return self.control(control)

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Replace the top map."""
        query = (plan * view.pooled_top_two[:, 0])[:, None]  # [N,1,D]
        attention = view.knowledge.score(query, self.score.weight, self.score.bias)
        return write(view.pointer, attention[:, 0])


class Filter(NeuralModule):
    """Finds, with Find's own layers, and intersects with the top map; row "Filter"."""

    inputs, outputs = 1, 1

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Push Find's attention (``plan`` is Find's), then And.

        Written out rather than run one after the other: after the push, place l holds
        (1 - pushed_l) stack_l + pushed_l found, and And reads that at two pointers.
        """
        pointers = torch.stack([view.pushed, view.pushed_popped], dim=1)  # [N,2,L]
        kept = 1 - view.pushed
        found_share = torch.bmm(pointers, view.pushed[..., None])  # [N,2,1]
        both = read(view.maps, pointers * kept[:, None]) + found_share * plan[:, None]  # [N,2,P]
        unwritten = 1 - view.pushed_popped
        return Effect(
            keep=kept * unwritten,
            pointer=view.pushed_popped,
            places=torch.stack([view.pushed * unwritten, view.pushed_popped], dim=1),
            maps=torch.stack([plan, both.amin(dim=1)], dim=1),
        )


class And(NeuralModule):
    """Replaces the top two maps by their minimum; row "And"."""

    inputs, outputs = 2, 1

    def forward(self, view: StepView, plan: None) -> Effect:
        """Pop two maps, push their minimum."""
        return write(view.popped, view.top_two.amin(dim=1))


class Or(NeuralModule):
    """Replaces the top two maps by their maximum; row "Or"."""

    inputs, outputs = 2, 1

    def forward(self, view: StepView, plan: None) -> Effect:
        """Pop two maps, push their maximum."""
        return write(view.popped, view.top_two.amax(dim=1))


class Scene(NeuralModule):
    """Pushes where anything is: conv(norm(K)); row "Scene"."""

    inputs, outputs = 0, 1

    def __init__(self, *, kb_dim: int):
        super().__init__()
        self.score = nn.Linear(kb_dim, 1)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The attention, the same at every step: [N,T,P], a view of [N,P]."""
        attention = knowledge.score_unmodulated(self.score.weight, self.score.bias)
        return attention[:, None].expand(-1, control.shape[1], -1)

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Push it."""
        return write(view.pushed, plan)


class DescribeOne(NeuralModule):
    """Writes to memory what is under the top map; row "Answer" with one input.

    memory <- W'[c; memory; norm(W c * pool(a))]. With ``keep_stack`` the stack stays as it was,
    otherwise the map is replaced by zeros.
    """

    inputs, outputs = 1, 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int, keep_stack: bool):
        super().__init__()
        self.control_dim, self.keep_stack = control_dim, keep_stack
        self.control = nn.Linear(control_dim, kb_dim)
        self.memory = nn.Linear(control_dim + memory_dim + kb_dim, memory_dim)

    def plan(self, control: Tensor, knowledge: KnowledgeBase) -> Tensor:
        """The mapped control and the control's share of the memory: [N,T,D+D]."""
        weight = self.memory.weight[:, : self.control_dim]
        share = nn.functional.linear(control, weight, self.memory.bias)
        return torch.cat([self.control(control), share], dim=-1)

    def describe(self, view: StepView, plan: Tensor, pooled: Tensor) -> Tensor:
        """The new memory [N,D], from the product ``pooled`` [N,D] of the attended averages."""
        split = self.control.out_features
        described = l2_normalize(plan[:, :split] * pooled)
        weight = self.memory.weight[:, self.control_dim :].t()
        return torch.addmm(plan[:, split:], torch.cat([view.memory, described], dim=1), weight)

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Describe the top map."""
        effect = clear(view.pointer)
        if self.keep_stack:
            effect = Effect(torch.ones_like(view.pointer), view.pointer)
        effect.memory = self.describe(view, plan, view.pooled_top_two[:, 0])
        return effect


class DescribeTwo(DescribeOne):
    """Writes to memory how the top two maps compare; row "Answer" with two inputs.

    memory <- W'[c; memory; norm(W c * pool(a1) * pool(a2))]. With ``keep_stack`` stack and
    pointer stay as they were, otherwise the two maps are replaced by one of zeros.
    """

    inputs, outputs = 2, 1

    def forward(self, view: StepView, plan: Tensor) -> Effect:
        """Describe the top two maps."""
        effect = clear(view.popped)
        if self.keep_stack:
            effect = Effect(torch.ones_like(view.pointer), view.pointer)
        effect.memory = self.describe(view, plan, view.pooled_top_two.prod(dim=1))
        return effect
