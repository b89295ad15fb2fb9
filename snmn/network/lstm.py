"""LSTM layers with TensorFlow's conventions, over one or both directions.

TensorFlow's ``BasicLSTMCell``, which the published model uses, differs from ``torch.nn.LSTM``
in three ways that matter for training: one bias instead of two (two would double its learning
rate), a constant 1.0 added to the forget pre-activation, and a Glorot-uniform start over the
joint [input + hidden, 4 * hidden] kernel. Gate order here is input, forget, candidate, output.

Source: section 3.1 of the paper (question encoding) and the specification of the original.

Shapes: B directions, h hidden units. Sequences are packed: longest first, one step's rows after
the other's, so that the R rows of a batch are its true words and none of its padding. Step s
has ``active[s]`` rows, for the sequences that are longer than s.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# grad * out * (1 - out) and grad * (1 - out^2), in one pass each.
sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
embedding_backward = torch.ops.aten.embedding_dense_backward

FORGET_BIAS = 1.0


class LSTM(nn.Module):
    """An LSTM in ``directions`` parallel copies that share nothing but their input's shape.

    The input product is separate from the recurrence (`project`, then `recur`), so that a caller
    whose inputs repeat, such as words of a small vocabulary, can project each distinct input once.
    """

    def __init__(self, *, input_dim: int, hidden_dim: int, directions: int = 1):
        super().__init__()
        self.input_dim, self.hidden_dim, self.directions = input_dim, hidden_dim, directions
        self.input_weight = nn.Parameter(torch.empty(directions, input_dim, 4 * hidden_dim))
        self.hidden_weight = nn.Parameter(torch.empty(directions, hidden_dim, 4 * hidden_dim))
        self.bias = nn.Parameter(torch.zeros(directions, 4 * hidden_dim))
        bound = math.sqrt(6.0 / (input_dim + hidden_dim + 4 * hidden_dim))
        nn.init.uniform_(self.input_weight, -bound, bound)
        nn.init.uniform_(self.hidden_weight, -bound, bound)

    def project(self, inputs: Tensor) -> Tensor:
        """Input part of the gates: [R, input_dim] -> [R, B, 4h]."""
        weight = self.input_weight.transpose(0, 1).flatten(1)
        bias = self.bias.clone()
        forget = slice(self.hidden_dim, 2 * self.hidden_dim)
        bias[:, forget] = bias[:, forget] + FORGET_BIAS
        gates = torch.addmm(bias.flatten(), inputs, weight)
        return gates.unflatten(-1, (self.directions, 4 * self.hidden_dim))

    def recur(
        self,
        gates: Tensor,
        rows: Tensor,
        active: Sequence[int],
        state: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run over time, ``active`` rows at each step.

        ``gates`` [V,4h] holds input parts of `project`, and packed ``rows`` [B,R] say which of
        them each step reads. ``state`` is (hidden, cell), each [B,N,h], zeros if not given.
        Returns hidden and cell states after every step, packed alike, [B,R,h].
        """
        gates = gates.to(self.hidden_weight.dtype)
        if state is None:
            zeros = gates.new_zeros(len(rows), active[0], self.hidden_dim)
            state = (zeros, zeros)
        hidden, cell = (part.to(gates.dtype) for part in state)
        if torch.compiler.is_compiling():
            # Its steps follow the lengths of each batch: nothing to compile. (Not a decorator,
            # which would load the compiler for everybody.)
            torch._dynamo.graph_break()
        with torch.autocast(gates.device.type, enabled=False):
            return _Recurrence.apply(gates, self.hidden_weight, hidden, cell, rows, tuple(active))


def _by_step(active: Sequence[int], *packed: Tensor) -> list[tuple[Tensor, ...]]:
    """The rows of each step, of several packed tensors [B,R,...]."""
    return list(zip(*(rows.split(active, dim=1) for rows in packed), strict=True))


class _Recurrence(Function):
    """The steps that must be taken one by one; everything else is done for all of them at once.

    In backward, too: each gate's derivative is a factor known beforehand, and the gradient of
    the recurrent weight one product over all steps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        weight: Tensor,
        hidden: Tensor,
        cell: Tensor,
        rows: Tensor,
        active: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        (B, R), h = rows.shape, weight.shape[1]
        hiddens, cells = gates.new_empty(B, R, h), gates.new_empty(B, R, h)
        # Without a backward pass to come, every step may work in the same place.
        kept = active if any(ctx.needs_input_grad) else None
        room = R if kept else active[0]
        activations, tanhs = gates.new_empty(B, room, 4 * h), gates.new_empty(B, room, h)
        write, forget, candidate, output = activations.chunk(4, dim=-1)
        work = (activations, activations[..., : 2 * h], write, forget, candidate, output, tanhs)
        work = _by_step(kept, *work) if kept else [tuple(x[:, :n] for x in work) for n in active]
        previous_hidden, previous_cell = hidden, cell
        for (row, new_hidden, new_cell), (gate, write_forget, w, f, c, o, tanh) in zip(
            _by_step(active, rows, hiddens, cells), work, strict=True
        ):
            n = gate.shape[1]
            for index, direction in zip(row, gate, strict=True):
                torch.index_select(gates, 0, index, out=direction)
            gate.baddbmm_(previous_hidden[:, :n], weight)
            write_forget.sigmoid_()
            c.tanh_()
            o.sigmoid_()
            previous_cell = torch.mul(f, previous_cell[:, :n], out=new_cell).addcmul_(w, c)
            torch.tanh(previous_cell, out=tanh)
            previous_hidden = torch.mul(o, tanh, out=new_hidden)
        ctx.active, ctx.vocabulary = active, len(gates)
        ctx.save_for_backward(activations, weight, hidden, cell, rows, hiddens, cells, tanhs)
        return hiddens, cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, hidden_grads: Tensor, cell_grads: Tensor):
        activations, weight, hidden, cell, rows, hiddens, cells, tanhs = ctx.saved_tensors
        active, h = ctx.active, weight.shape[1]

        def before(initial: Tensor, states: Tensor) -> Tensor:
            """The states [B,R,h] that each row's step began with."""
            steps = zip(states.split(active, dim=1), active[1:], strict=False)
            earlier = [state[:, :n] for state, n in steps]
            return torch.cat([initial[:, : active[0]], *earlier], dim=1)

        write, forget, candidate, output = activations.chunk(4, dim=-1)
        # What a gradient of the cell, or for the last one of the hidden state, is multiplied by.
        factors = torch.empty_like(activations)
        to_write, to_forget, to_candidate, to_output = factors.chunk(4, dim=-1)
        sigmoid_backward(candidate, write, grad_input=to_write)
        sigmoid_backward(before(cell, cells), forget, grad_input=to_forget)
        tanh_backward(write, candidate, grad_input=to_candidate)
        sigmoid_backward(tanhs, output, grad_input=to_output)
        to_cell = tanh_backward(output, tanhs)

        hidden_grads, cell_grads = hidden_grads.clone(), cell_grads.clone()  # Added to below.
        gate_grads = torch.empty_like(activations)
        by_gate = gate_grads.unflatten(-1, (4, h))  # [B,R,4,h]
        given = (hidden_grads, cell_grads, factors.unflatten(-1, (4, h)), to_cell, forget)
        weight_t = weight.transpose(1, 2)
        hidden_grad = cell_grad = None
        for step in reversed(_by_step(active, *given, gate_grads, by_gate)):
            into_hidden, into_cell, factor, cell_factor, f, out, out_by_gate = step
            if hidden_grad is not None:  # Of the sequences that went on, n or fewer.
                into_hidden[:, : hidden_grad.shape[1]] += hidden_grad
                into_cell[:, : cell_grad.shape[1]] += cell_grad
            into_cell.addcmul_(into_hidden, cell_factor)
            torch.mul(factor[:, :, :3], into_cell[:, :, None], out=out_by_gate[:, :, :3])
            torch.mul(factor[:, :, 3], into_hidden, out=out_by_gate[:, :, 3])
            hidden_grad = torch.bmm(out, weight_t)
            cell_grad = into_cell * f
        weight_grad = torch.bmm(before(hidden, hiddens).transpose(1, 2), gate_grads)
        gates_grad = embedding_backward(gate_grads, rows, ctx.vocabulary, -1, False)
        return gates_grad, weight_grad, hidden_grad, cell_grad, None, None
