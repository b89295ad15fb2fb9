"""Matrix products of one operand with the vectors of many steps, at the cost of one gradient.

Nothing of the model is in this file, and nothing here changes a number: all three methods are
`torch.bmm`. The modules read one knowledge base at each of T steps. Left to itself, autograd
forms the gradient of so large an operand anew for every product, and adds them all up: on a CPU
by far the most memory traffic of a training step. Here products only note their factors, and the
gradient is one product of all that was noted.

Shapes: B batch, R rows, D features of the operand; K vectors of one product.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class SharedOperand:
    """An operand [B,R,D] that is multiplied many times.

    The gradient is collected on CPUs, where it pays. Set ``collects`` to False to have PyTorch's
    own gradients everywhere, which are the same.
    """

    collects = True

    def __init__(self, operand: Tensor):
        self._operand, self._noted, self._noted_of_squares = operand, [], []
        # A compiler sees through plain products alone.
        on_cpu = operand.device.type == "cpu" and not torch.compiler.is_compiling()
        self._collecting = self.collects and on_cpu and operand.requires_grad
        if self._collecting:
            self._operand = _Collected.apply(operand, self._noted, self._noted_of_squares)
        self._squares = None

    def products(self, vectors: Tensor) -> Tensor:
        """Products of vectors with all rows: [B,K,D] -> [B,K,R]."""
        vectors = vectors.to(self._operand.dtype)
        if self._collecting:
            return _Products.apply(vectors, self._operand, self._operand, self._noted)
        return torch.bmm(vectors, self._operand.mT)

    def products_of_squares(self, vectors: Tensor) -> Tensor:
        """Products of vectors with the squares of all rows' elements: [B,K,D] -> [B,K,R]."""
        if self._squares is None:
            operand = self._operand.detach() if self._collecting else self._operand
            self._squares = operand.square()
        vectors = vectors.to(self._operand.dtype)
        if self._collecting:
            return _Products.apply(vectors, self._squares, self._operand, self._noted_of_squares)
        return torch.bmm(vectors, self._squares.mT)

    def mixtures(self, weights: Tensor) -> Tensor:
        """Weighted sums of the rows: [B,K,R] -> [B,K,D]."""
        weights = weights.to(self._operand.dtype)
        if self._collecting:
            return _Mixtures.apply(weights, self._operand, self._noted)
        return torch.bmm(weights, self._operand)


class _Collected(Function):
    """The identity; backward, which autograd runs after all uses, makes one product of the notes.

    Noted are pairs of weights [B,K,R] and vectors [B,K,D], whose outer products weights^T vectors
    are the gradient of the operand, or of its squares: d operand^2 = 2 operand d operand.
    """

    @staticmethod
    def forward(ctx: Any, operand: Tensor, noted: list, noted_of_squares: list) -> Tensor:
        ctx.noted = noted, noted_of_squares
        ctx.save_for_backward(operand)
        ctx.set_materialize_grads(False)
        return operand.view_as(operand)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rest: None) -> tuple:
        (operand,) = ctx.saved_tensors
        noted, noted_of_squares = ctx.noted
        total = None
        if noted_of_squares:
            weights, vectors = _side_by_side(noted_of_squares)
            total = torch.bmm(weights.mT, 2 * vectors).mul_(operand)
        if noted:
            weights, vectors = _side_by_side(noted)
            if total is None:
                total = torch.bmm(weights.mT, vectors)
            else:
                total.baddbmm_(weights.mT, vectors)
        return total, None, None


def _side_by_side(noted: list) -> tuple[Tensor, Tensor]:
    """All weights [B,sum of K,R] and vectors [B,sum of K,D], which are then forgotten."""
    weights, vectors = (torch.cat(parts, dim=1) for parts in zip(*noted, strict=True))
    noted.clear()
    return weights, vectors


class _Products(Function):
    """Of vectors with factor^T; ``operand`` has autograd run `_Collected` after this."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, factor: Tensor, operand: Tensor, noted: list) -> Tensor:
        ctx.save_for_backward(vectors, factor)
        ctx.noted = noted
        return torch.bmm(vectors, factor.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        vectors, factor = ctx.saved_tensors
        grad = grad.to(factor.dtype)  # Mixed precision: the product may be shorter.
        ctx.noted.append((grad, vectors))
        vectors_grad = torch.bmm(grad, factor) if ctx.needs_input_grad[0] else None
        return vectors_grad, None, None, None


class _Mixtures(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, operand: Tensor, noted: list) -> Tensor:
        ctx.save_for_backward(weights, operand)
        ctx.noted = noted
        return torch.bmm(weights, operand)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        weights, operand = ctx.saved_tensors
        grad = grad.to(operand.dtype)
        ctx.noted.append((weights, grad))
        return torch.bmm(grad, operand.mT) if ctx.needs_input_grad[0] else None, None, None
