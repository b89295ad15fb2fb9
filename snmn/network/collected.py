"""Matrix products with one operand that many steps share, at the cost of one gradient.

The modules read one knowledge base, the controller one question, at each of T steps. Left to
itself, autograd forms the gradient with respect to such an operand at every step, a sum of outer
products as large as the operand, and adds the T results up: by far the most memory traffic of a
training step. Here each product only notes its factors, and the operand's gradient is one product
of all of them.

Shapes: B batch, R rows, D features of the operand; K vectors of one product.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Ledger:
    """The outer products weights^T vectors, [B,K,R] and [B,K,D], of which a gradient is the sum."""

    def __init__(self):
        self._weights: list[Tensor] = []
        self._vectors: list[Tensor] = []

    def add(self, weights: Tensor, vectors: Tensor) -> None:
        """Note one term."""
        self._weights.append(weights)
        self._vectors.append(vectors)

    def settle(self, start: Tensor | None = None) -> Tensor | None:
        """The sum [B,R,D] of all terms, which are then forgotten.

        Added, in place, to ``start`` if given; None where there is nothing to add up.
        """
        if not self._weights:
            return start
        weights = torch.cat(self._weights, 1).transpose(1, 2)  # [B,R,sum of K]
        vectors = torch.cat(self._vectors, 1)
        self._weights, self._vectors = [], []
        if start is None:
            return torch.bmm(weights, vectors)
        return start.baddbmm_(weights, vectors)


class Collected:
    """An operand [B,R,D] that is multiplied many times.

    ``ledger`` is given by whoever settles it himself, which only `KnowledgeBase` does. A compiler
    cannot follow a ledger and gets ordinary products.
    """

    def __init__(self, operand: Tensor, ledger: Ledger | None = None):
        if ledger is None:
            ledger = Ledger()
            if not torch.compiler.is_compiling():
                operand = _Collect.apply(operand, ledger)
        self.operand, self.ledger = operand, ledger

    def products(self, query: Tensor) -> Tensor:
        """Products of vectors with all rows: [B,K,D] -> [B,K,R]."""
        query = query.to(self.operand.dtype)
        if torch.compiler.is_compiling():
            return torch.bmm(query, self.operand.transpose(1, 2))
        return _Products.apply(query, self.operand, self.ledger)

    def mixtures(self, weights: Tensor) -> Tensor:
        """Weighted sums of the rows: [B,K,R] -> [B,K,D]."""
        weights = weights.to(self.operand.dtype)
        if torch.compiler.is_compiling():
            return torch.bmm(weights, self.operand)
        return _Mixtures.apply(weights, self.operand, self.ledger)


class _Collect(Function):
    """The identity; backward, which autograd runs after all uses, adds what the ledger holds."""

    @staticmethod
    def forward(ctx: Any, operand: Tensor, ledger: Ledger) -> Tensor:
        ctx.ledger = ledger
        ctx.set_materialize_grads(False)
        return operand.view_as(operand)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None) -> tuple:
        collected = ctx.ledger.settle()
        if grad is not None:
            collected = grad if collected is None else collected.add_(grad)
        return collected, None


class _Products(Function):
    """query operand^T, whose gradient for the operand goes into the ledger."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, operand: Tensor, ledger: Ledger) -> Tensor:
        ctx.save_for_backward(query, operand)
        ctx.ledger = ledger
        return torch.bmm(query, operand.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        query, operand = ctx.saved_tensors
        grad = grad.to(operand.dtype)  # Mixed precision: the product may be shorter.
        if ctx.needs_input_grad[1]:
            ctx.ledger.add(grad, query)
        return torch.bmm(grad, operand) if ctx.needs_input_grad[0] else None, None, None


class _Mixtures(Function):
    """weights operand, likewise."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, operand: Tensor, ledger: Ledger) -> Tensor:
        ctx.save_for_backward(weights, operand)
        ctx.ledger = ledger
        return torch.bmm(weights, operand)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        weights, operand = ctx.saved_tensors
        grad = grad.to(operand.dtype)
        if ctx.needs_input_grad[1]:
            ctx.ledger.add(weights, grad)
        gradient = torch.bmm(grad, operand.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        return gradient, None, None
