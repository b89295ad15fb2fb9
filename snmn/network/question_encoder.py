"""Question encoder: word embeddings and a bidirectional LSTM (section 3.1 of the paper)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.network.lstm import LSTM


@dataclass
class EncodedQuestion:
    """What the rest of the model reads of a question.

    embeddings [N,S,E] word embeddings; states [N,S,D] LSTM states, forward and backward
    concatenated, zero beyond the length; summary [N,D] last forward and last backward state;
    mask [N,S] bool, true words.
    """

    embeddings: Tensor
    states: Tensor
    summary: Tensor
    mask: Tensor


class QuestionEncoder(nn.Module):
    """Embeds and encodes word indices; section 3.1 of the paper.

    ``fixed_embedding`` [words, E] replaces the learnt embedding by a constant one
    (USE_FIXED_WORD_EMBED); otherwise embeddings start from a normal distribution of variance 1/E.
    """

    def __init__(
        self,
        *,
        num_words: int,
        embed_dim: int,
        lstm_dim: int,
        fixed_embedding: Tensor | None = None,
    ):
        super().__init__()
        if lstm_dim % 2:
            raise ValueError(f"lstm_dim must be even, half for each direction, not {lstm_dim}")
        if fixed_embedding is None:
            self.embedding = nn.Parameter(torch.randn(num_words, embed_dim) / math.sqrt(embed_dim))
        else:
            if tuple(fixed_embedding.shape) != (num_words, embed_dim):
                raise ValueError(
                    f"the fixed word embedding is {tuple(fixed_embedding.shape)}, "
                    f"expected {(num_words, embed_dim)} (words, EMBED_DIM)"
                )
            self.register_buffer("embedding", fixed_embedding.float())
        self.lstm = LSTM(input_dim=embed_dim, hidden_dim=lstm_dim // 2, directions=2)

    def forward(self, question: Tensor, length: Tensor) -> EncodedQuestion:
        """Encode word indices [N,S] whose first ``length`` [N] are true words."""
        N, S = question.shape
        positions = torch.arange(S, device=question.device)
        mask = positions < length[:, None]  # [N,S]
        # Packed as the LSTM wants it: R true words, step by step, the longest question first.
        order = length.argsort(descending=True, stable=True)
        at_step = mask.sum(dim=0)  # [S] questions that are longer than s
        active = [n for n in at_step.tolist() if n]
        packed = mask[order].t()  # [S,N]
        start = (at_step.cumsum(0) - at_step)[:, None].expand(S, N).t()  # [N,S] row of the step
        # The backward direction reads each question reversed within its own length, so that both
        # directions run as one recurrence; read s is position ``reversal``.
        reversal = torch.where(mask, length[:, None] - 1 - positions, positions)  # [N,S]

        # The vocabulary is small: the input product of its words, once, then a look-up.
        gates = self.lstm.project(self.embedding).flatten(0, 1)  # [words*2,4h]
        read = torch.stack([question, question.gather(1, reversal)])  # [2,N,S]
        read = read[:, order].transpose(1, 2)[:, packed]  # [2,R]
        direction = torch.arange(2, device=question.device)[:, None]
        hidden, _ = self.lstm.recur(gates, 2 * read + direction, active)  # [2,R,h]

        # Unpack: where each position's forward and backward state lie; padding reads zeros.
        R = hidden.shape[1]
        place = order.argsort()[:, None] + start  # [N,S] row of the s-th read
        place = torch.stack([place, R + place.gather(1, reversal)], dim=2)  # [N,S,2]
        place = place.masked_fill(~mask[..., None], 2 * R)
        table = F.pad(hidden.flatten(0, 1), (0, 0, 0, 1))  # [2R+1,h]
        states = F.embedding(place, table, padding_idx=2 * R).flatten(2)  # [N,S,D]

        half = states.shape[2] // 2
        last = states[torch.arange(N, device=length.device), length - 1]
        return EncodedQuestion(
            embeddings=F.embedding(question, self.embedding),
            states=states,
            summary=torch.cat([last[:, :half], states[:, 0, half:]], dim=1),
            mask=mask,
        )
