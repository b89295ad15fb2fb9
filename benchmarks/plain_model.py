"""A plain rendering of the model, one [N,H,W,D] product at a time, to compare ours with.

Written from section 3 of the paper without any of the algebra of `snmn.network`: each step maps
the question anew, every module copies the whole state, and the results are averaged. Slow, and
easy to check by eye. Layers and their weights are those of a `snmn.network.model.SNMN`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.network.model import SNMN, SNMNOutput


def norm(x):
    return x / x.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()


class PlainNMN:
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
        valid = p @ torch.tensor(table).to(p)
        weights = probs * (valid.round() if self.hard_validation else valid)
        return weights / weights.sum(1, keepdim=True)

    def run(self, control, probs, cells):
        """Stacks [T][N,P,L], pointers [T][N,L] and the last memory [N,D]."""
        self.cells = cells
        N, P, _ = cells.shape
        stack = cells.new_zeros(N, P, self.L)
        p = torch.cat([cells.new_ones(N, 1), cells.new_zeros(N, self.L - 1)], 1)
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


class PlainSNMN(nn.Module):
    """The plain model with the weights of ours, as the published configurations have it.

    Cells have a scalar affine and boxes a convolution, if there are localisation heads.
    """

    def __init__(self, model: SNMN):
        super().__init__()
        self.model = model
        encoder = model.question_encoder
        one = encoder.forward_lstm
        self.lstm = nn.LSTM(one.input_size, one.hidden_size, batch_first=True, bidirectional=True)
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            setattr(self.lstm, name, getattr(encoder.forward_lstm, name))
            setattr(self.lstm, f"{name}_reverse", getattr(encoder.backward_lstm, name))
        self.nmn = PlainNMN(
            model.nmn,
            guarded=True,
            hard_sharpen=True,
            temperature=0.2,
            validate=False,
            hard_validation=False,
        )

    def encode_question(self, question: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [N,S,E], states [N,S,D] and summary [N,D]."""
        embeddings = F.embedding(question, self.model.question_encoder.embedding)
        packed = nn.utils.rnn.pack_padded_sequence(
            embeddings, length.cpu(), batch_first=True, enforce_sorted=False
        )
        states, (last, _) = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=question.shape[1]
        )
        return embeddings, states, torch.cat([last[0], last[1]], 1)

    def control(
        self, embeddings: Tensor, states: Tensor, summary: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Module logits [N,T,M], attention to words [N,T,S] and control [N,T,C]."""
        controller = self.model.controller
        c, results = controller.initial_control.expand(len(summary), -1), []
        weights = controller.step_question.weight.chunk(controller.num_steps)
        biases = controller.step_question.bias.chunk(controller.num_steps)
        for weight, bias in zip(weights, biases, strict=True):
            q = F.linear(summary, weight, bias)
            cq = controller.question_and_control(torch.cat([q, c], 1))
            scores = controller.word_score(states * cq[:, None])[..., 0]
            attention = scores.masked_fill(~mask, -torch.inf).softmax(1)
            c = (attention[..., None] * embeddings).sum(1)
            results.append((controller.module_score(cq), attention, c))
        return tuple(torch.stack(values, 1) for values in zip(*results, strict=True))

    def encode_images(self, features: Tensor) -> Tensor:
        """Cells [I,P,D] of features [I,H,W,F]: two 1x1 convolutions."""
        encoder = self.model.knowledge_base
        if encoder.normalize_features:
            features = (features - encoder.feature_centre) * encoder.feature_scale
        code = encoder.position_code.expand(len(features), -1, -1)
        code = code.unflatten(1, features.shape[1:3])
        hidden = torch.cat([features, code], 3).permute(0, 3, 1, 2)
        hidden = F.conv2d(hidden, encoder.input.weight[..., None, None], encoder.input.bias)
        cells = F.conv2d(F.elu(hidden), encoder.output.weight[..., None, None], encoder.output.bias)
        return cells.flatten(2).transpose(1, 2)

    def forward(self, question: Tensor, length: Tensor, image_features: Tensor) -> SNMNOutput:
        """As `snmn.network.model.SNMN.forward`."""
        N, S = question.shape
        I, H, W, _ = image_features.shape
        mask = torch.arange(S, device=length.device) < length[:, None]
        embeddings, states, summary = self.encode_question(question, length)
        logits, words, control = self.control(embeddings, states, summary, mask)
        cells = self.encode_images(image_features).repeat_interleave(N // I, dim=0)
        probs = logits.softmax(-1)
        stacks, pointers, memory = self.nmn.run(control, probs, cells)
        stack, pointer = torch.stack(stacks, 1).transpose(2, 3), torch.stack(pointers, 1)
        attention = (stack * pointer[..., None]).sum(2)
        output = SNMNOutput(
            answer_logits=None,
            module_logits=logits,
            module_probs=probs,
            question_attention=words,
            stack=stack.unflatten(-1, (H, W)),
            stack_pointer=pointer,
            image_attention=attention.unflatten(-1, (H, W)),
            memory=memory,
        )
        if self.model.answer_head is not None:
            head = self.model.answer_head
            hidden = F.elu(head.hidden(torch.cat([summary, memory], 1)))
            output.answer_logits = head.output(head.dropout(hidden))
        if self.model.cell_scores is not None:
            affine = self.model.cell_scores
            output.cell_scores = affine.weight.abs() * attention[:, -1] + affine.bias
            output.box_offsets = self.model.box_offsets.offset(cells)
            best = output.cell_scores.argmax(1)
            output.box_offset = output.box_offsets[torch.arange(N, device=best.device), best]
        return output
