"""Knowledge base: the image as a grid of vectors that the modules attend to.

Section 3.3 of the paper. Shapes beside the usual alphabet: I images, P = H * W cells in row
order. A batch holds N = I * G questions; question n sees image n // G, so that questions of one
image share its knowledge base and their products with it are real matrix products.

Difference from the original: the position encoding's share of the first convolution is computed
once per cell instead of being concatenated to every image, which changes no number.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from snmn.network.collected import Collected, Ledger

# The smallest squared length that normalisation divides by, as tf.nn.l2_normalize has it.
NORM_FLOOR = 1e-12


def l2_normalize(vectors: Tensor) -> Tensor:
    """Scale vectors to unit length along the last dimension; the zero vector stays zero."""
    squared = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * squared.clamp_min(NORM_FLOOR).rsqrt()


def position_encoding(height: int, width: int, channels: int) -> Tensor:
    """Sinusoidal code of each cell, [H,W,channels].

    A quarter of the channels each: sin(row), cos(row), sin(column), cos(column), at periods
    10000^0 ... 10000^1.
    """
    if channels % 4:
        raise ValueError(f"PE_DIM must be a multiple of 4, not {channels}")
    periods = 10000.0 ** torch.linspace(0, 1, channels // 4, dtype=torch.float64)
    rows = torch.arange(height, dtype=torch.float64)[:, None] / periods
    columns = torch.arange(width, dtype=torch.float64)[:, None] / periods
    row_code = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    column_code = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([row_code, column_code], dim=2).float()


class KnowledgeBase:
    """The encoded images of one batch, and the products that modules take with them.

    cells [I,P,D]; ``questions_per_image`` is G. Results are in ``dtype``: float32 where cells
    are of a shorter type, as under mixed precision.
    """

    def __init__(self, cells: Tensor, questions_per_image: int):
        self.questions_per_image = questions_per_image
        self.dtype = torch.promote_types(cells.dtype, torch.float32)
        self._of_cells, self._of_squares = Ledger(), Ledger()
        if torch.compiler.is_compiling():
            self.cells, self._squares = cells, cells * cells
        else:
            self.cells, self._squares = _CellsAndSquares.apply(
                cells, self._of_cells, self._of_squares
            )
        self._cells = Collected(self.cells, self._of_cells)

    def score(self, query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Score every cell by its normalised product with a query: [N,K,D] -> [N,K,P].

        Computes weight . norm(cell * query) + bias without forming any [N,P,D] product: the sum
        over channels of weight * cell * query and the squared norm are one matrix product each,
        with the cells and with their squares. ``weight`` [out,D], ``bias`` [out] with out = 1,
        or K = 1 and one row of scores for each of several outputs: [N,out,P].
        """
        query = query.to(self.dtype)
        operands = self.cells, self._squares
        if torch.compiler.is_compiling():
            return _score(query, weight, bias, *operands)[0]
        return _Score.apply(query, weight, bias, *operands, self._of_cells, self._of_squares)

    def score_unmodulated(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Score every cell by itself, weight . norm(cell) + bias: [N,P] for weight [1,D]."""
        ones = torch.ones_like(weight).expand(len(self.cells), 1, -1)  # [I,1,D]
        scores = self.score(ones, weight, bias).squeeze(1)  # [I,P]
        return scores.repeat_interleave(self.questions_per_image, dim=0)

    def pool(self, attention: Tensor) -> Tensor:
        """Average the cells under softmax-normalised attention logits: [N,K,P] -> [N,K,D]."""
        weights = torch.softmax(attention, dim=-1)
        pooled = self._cells.mixtures(_together(weights, len(self.cells)))
        return pooled.to(self.dtype).view(*attention.shape[:2], -1)


def _together(rows: Tensor, images: int) -> Tensor:
    """Rows of one image's questions side by side: [N,K,...] -> [I,G*K,...]."""
    return rows.reshape(images, -1, rows.shape[-1])


def _score(query: Tensor, weight: Tensor, bias: Tensor, cells: Tensor, squares: Tensor):
    """See `KnowledgeBase.score`; also the scores less bias, and one over the norm, [N,K,P] both."""

    def products(rows: Tensor, operand: Tensor) -> Tensor:
        grouped = _together(rows, len(operand)).to(operand.dtype)
        return torch.bmm(grouped, operand.mT).to(query.dtype).view(*rows.shape[:2], -1)

    inverse_norm = products(query.square(), squares).clamp_min(NORM_FLOOR).rsqrt()
    normalised = products(query * weight, cells) * inverse_norm
    return normalised + bias[:, None], normalised, inverse_norm


class _Score(Function):
    """`_score`, with the knowledge base's share of the gradient noted in the ledgers.

    With s = x . k / |y| for x = query * weight and y = query * k:
    ds = k . dx / |y| - s / (2 |y|^2) d|y|^2, where d|y|^2 = k^2 . d(query^2).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        weight: Tensor,
        bias: Tensor,
        cells: Tensor,
        squares: Tensor,
        of_cells: Ledger,
        of_squares: Ledger,
    ) -> Tensor:
        scores, normalised, inverse_norm = _score(query, weight, bias, cells, squares)
        ctx.save_for_backward(query, weight, cells, squares, normalised, inverse_norm)
        ctx.ledgers = of_cells, of_squares
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        query, weight, cells, squares, normalised, inverse_norm = ctx.saved_tensors

        def mixtures(rows: Tensor, vectors: Tensor, operand: Tensor, ledger: Ledger) -> Tensor:
            rows = _together(rows, len(operand)).to(operand.dtype)
            ledger.add(rows, _together(vectors, len(operand)).to(operand.dtype))
            return torch.bmm(rows, operand).to(query.dtype).view(*vectors.shape)

        of_cells, of_squares = ctx.ledgers
        weighted = mixtures(grad * inverse_norm, query * weight, cells, of_cells)
        norm_grad = (grad * normalised).sum_to_size(inverse_norm.shape) * inverse_norm.square()
        # Nothing flows through a norm that is held at its floor.
        norm_grad.masked_fill_(inverse_norm >= NORM_FLOOR**-0.5, 0.0)
        squared = mixtures(norm_grad, query.square(), squares, of_squares)
        query_grad = (weighted * weight).sum_to_size(query.shape).addcmul_(query, squared, value=-1)
        weight_grad = (weighted * query).sum_to_size(weight.shape)
        bias_grad = grad.sum(dim=(0, 2)).sum_to_size(weight.shape[0])
        return query_grad, weight_grad, bias_grad, None, None, None, None


class _CellsAndSquares(Function):
    """Cells and their squares; backward settles what was noted of either, in one buffer."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, of_cells: Ledger, of_squares: Ledger):
        ctx.ledgers = of_cells, of_squares
        ctx.save_for_backward(cells)
        ctx.set_materialize_grads(False)
        return cells.view_as(cells), cells * cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cells_grad: Tensor | None, _: None) -> tuple:
        (cells,) = ctx.saved_tensors
        of_cells, of_squares = ctx.ledgers
        # `_Score` notes the gradient of squares times -2, and d cell^2 = 2 cell d cell.
        total = of_squares.settle()
        if total is not None:
            total.mul_(cells).neg_()
        total = of_cells.settle(total)
        if cells_grad is not None:
            total = cells_grad if total is None else total.add_(cells_grad)
        return total, None, None


class KnowledgeBaseEncoder(nn.Module):
    """Two 1x1 convolutions over features and position codes (section 3.3 of the paper).

    With ``normalize_features`` (not in the original) features are first centred and scaled, by
    numbers that `fit_normalization` takes from a sample.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        feature_dim: int,
        pe_dim: int,
        kb_dim: int,
        normalize_features: bool = False,
    ):
        super().__init__()
        self.normalize_features = normalize_features
        if normalize_features:
            self.register_buffer("feature_centre", torch.zeros(feature_dim))
            self.register_buffer("feature_scale", torch.ones(()))
        self.grid, self.feature_dim = (height, width), feature_dim
        # 1x1 convolutions on channels-last maps are linear layers.
        self.input = nn.Linear(feature_dim + pe_dim, kb_dim)
        self.output = nn.Linear(kb_dim, kb_dim)
        code = position_encoding(height, width, pe_dim).flatten(0, 1)
        self.register_buffer("position_code", code, persistent=False)  # [P,PE]

    def forward(self, image_features: Tensor, num_questions: int) -> KnowledgeBase:
        """Encode image_features [I,H,W,D] for ``num_questions`` N, a multiple of I."""
        images, *shape = image_features.shape
        if shape != [*self.grid, self.feature_dim]:
            raise ValueError(
                f"image features are {shape} (height, width, channels), "
                f"the model was built for {[*self.grid, self.feature_dim]}"
            )
        if images == 0 or num_questions % images:
            raise ValueError(f"{num_questions} questions cannot be shared out over {images} images")
        weight, code_weight = self.input.weight.split(
            [self.feature_dim, self.position_code.shape[1]], dim=1
        )
        per_cell = F.linear(self.position_code, code_weight, self.input.bias)  # [P,D]
        if self.normalize_features:
            # scale (features - centre) W = features (scale W) - centre (scale W)
            weight = weight * self.feature_scale
            per_cell = per_cell - F.linear(self.feature_centre, weight)
        hidden = F.linear(image_features.flatten(1, 2), weight)  # [I,P,D]
        # In place, the bias too: maps of this size cost as much to allocate as to compute.
        hidden = F.elu_(hidden.add_(per_cell))
        cells = F.linear(hidden, self.output.weight).add_(self.output.bias)
        return KnowledgeBase(cells, num_questions // images)

    def fit_normalization(self, sample: Tensor) -> None:
        """Take centre and scale from sample features [I,H,W,D]: each channel's mean, one scale.

        What all cells have in common then averages to nothing, so that even flat attention, which
        training starts with, passes on what is special about an image.
        """
        cells = sample.float().flatten(0, 2)
        self.feature_centre.copy_(cells.mean(dim=0))
        self.feature_scale.copy_(1 / (cells - self.feature_centre).std())
