"""The stack neural module network: runs the modules, softly chosen, for T steps.

Section 3.4 of the paper: at each step all modules run on the same state, and the next state is
their average by the controller's weights.

Modules that pop nothing wait for nothing and run for all steps at once; memory, on which no map
depends, follows after the last step. Neither changes a number.

Difference from the original: with validation, a step whose weight is all but wholly on impossible
modules does nothing (``LEAST_VALID``), where the original divides by nearly zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from snmn.common.vocabulary import MODULES
from snmn.network.intervention import Intervention
from snmn.network.knowledge_base import KnowledgeBase
from snmn.network.modules import (
    And,
    AnswerModule,
    DescribeOne,
    DescribeTwo,
    Filter,
    Find,
    NeuralModule,
    NoOp,
    Or,
    Scene,
    Transform,
)
from snmn.network.shared_operand import SharedOperand
from snmn.network.stack import Effect, Stack, StackPointer, average

# When modules are validated and those that are possible have less weight than this, NoOp gets the
# difference.
LEAST_VALID = 1e-8

PUBLISHED = dict(
    zip(
        MODULES,
        (NoOp, Find, Transform, Filter, And, Or, Scene, DescribeOne, DescribeTwo),
        strict=True,
    )
)


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
    """Modules over a stack (section 3.4 of the paper).

    ``modules`` are classes of one's own by name, beside the nine; the controller's logits follow
    ``module_names``. validate_modules (VALIDATE_MODULES) takes weight away from modules that would
    under- or overflow the stack at the current pointer; hard_validation rounds that validity to 0
    or 1.
    """

    def __init__(
        self,
        *,
        control_dim: int,
        kb_dim: int,
        memory_dim: int,
        modules: Mapping[str, type[NeuralModule]] | None = None,
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
        sizes = {"control_dim": control_dim, "kb_dim": kb_dim, "memory_dim": memory_dim}
        options = {
            "_DescribeOne": {"keep_stack": describe_one_keep_stack},
            "_DescribeTwo": {"keep_stack": describe_two_keep_stack},
        }
        self.neural_modules = nn.ModuleDict(
            {
                name: kind(**sizes, **options.get(name, {}))
                for name, kind in (PUBLISHED | dict(modules or {})).items()
            }
        )
        modules = self.neural_modules.values()
        self.pointer = StackPointer(
            length=stack_length,
            depth=max(max(m.inputs, m.inputs - m.outputs + 1) for m in modules),
            guarded=guard_pointer,
            hard_sharpen=hard_sharpen,
            temperature=soft_sharpen_temperature,
        )
        self.register_buffer("validity", self._validity(stack_length), persistent=False)
        is_no_op = torch.tensor([name == "_NoOp" for name in self.neural_modules]).float()
        self.register_buffer("is_no_op", is_no_op, persistent=False)

    @property
    def module_names(self) -> tuple[str, ...]:
        """The modules in the order of the controller's logits: the nine, then one's own."""
        return tuple(self.neural_modules)

    @property
    def answer_modules(self) -> dict[str, AnswerModule]:
        """Those that write to memory, by name."""
        modules = self.neural_modules.items()
        return {name: module for name, module in modules if isinstance(module, AnswerModule)}

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

    def forward(
        self,
        control: Tensor,
        module_probs: Tensor,
        knowledge: KnowledgeBase,
        intervention: Intervention | None = None,
    ) -> Execution:
        """Run control [N,T,C] with module_probs [N,T,M] on the knowledge base."""
        given = intervention or Intervention()
        N, P = len(control), knowledge.cells.shape[1]
        weights, states = [], []
        # The stack is written to T times: in full precision, also where the rest is not.
        with torch.autocast(control.device.type, enabled=False):
            maps, pointer = self.pointer.empty(N, P, knowledge.dtype)
            stacks = [self.pointer.stack(maps, pointer)]
            control, module_probs = control.to(knowledge.dtype), module_probs.to(knowledge.dtype)
            ahead = {
                name: module(knowledge, control)
                for name, module in self.neural_modules.items()
                if module.outputs
                and not (module.inputs or module.runs)
                and not isinstance(module, AnswerModule)
            }
            given = given.scaled(ahead["_Find"], self.neural_modules["_Find"].score.weight)
            steps = zip(
                control.split(1, dim=1),
                module_probs.unbind(1),
                *(found.unbind(1) for found in ahead.values()),
                strict=True,
            )
            for number, (step_control, probs, *found) in enumerate(steps):
                step = _Step(knowledge, step_control, dict(zip(ahead, found, strict=True)))
                weights.append(self._weights(probs, pointer))
                effects = [self._effect(name, stacks[-1], step) for name in self.neural_modules]
                maps, pointer = average(effects, weights[-1], maps)
                pointer = self.pointer.sharpen(pointer)
                maps = given.maps(number, maps, pointer)
                stacks.append(self.pointer.stack(maps, pointer))
                states.append(maps)
            memory = self._memory(knowledge, control, torch.stack(weights, dim=1), stacks[:-1])
            return Execution(
                stack=torch.stack(states, dim=1),
                pointer=torch.stack([stack.pointer for stack in stacks[1:]], dim=1),
                attention=torch.stack([stack.tops[0] for stack in stacks[1:]], dim=1),
                memory=memory,
            )

    def _weights(self, probs: Tensor, pointer: Tensor) -> Tensor:
        """Module weights [N,M] of one step: the probabilities, less what is not valid."""
        if not self.validate_modules:
            return probs
        validity = pointer @ self.validity
        if self.hard_validation:
            validity = validity.round()
        weights = probs * validity
        # Dividing by what is left would be by zero for an impossible hard layout, and overflow in
        # the gradient of a soft one that has all but settled on an impossible module.
        missing = (LEAST_VALID - weights.sum(dim=1, keepdim=True)).clamp_min(0)
        weights = weights + missing * self.is_no_op
        return weights / weights.sum(dim=1, keepdim=True)

    def _effect(self, name: str, stack: Stack, step: "_Step") -> Effect:
        """What a module does to the stack at a step."""
        module = self.neural_modules[name]
        if module.runs:
            first, *others = module.runs
            effect = self._effect(first, stack, step)
            for other in others:
                between = self.pointer.look(partial(effect.read, stack.read), effect.pointer)
                effect = effect.then(self._effect(other, between, step))
            return effect
        if isinstance(module, AnswerModule) and module.keep_stack:
            return Effect(stack.pointer)
        pointer = stack.place(module.outputs - module.inputs)
        if not module.outputs:
            return Effect(pointer)
        if name in step.ahead:
            pushed = step.ahead[name]
        elif isinstance(module, AnswerModule):
            pushed = torch.zeros_like(stack.tops[0])
        else:
            popped = [a[:, None] for a in reversed(stack.tops[: module.inputs])]
            pushed = module(step.knowledge, step.control, *popped)[:, 0]
        return Effect(pointer, [pointer], [pushed])

    def _memory(
        self, knowledge: KnowledgeBase, control: Tensor, weights: Tensor, stacks: list[Stack]
    ) -> Tensor:
        """The memory [N,D] after all steps; no map ever depends on it.

        NoOp keeps memory, answer modules renew it, all others set it to zero. Takes control
        [N,T,C], module weights [N,T,M] and the stack that each step began with.
        """
        tops = zip(*(stack.tops for stack in stacks), strict=True)
        maps = [torch.stack(steps, dim=1) for steps in tops]  # [N,T,P] each
        share = dict(zip(self.neural_modules, weights.split(1, dim=2), strict=True))  # [N,T,1]
        new, of_memory, kept = [], [], [share["_NoOp"]]
        for name, module in self.answer_modules.items():
            described = module.describe(knowledge, control, *reversed(maps[: module.inputs]))
            renewed, columns = module.renew(control, described)
            new.append(share[name] * renewed)
            of_memory.append(columns)
            kept.append(share[name])
        columns = SharedOperand(torch.cat(of_memory)[None])  # [1,K*D,D] for K answer modules
        memory, *later = sum(new).unbind(1)  # Before the first step there is no memory to keep.
        shares = torch.cat(kept, dim=2).unbind(1)[1:]  # [N,1+K] each
        for new, kept in zip(later, shares, strict=True):
            renewed = columns.products(memory[None]).unflatten(2, (-1, self.memory_dim))[0]
            candidates = torch.cat([memory[:, None], renewed], dim=1)  # [N,1+K,D]
            memory = torch.baddbmm(new[:, None], kept[:, None], candidates).squeeze(1)
        return memory


@dataclass
class _Step:
    """What modules read at one step beside the stack: control [N,1,C], and maps made ahead."""

    knowledge: KnowledgeBase
    control: Tensor
    ahead: dict[str, Tensor]
