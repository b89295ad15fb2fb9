"""Question encoder: word embeddings and a bidirectional LSTM (section 3.1 of the paper)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.lstm import LSTM


@dataclass
class EncodedQuestion:
    """What the rest of the model reads of a question.

    embeddings [N,S,E] word embeddings; states [N,S,D] LSTM states, forward and backward
    concatenated, zero beyond the length; summary [N,D] last forward and last backward state;
    mask [N,S] 1.0 for true words.
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
        # The backward direction reads each question reversed within its own length, so both
        # directions run as one recurrence and padding always comes last, where it is harmless.
        reversal = torch.where(mask, length[:, None] - 1 - positions, positions)  # [N,S]

        # The vocabulary is small: the input product of its words, once, then a look-up.
        gates = self.lstm.project(self.embedding)  # [words, 2, 4h]
        words = torch.stack([question, question.gather(1, reversal)])  # [2,N,S]
        gates = torch.stack(
            [F.embedding(words[k].t(), gates[:, k]) for k in range(2)], dim=1
        )  # [S,2,N,4h]
        hidden, _ = self.lstm.recur(gates)  # [S,2,N,h]

        forward, backward = hidden.permute(1, 2, 0, 3)  # [N,S,h] each
        summary = torch.cat(
            [
                states[torch.arange(N, device=length.device), length - 1]
                for states in (forward, backward)
            ],
            dim=1,
        )
        backward = backward.gather(1, reversal[..., None].expand_as(backward))
        states = torch.cat([forward, backward], dim=2) * mask[..., None]
        return EncodedQuestion(
            embeddings=F.embedding(question, self.embedding),
            states=states,
            summary=summary,
            mask=mask.to(states.dtype),
        )
