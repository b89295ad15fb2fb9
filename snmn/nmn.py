"""The stack neural module network: runs the modules, softly chosen, for T steps.

Section 3.4 of the paper: at each step all modules run on the same state, and the next state is
their average by the controller's weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snmn.knowledge_base import KnowledgeBase
from snmn.modules import (
    And,
    DescribeOne,
    DescribeTwo,
    Effect,
    Filter,
    Find,
    NoOp,
    Or,
    Scene,
    StepView,
    Transform,
)
from snmn.stack import StackPointer, read


@dataclass
class Execution:
    """All states of one run, after each step.

    stack [N,T,L,P] attention maps (logits), pointer [N,T,L], attention [N,T,P] the map at the
    pointer, memory [N,D] at the end.
    """

    stack: Tensor
    pointer: Tensor
    attention: Tensor
    memory: Tensor


class StackNMN(nn.Module):
    """Nine modules over a stack (section 3.4 of the paper).

    validate_modules (VALIDATE_MODULES) takes weight away from modules that would under- or
    overflow the stack at the current pointer; hard_validation rounds that validity to 0 or 1.
    """

    def __init__(
        self,
        *,
        control_dim: int,
        kb_dim: int,
        memory_dim: int,
        stack_length: int = 8,
        guard_pointer: bool = True,
        hard_sharpen: bool = True,
        soft_sharpen_temperature: float = 0.2,
        validate_modules: bool = False,
        hard_validation: bool = False,
        describe_one_keep_stack: bool = True,
        describe_two_keep_stack: bool = True,
    ):
        super().__init__()
        self.memory_dim = memory_dim
        self.validate_modules, self.hard_validation = validate_modules, hard_validation
        self.pointer = StackPointer(
            length=stack_length,
            guarded=guard_pointer,
            hard_sharpen=hard_sharpen,
            temperature=soft_sharpen_temperature,
        )
        layers = {"control_dim": control_dim, "kb_dim": kb_dim}
        # In the order of snmn.vocabulary.MODULES, which the controller's logits follow.
        self.neural_modules = nn.ModuleDict(
            {
                "_NoOp": NoOp(),
                "_Find": Find(**layers),
                "_Transform": Transform(**layers),
                "_Filter": Filter(),
                "_And": And(),
                "_Or": Or(),
                "_Scene": Scene(kb_dim=kb_dim),
                "_DescribeOne": DescribeOne(
                    **layers, memory_dim=memory_dim, keep_stack=describe_one_keep_stack
                ),
                "_DescribeTwo": DescribeTwo(
                    **layers, memory_dim=memory_dim, keep_stack=describe_two_keep_stack
                ),
            }
        )
        self.register_buffer("validity", self._validity(stack_length), persistent=False)
        no_op = torch.tensor([float(name == "_NoOp") for name in self.neural_modules])
        self.register_buffer("no_op", no_op, persistent=False)

    def attention_scores(self) -> list[nn.Linear]:
        """The layers that score cells: those of Find, Transform and Scene."""
        return [
            m.score for m in self.neural_modules.values() if isinstance(m, Find | Transform | Scene)
        ]

    def _validity(self, length: int) -> Tensor:
        """[L,M] 1.0 where a module finds its inputs and has room for its outputs."""
        place = torch.arange(length)
        columns = [
            (place >= module.inputs) & (place <= length - 1 + module.inputs - module.outputs)
            for module in self.neural_modules.values()
        ]
        return torch.stack(columns, dim=1).float()

    def forward(self, control: Tensor, module_probs: Tensor, knowledge: KnowledgeBase) -> Execution:
        """Run control [N,T,C] with module_probs [N,T,M] on the knowledge base."""
        N, T, _ = control.shape
        P, L = knowledge.cells.shape[1], self.pointer.length
        plans = {name: m.plan(control, knowledge) for name, m in self.neural_modules.items()}
        plans["_Filter"] = plans["_Find"]  # Filter is Find with Find's layers, then And.

        maps = knowledge.cells.new_zeros(N, L, P)
        pointer = self.pointer.initial(N).to(maps.dtype)
        memory = maps.new_zeros(N, self.memory_dim)
        stacks, pointers = [], []
        for t in range(T):
            view = StepView(maps, pointer, memory, stack_pointer=self.pointer, knowledge=knowledge)
            effects = [
                module(view, None if plans[name] is None else plans[name][:, t])
                for name, module in self.neural_modules.items()
            ]
            weights = self._weights(module_probs[:, t], pointer)
            maps, pointer, memory = self._average(effects, weights, maps, memory)
            stacks.append(maps)
            pointers.append(pointer)

        stack, pointer = torch.stack(stacks, dim=1), torch.stack(pointers, dim=1)
        attention = read(stack.flatten(0, 1), pointer.flatten(0, 1)[:, None]).view(N, T, P)
        return Execution(stack=stack, pointer=pointer, attention=attention, memory=memory)

    def _weights(self, probs: Tensor, pointer: Tensor) -> Tensor:
        """Module weights [N,M] of one step: the probabilities, less what is not valid."""
        if not self.validate_modules:
            return probs
        validity = pointer @ self.validity
        if self.hard_validation:
            validity = validity.round()
        weights = probs * validity
        # A hard layout may leave all weight on an impossible module: then nothing happens.
        nothing_valid = (weights.sum(dim=1, keepdim=True) == 0).to(weights.dtype)
        weights = weights + nothing_valid * self.no_op
        return weights / weights.sum(dim=1, keepdim=True)

    def _average(
        self, effects: list[Effect], weights: Tensor, maps: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next stack [N,L,P], sharpened pointer [N,L] and memory [N,D]."""
        # keep and pointer of all modules in one weighted sum: [N,1,M] x [N,M,2L]
        moves = torch.stack([torch.cat([e.keep, e.pointer], dim=1) for e in effects], dim=1)
        keep, pointer = torch.bmm(weights[:, None], moves)[:, 0].chunk(2, dim=1)
        writing = [
            (weights[:, m, None, None], e) for m, e in enumerate(effects) if e.maps is not None
        ]
        places = torch.cat([weight * e.places for weight, e in writing], dim=1)  # [N,K,L]
        written = torch.cat([e.maps for _, e in writing], dim=1)  # [N,K,P]
        maps = torch.baddbmm(keep[..., None] * maps, places.transpose(1, 2), written)
        memory = sum(
            weights[:, m, None] * e.memory for m, e in enumerate(effects) if e.memory is not None
        )
        return maps, self.pointer.sharpen(pointer), memory
