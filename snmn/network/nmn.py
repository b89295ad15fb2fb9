"""The stack neural module network: runs the modules, softly chosen, for T steps.

Section 3.4 of the paper: at each step all modules run on the same state, and the next state is
their average by the controller's weights.

Difference from the original: with validation, a step whose weight is all but wholly on impossible
modules does nothing (``LEAST_VALID``), where the original divides by nearly zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snmn.network.collected import Collected
from snmn.network.knowledge_base import KnowledgeBase
from snmn.network.modules import (
    And,
    DescribeOne,
    DescribeTwo,
    Filter,
    Find,
    NoOp,
    Or,
    Scene,
    StepView,
    Transform,
)
from snmn.network.routing import Router
from snmn.network.stack import StackPointer

# When modules are validated and those that are possible have less weight than this, NoOp gets the
# difference.
LEAST_VALID = 1e-8


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
        # In the order of snmn.common.vocabulary.MODULES, which the controller's logits follow.
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
        modules = list(self.neural_modules.values())
        self.register_buffer("validity", self._validity(stack_length), persistent=False)
        no_op = torch.tensor([float(isinstance(module, NoOp)) for module in modules])
        self.register_buffer("no_op", no_op, persistent=False)
        self.router = Router(self.pointer, modules)
        # NoOp, DescribeOne and DescribeTwo; see `_remember`.
        keeps_memory = [
            m for m, module in enumerate(modules) if isinstance(module, NoOp | DescribeOne)
        ]
        self.register_buffer("keeps_memory", torch.tensor(keeps_memory), persistent=False)

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
        by_step = ([None] * T if plan is None else plan.unbind(1) for plan in plans.values())
        plans = zip(*by_step, strict=True)

        maps = knowledge.cells.new_zeros(N, L, P, dtype=knowledge.dtype)
        pointer = self.pointer.initial(N)
        stacks, pointers, weights, tops, below = [], [], [], [], []
        # The stack is written to T times: in full precision, also where the rest is not.
        with torch.autocast(maps.device.type, enabled=False):
            for plan, probs in zip(plans, module_probs.to(maps.dtype).unbind(1), strict=True):
                view = StepView(maps, self.router(pointer), knowledge)
                step_weights = self._weights(probs, pointer)
                maps, pointer = self._step(view, step_weights, plan)
                stacks.append(maps)
                pointers.append(pointer)
                weights.append(step_weights)
                tops.append(view.pooled_top)
                below.append(view.top_two[:, 1])
            stack, pointer = torch.stack(stacks, dim=1), torch.stack(pointers, dim=1)
            attention = torch.bmm(pointer.flatten(0, 1)[:, None], stack.flatten(0, 1))

        pooled = torch.stack(tops, dim=1), knowledge.pool(torch.stack(below, dim=1))
        memory = self._remember(control, torch.stack(weights, dim=1), pooled)
        attention = attention.view(N, T, P)
        return Execution(stack=stack, pointer=pointer, attention=attention, memory=memory)

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
        weights = weights + missing * self.no_op
        return weights / weights.sum(dim=1, keepdim=True)

    def _step(
        self, view: StepView, weights: Tensor, plans: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, Tensor]:
        """The next stack [N,L,P] and sharpened pointer [N,L]: averages over all modules."""
        maps = [
            written
            for module, plan in zip(self.neural_modules.values(), plans, strict=True)
            for written in module(view, plan)
        ]
        moves = torch.bmm(weights[:, None], view.routes.moves).squeeze(1)  # [N,2L]
        kept, landing = moves.chunk(2, dim=1)
        writers = weights.index_select(1, self.router.writer)  # [N,W] for W written maps
        places = (view.routes.writes * writers[..., None]).mT  # [N,L,W]
        new = torch.baddbmm(kept[..., None] * view.maps, places, torch.stack(maps, dim=1))
        return new, self.pointer.sharpen(landing)

    def _remember(self, control: Tensor, weights: Tensor, pooled: tuple[Tensor, Tensor]) -> Tensor:
        """The memory [N,D] after all steps; no map ever depends on it.

        NoOp keeps memory, the Describes renew it, all other modules set it to zero. Takes
        control [N,T,C], module weights [N,T,M] and the pooled top two maps, [N,T,D] each.
        """
        describers = [m for m in self.neural_modules.values() if isinstance(m, DescribeOne)]
        renewed, old_weights = zip(*(m.describe(control, pooled) for m in describers), strict=True)
        shares = weights.index_select(2, self.keeps_memory)  # [N,T,1+2]
        describing = shares.unsqueeze(-1).unbind(2)[1:]  # [N,T,1] each
        renewed = sum(w * new for w, new in zip(describing, renewed, strict=True))  # [N,T,D]
        old = Collected(torch.cat(old_weights)[None])  # [1,2D,D]

        memory = renewed[:, 0]  # The memory before the first step is zero.
        for new, share in zip(renewed.unbind(1)[1:], shares.unbind(1)[1:], strict=True):
            described = old.products(memory[None]).view(len(memory), len(describers), -1)
            candidates = torch.cat([memory[:, None], described], dim=1)  # [N,1+2,D]
            memory = torch.baddbmm(new[:, None], share[:, None], candidates).squeeze(1)
        return memory
