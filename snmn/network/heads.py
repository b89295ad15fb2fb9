"""Output heads: an answer from the memory, or a box from the last attention map.

Section 3.5 of the paper ("Network training and outputs"). Shapes: P = H * W cells, A answers.
"""

import torch
from torch import Tensor, nn

from snmn.network.knowledge_base import KnowledgeBase, l2_normalize


class AnswerHead(nn.Module):
    """Two-layer classifier of [question; memory], or of the memory alone.

    keep_prob is the share of hidden units kept in training (DROPOUT_KEEP_PROB).
    """

    def __init__(
        self,
        *,
        memory_dim: int,
        question_dim: int,
        hidden_dim: int,
        num_answers: int,
        use_question: bool = True,
        keep_prob: float = 1.0,
    ):
        super().__init__()
        self.use_question = use_question
        self.hidden = nn.Linear(memory_dim + (question_dim if use_question else 0), hidden_dim)
        self.dropout = nn.Dropout(1 - keep_prob)
        self.output = nn.Linear(hidden_dim, num_answers)

    def forward(self, question: Tensor, memory: Tensor) -> Tensor:
        """Answer logits [N,A] from the question's summary [N,D] and the memory [N,D]."""
        inputs = torch.cat([question, memory], dim=1) if self.use_question else memory
        return self.output(self.dropout(nn.functional.elu(self.hidden(inputs))))


class CellScores(nn.Module):
    """Which cell holds the box's centre: scores [N,P] from the last attention map [N,P].

    ``affine`` is "scalar" (LOC_SCORES_POS_AFFINE: |w| a + b), "cell" (one w and b for each cell,
    as in the PyTorch adaptation, kept so that its checkpoints can be imported), or None for a
    3x3 convolution.
    """

    def __init__(self, *, height: int, width: int, affine: str | None):
        super().__init__()
        if affine not in ("scalar", "cell", None):
            raise ValueError(f"affine must be 'scalar', 'cell' or None, not {affine!r}")
        self.grid, self.affine = (height, width), affine
        if affine is None:
            self.convolution = nn.Conv2d(1, 1, kernel_size=3, padding=1)
        else:
            shape = () if affine == "scalar" else (height * width,)
            self.weight = nn.Parameter(torch.ones(shape))
            self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, attention: Tensor) -> Tensor:
        """Score every cell."""
        if self.affine is None:
            return self.convolution(attention.view(-1, 1, *self.grid)).flatten(1)
        return self.weight.abs() * attention + self.bias


class BoxOffsets(nn.Module):
    """Where the box's corners lie relative to its cell, four numbers in units of the grid.

    With ``convolutional`` (BBOX_REG_AS_FCN) every cell has offsets of its own, [N,P,4]; otherwise
    there is one set for an image, [N,4], from the knowledge base averaged under the attention.
    ``use_question`` (BBOX_REG_USE_QUESTION) modulates either by the question.
    """

    def __init__(self, *, kb_dim: int, question_dim: int, convolutional: bool, use_question: bool):
        super().__init__()
        self.convolutional, self.use_question = convolutional, use_question
        if use_question:
            self.question = nn.Linear(question_dim, kb_dim)
        self.offset = nn.Linear(kb_dim, 4)

    def forward(self, knowledge: KnowledgeBase, attention: Tensor, question: Tensor) -> Tensor:
        """Offsets [N,P,4] or [N,4] from the last attention [N,P] and the question [N,D]."""
        if self.convolutional:
            if self.use_question:
                query = self.question(question)[:, None]  # [N,1,D]
                return knowledge.score(query, self.offset).mT
            offsets = self.offset(knowledge.cells)  # [I,P,4]
            return offsets.repeat_interleave(knowledge.questions_per_image, dim=0)
        pooled = knowledge.pool(attention[:, None])[:, 0]  # [N,D]
        if self.use_question:
            pooled = l2_normalize(self.question(question) * pooled)
        return self.offset(pooled)


def offsets_at(offsets: Tensor, cell: Tensor) -> Tensor:
    """The offsets [N,4] at cells [N], from either form that `BoxOffsets` gives."""
    if offsets.dim() == 2:
        return offsets
    return offsets.gather(1, cell[:, None, None].expand(-1, 1, 4)).squeeze(1)
