"""Question encoder: word embeddings and a bidirectional LSTM (section 3.1 of the paper).

Shapes: E is the width of the embeddings, D that of the states, half of it for each direction.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.network.lstm import tensorflow_lstm


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
        self.forward_lstm = tensorflow_lstm(embed_dim, lstm_dim // 2)
        self.backward_lstm = tensorflow_lstm(embed_dim, lstm_dim // 2)

    def forward(self, question: Tensor, length: Tensor) -> EncodedQuestion:
        """Encode word indices [N,S] whose first ``length`` [N] are true words."""
        positions = torch.arange(question.shape[1], device=question.device)  # [S]
        mask = positions < length[:, None]  # [N,S]
        embeddings = F.embedding(question, self.embedding)  # [N,S,E]
        # The backward direction reads each question reversed within its own length, so that
        # padding comes after all true words in both directions and changes none of their states.
        reversal = torch.where(mask, length[:, None] - 1 - positions, positions)  # [N,S]
        reversed_embeddings = F.embedding(question.gather(1, reversal), self.embedding)
        forward, _ = self.forward_lstm(embeddings)  # [N,S,D/2]
        backward, _ = self.backward_lstm(reversed_embeddings)
        backward = backward.gather(1, reversal[..., None].expand_as(backward))
        last = (length - 1)[:, None, None].expand(-1, 1, forward.shape[2])
        summary = torch.cat([forward.gather(1, last).squeeze(1), backward[:, 0]], dim=1)
        states = torch.cat([forward, backward], dim=2).masked_fill(~mask[..., None], 0.0)
        return EncodedQuestion(embeddings=embeddings, states=states, summary=summary, mask=mask)
