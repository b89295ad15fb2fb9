"""`torch.nn.LSTM` with the conventions of TensorFlow's, which the published model uses.

TensorFlow's cell has one bias where PyTorch's has two, adds a constant 1 to the forget gate before
its sigmoid, and starts from a Glorot-uniform kernel over input and hidden state together. Here the
second bias is that constant and not trained. Gates lie in PyTorch's order: input, forget,
candidate, output.

Source: the specification of the original; section 3.1 of the paper has a bidirectional LSTM.
"""

import torch
from torch import Tensor, nn


def tensorflow_lstm(input_dim: int, hidden_dim: int) -> nn.LSTM:
    """One layer in one direction, [N,S,input_dim] to [N,S,hidden_dim]."""
    lstm = nn.LSTM(input_dim, hidden_dim, batch_first=True)
    # Glorot's bound for the joint [input + hidden, 4 * hidden] kernel.
    bound = (6 / (input_dim + hidden_dim + 4 * hidden_dim)) ** 0.5
    nn.init.uniform_(lstm.weight_ih_l0, -bound, bound)
    nn.init.uniform_(lstm.weight_hh_l0, -bound, bound)
    nn.init.zeros_(lstm.bias_ih_l0)
    lstm.bias_hh_l0 = nn.Parameter(forget_bias(hidden_dim), requires_grad=False)
    return lstm


def forget_bias(hidden_dim: int) -> Tensor:
    """TensorFlow's constant, 1 for the forget gate and 0 for the others: [4 * hidden_dim]."""
    bias = torch.zeros(4 * hidden_dim)
    bias[hidden_dim : 2 * hidden_dim] = 1.0
    return bias
