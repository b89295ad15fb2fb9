"""Matrix products of one operand with the vectors of many steps, at the cost of one gradient.

Nothing of the model is in this file, and nothing here changes a number: `products` and `mixtures`
are `torch.bmm`. The modules read one knowledge base at each of T steps. Left to itself, autograd
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
        self._operand, self._noted = operand, []
        # A compiler sees through plain products alone.
        on_cpu = operand.device.type == "cpu" and not torch.compiler.is_compiling()
        self._collecting = self.collects and on_cpu and operand.requires_grad
        if self._collecting:
            self._operand = _Collected.apply(operand, self._noted)

    def products(self, vectors: Tensor) -> Tensor:
        """Products of vectors with all rows: [B,K,D] -> [B,K,R]."""
        vectors = vectors.to(self._operand.dtype)
        if self._collecting:
            return _Products.apply(vectors, self._operand, self._noted)
        return torch.bmm(vectors, self._operand.mT)

    def mixtures(self, weights: Tensor) -> Tensor:
        """Weighted sums of the rows: [B,K,R] -> [B,K,D]."""
        weights = weights.to(self._operand.dtype)
        if self._collecting:
            return _Mixtures.apply(weights, self._operand, self._noted)
        return torch.bmm(weights, self._operand)


class _Collected(Function):
    """The identity; backward, which autograd runs after all uses, makes one product of the notes.

    Noted are pairs of weights [B,K,R] and vectors [B,K,D], whose outer products weights^T vectors
    are the operand's gradient.
    """

    @staticmethod
    def forward(ctx: Any, operand: Tensor, noted: list) -> Tensor:
        ctx.noted = noted
        ctx.set_materialize_grads(False)
        return operand.view_as(operand)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rest: None) -> tuple:
        if not ctx.noted:
            return None, None
        weights, vectors = zip(*ctx.noted, strict=True)
        ctx.noted.clear()
        return torch.bmm(torch.cat(weights, 1).mT, torch.cat(vectors, 1)), None


class _Products(Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, operand: Tensor, noted: list) -> Tensor:
        ctx.save_for_backward(vectors, operand)
        ctx.noted = noted
        return torch.bmm(vectors, operand.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        vectors, operand = ctx.saved_tensors
        grad = grad.to(operand.dtype)  # Mixed precision: the product may be shorter.
        ctx.noted.append((grad, vectors))
        return torch.bmm(grad, operand) if ctx.needs_input_grad[0] else None, None, None


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
