"""Small models, and modules beside the nine, for tests of what is done with them."""

import torch

import snmn

# Arguments of `build_model`; tests change what they are about.
SMALL = {
    "feature_dim": 6,
    "height": 3,
    "width": 4,
    "embed_dim": 6,
    "lstm_dim": 8,
    "pe_dim": 4,
    "kb_dim": 8,
    "memory_dim": 8,
    "answer_hidden_dim": 8,
}


class Not(snmn.NeuralModule):
    """Minus the map."""

    inputs, outputs = 1, 1

    def forward(self, knowledge, control, a):
        return -a


class Count(snmn.AnswerModule):
    """How much the map attends to, through a layer of its own."""

    inputs = 1

    def __init__(self, *, kb_dim, **sizes):
        super().__init__(kb_dim=kb_dim, **sizes)
        self.number = torch.nn.Linear(1, kb_dim)

    def describe(self, knowledge, control, a):
        return self.number(a.sigmoid().sum(-1, keepdim=True))
