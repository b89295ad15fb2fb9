"""The nine neural modules (section 3.3 and table 1 of the paper), one class each.

A module pops as many attention maps from the stack as it has ``inputs`` and pushes as many as it
has ``outputs``; the stack is the network's business (`snmn.network.nmn`). What a module computes is
its ``forward``, from the knowledge base K, the textual parameter c and the maps a1, a2 it popped.

Shapes beside the usual alphabet: P = H * W cells, C width of control, K steps at a time: one for
modules that must wait for their maps, all T for the others.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from snmn.network.knowledge_base import KnowledgeBase, l2_normalize


class NeuralModule(nn.Module):
    """Base of the modules.

    inputs: number of maps popped. outputs: number of maps pushed, 0 or 1. runs: names of modules
    that run one after the other in the place of a ``forward``.
    """

    inputs: ClassVar[int] = 0
    outputs: ClassVar[int] = 0
    runs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int):
        super().__init__()

    def forward(self, knowledge: KnowledgeBase, control: Tensor, *attention: Tensor) -> Tensor:
        """The map to push, [N,K,P], from control [N,K,C] and the popped maps [N,K,P], top last."""
        raise NotImplementedError


class NoOp(NeuralModule):
    """Leaves everything as it is, memory too, so that short layouts can be padded."""


class Find(NeuralModule):
    """Looks for what the words say: conv(norm(K * W c))."""

    inputs, outputs = 0, 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, memory_dim=memory_dim)
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def forward(self, knowledge: KnowledgeBase, control: Tensor) -> Tensor:
        """Attention to what is looked for."""
        return knowledge.score(self.control(control), self.score)


class Transform(NeuralModule):
    """Moves attention to related objects: conv(norm(K * W c * pool(a)))."""

    inputs, outputs = 1, 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, memory_dim=memory_dim)
        self.control = nn.Linear(control_dim, kb_dim)
        self.score = nn.Linear(kb_dim, 1)

    def forward(self, knowledge: KnowledgeBase, control: Tensor, a: Tensor) -> Tensor:
        """Attention to what stands in the relation to the objects under ``a``."""
        return knowledge.score(self.control(control) * knowledge.pool(a), self.score)


class Filter(NeuralModule):
    """Keeps of what is attended to what the words say: and(a, find(c)), with Find's own layers."""

    inputs, outputs = 1, 1
    runs = ("_Find", "_And")


class And(NeuralModule):
    """Attends to what both maps attend to: minimum(a1, a2)."""

    inputs, outputs = 2, 1

    def forward(self, knowledge: KnowledgeBase, control: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
        """The lower of both."""
        return torch.minimum(a1, a2)


class Or(NeuralModule):
    """Attends to what either map attends to: maximum(a1, a2)."""

    inputs, outputs = 2, 1

    def forward(self, knowledge: KnowledgeBase, control: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
        """The higher of both."""
        return torch.maximum(a1, a2)


class Scene(NeuralModule):
    """Attends to wherever anything is: conv(norm(K))."""

    inputs, outputs = 0, 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, memory_dim=memory_dim)
        self.score = nn.Linear(kb_dim, 1)

    def forward(self, knowledge: KnowledgeBase, control: Tensor) -> Tensor:
        """Attention to all objects, the same at every step."""
        everything = torch.ones_like(self.score.weight).expand(len(control), 1, -1)  # [N,1,D]
        return knowledge.score(everything, self.score).expand(-1, control.shape[1], -1)


class AnswerModule(NeuralModule):
    """Base of the modules that write to memory: memory <- W'[c; memory; described].

    Their maps stay on the stack with ``keep_stack`` (DESCRIBE_ONE.KEEP_STACK), otherwise they are
    popped and a map of zeros is pushed.
    """

    outputs = 1

    def __init__(self, *, control_dim: int, kb_dim: int, memory_dim: int, keep_stack: bool = True):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, memory_dim=memory_dim)
        self.keep_stack, self.widths = keep_stack, [control_dim, memory_dim, kb_dim]
        self.memory = nn.Linear(sum(self.widths), memory_dim)

    def describe(self, knowledge: KnowledgeBase, control: Tensor, *attention: Tensor) -> Tensor:
        """What is described, [N,K,D], from control [N,K,C] and the popped maps [N,K,P]."""
        raise NotImplementedError

    def renew(self, control: Tensor, described: Tensor) -> tuple[Tensor, Tensor]:
        """W'[c; memory; described] in two parts, of which only the second waits for the memory.

        Takes control [N,K,C] and described [N,K,D]. Returns what they make of it, [N,K,D], and the
        columns [D,D] of W' that the old memory is to be multiplied by.
        """
        of_control, of_memory, of_described = self.memory.weight.split(self.widths, dim=1)
        new = linear(control, of_control, self.memory.bias) + linear(described, of_described)
        return new, of_memory


class DescribeOne(AnswerModule):
    """Describes what is attended to: norm(W c * pool(a))."""

    inputs = 1

    def __init__(self, *, control_dim: int, kb_dim: int, **rest):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, **rest)
        self.control = nn.Linear(control_dim, kb_dim)

    def describe(self, knowledge: KnowledgeBase, control: Tensor, a: Tensor) -> Tensor:
        """The object under ``a``, in the light of the words."""
        return l2_normalize(self.control(control) * knowledge.pool(a))


class DescribeTwo(AnswerModule):
    """Compares what two maps attend to: norm(W c * pool(a1) * pool(a2))."""

    inputs = 2

    def __init__(self, *, control_dim: int, kb_dim: int, **rest):
        super().__init__(control_dim=control_dim, kb_dim=kb_dim, **rest)
        self.control = nn.Linear(control_dim, kb_dim)

    def describe(self, knowledge: KnowledgeBase, control: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
        """The objects under both, in the light of the words."""
        pooled = knowledge.pool(a1) * knowledge.pool(a2)
        return l2_normalize(self.control(control) * pooled)
