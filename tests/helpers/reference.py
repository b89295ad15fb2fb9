"""A plain rendering of the modules, one [N,H,W,D] product at a time, to compare ours with.

Written from section 3.3 and 3.4 of the paper without any of the algebra of `snmn.network`: every
module copies the whole state, and the results are averaged. Slow, and easy to check by eye.
"""

import torch
import torch.nn.functional as F


def norm(x):
    return x / x.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()


class ReferenceNMN:
    """Runs the layers of a `StackNMN` on cells [N,P,D], one image for each question."""

    def __init__(self, nmn, *, guarded, hard_sharpen, temperature, validate, hard_validation):
        self.layers = nmn.neural_modules
        self.L = nmn.pointer.length
        self.guarded, self.hard_sharpen, self.temperature = guarded, hard_sharpen, temperature
        self.validate, self.hard_validation = validate, hard_validation
        self.memory_dim = nmn.memory_dim

    def up(self, p):
        moved = F.pad(p, (1, 0))[:, :-1]
        if self.guarded:
            moved = torch.cat([moved[:, :-1], moved[:, -1:] + p[:, -1:]], 1)
        return moved

    def down(self, p):
        moved = F.pad(p, (0, 1))[:, 1:]
        if self.guarded:
            moved = torch.cat([moved[:, :1] + p[:, :1], moved[:, 1:]], 1)
        return moved

    def read(self, stack, p):
        return (stack * p[:, None]).sum(-1)

    def write(self, stack, p, a):
        return a[..., None] * p[:, None] + stack * (1 - p[:, None])

    def pool(self, a):
        return (a.softmax(1)[..., None] * self.cells).sum(1)

    def find(self, state, c):
        layer, (stack, p, m) = self.layers["_Find"], state
        a = layer.score(norm(self.cells * layer.control(c)[:, None]))[..., 0]
        p = self.up(p)
        return self.write(stack, p, a), p, m * 0

    def scene(self, state, c):
        stack, p, m = state
        a = self.layers["_Scene"].score(norm(self.cells))[..., 0]
        p = self.up(p)
        return self.write(stack, p, a), p, m * 0

    def transform(self, state, c):
        layer, (stack, p, m) = self.layers["_Transform"], state
        pooled = self.pool(self.read(stack, p))
        a = layer.score(norm(self.cells * (layer.control(c) * pooled)[:, None]))[..., 0]
        return self.write(stack, p, a), p, m * 0

    def combine(self, state, function):
        stack, p, m = state
        second = self.read(stack, p)
        p = self.down(p)
        first = self.read(stack, p)
        return self.write(stack, p, function(first, second)), p, m * 0

    def filter(self, state, c):
        return self.combine(self.find(state, c), torch.minimum)

    def describe_one(self, state, c):
        layer, (stack, p, m) = self.layers["_DescribeOne"], state
        x = norm(layer.control(c) * self.pool(self.read(stack, p)))
        memory = layer.memory(torch.cat([c, m, x], 1))
        if not layer.keep_stack:
            stack = self.write(stack, p, stack[..., 0] * 0)
        return stack, p, memory

    def describe_two(self, state, c):
        layer, (stack, p, m) = self.layers["_DescribeTwo"], state
        below = self.down(p)
        pooled = self.pool(self.read(stack, below)) * self.pool(self.read(stack, p))
        memory = layer.memory(torch.cat([c, m, norm(layer.control(c) * pooled)], 1))
        if not layer.keep_stack:
            stack, p = self.write(stack, below, stack[..., 0] * 0), below
        return stack, p, memory

    def validity(self, p, probs):
        arity = [(0, 0), (0, 1), (1, 1), (1, 1), (2, 1), (2, 1), (0, 1), (1, 1), (2, 1)]
        table = [
            [float(i <= place <= self.L - 1 + i - o) for i, o in arity] for place in range(self.L)
        ]
        valid = p @ torch.tensor(table, dtype=p.dtype)
        weights = probs * (valid.round() if self.hard_validation else valid)
        return weights / weights.sum(1, keepdim=True)

    def run(self, control, probs, cells):
        """Stacks [T][N,P,L], pointers [T][N,L] and the last memory [N,D]."""
        self.cells = cells
        N, P, _ = cells.shape
        stack = cells.new_zeros(N, P, self.L)
        p = F.one_hot(torch.zeros(N, dtype=torch.long), self.L).to(cells)
        state = (stack, p, cells.new_zeros(N, self.memory_dim))
        stacks, pointers = [], []
        for t in range(control.shape[1]):
            c = control[:, t]
            results = [
                state,
                self.find(state, c),
                self.transform(state, c),
                self.filter(state, c),
                self.combine(state, torch.minimum),
                self.combine(state, torch.maximum),
                self.scene(state, c),
                self.describe_one(state, c),
                self.describe_two(state, c),
            ]
            weights = self.validity(state[1], probs[:, t]) if self.validate else probs[:, t]
            stack = sum(w[:, None, None] * r[0] for w, r in zip(weights.t(), results, strict=True))
            p = sum(w[:, None] * r[1] for w, r in zip(weights.t(), results, strict=True))
            memory = sum(w[:, None] * r[2] for w, r in zip(weights.t(), results, strict=True))
            if self.hard_sharpen:
                p = F.one_hot(p.argmax(1), self.L).to(p)
            else:
                p = (p / self.temperature).softmax(1)
            state = (stack, p, memory)
            stacks.append(stack)
            pointers.append(p)
        return stacks, pointers, state[2]
