"""LSTM layers with TensorFlow's conventions, over one or both directions.

TensorFlow's ``BasicLSTMCell``, which the published model uses, differs from ``torch.nn.LSTM``
in three ways that matter for training: one bias instead of two (two would double its learning
rate), a constant 1.0 added to the forget pre-activation, and a Glorot-uniform start over the
joint [input + hidden, 4 * hidden] kernel. Gate order here is input, forget, candidate, output.

Source: section 3.1 of the paper (question encoding) and the specification of the original.
"""

import math

import torch
from torch import Tensor, nn

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
        """Input part of the gates: [R, input_dim] -> [R, directions, 4 * hidden_dim]."""
        weight = self.input_weight.transpose(0, 1).flatten(1)
        bias = self.bias.clone()
        forget = slice(self.hidden_dim, 2 * self.hidden_dim)
        bias[:, forget] = bias[:, forget] + FORGET_BIAS
        gates = torch.addmm(bias.flatten(), inputs, weight)
        return gates.unflatten(-1, (self.directions, 4 * self.hidden_dim))

    def recur(
        self, gates: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run over time: gates [S, directions, N, 4 * hidden_dim] of `project`.

        ``state`` is (hidden, cell), each [directions, N, hidden_dim], zeros if not given. Returns
        hidden and cell states after every step, [S, directions, N, hidden_dim].
        """
        if state is None:
            zeros = gates.new_zeros(*gates.shape[1:3], self.hidden_dim)
            state = (zeros, zeros)
        hidden, cell = state
        hiddens, cells = [], []
        for step in gates.unbind(0):
            pre_activation = torch.baddbmm(step, hidden, self.hidden_weight)
            write, forget, candidate, output = pre_activation.chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(candidate)
            hidden = torch.sigmoid(output) * torch.tanh(cell)
            hiddens.append(hidden)
            cells.append(cell)
        return torch.stack(hiddens), torch.stack(cells)
