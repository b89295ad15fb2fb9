"""Knowledge base: the image as a grid of vectors that the modules attend to.

Section 3.3 of the paper. Shapes beside the usual alphabet: I images, P = H * W cells in row
order. A batch holds N = I * G questions; question n sees image n // G, so that questions of one
image share its knowledge base and their products with it are real matrix products.

Difference from the original: the position encoding's share of the first convolution is computed
once per cell instead of being concatenated to every image, which changes no number.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.network.shared_operand import SharedOperand

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
    """The encoded images of one batch, and what modules ask of them.

    cells [I,P,D]; ``questions_per_image`` is G. Results are in ``dtype``: float32 where cells
    are of a shorter type, as under mixed precision.
    """

    def __init__(self, cells: Tensor, questions_per_image: int):
        self.cells, self.questions_per_image = cells, questions_per_image
        self.dtype = torch.promote_types(cells.dtype, torch.float32)
        self._cells = SharedOperand(cells)
        self._pooled: list[tuple[Tensor, Tensor]] = []  # Maps, and what is under them.

    def score(self, query: Tensor, layer: nn.Linear) -> Tensor:
        """Score each cell by layer(norm(cell * query)): queries [N,K,D] -> scores [N,K,P].

        No [N,K,P,D] product is formed: for weights w of the layer,
        w . norm(cell * query) = cell . (w * query) / |cell * query|, where
        |cell * query|^2 = cell^2 . query^2. Of a layer with several outputs, one query of each
        question gets the scores of all: [N,1,D] -> [N,out,P].
        """
        query = query.to(self.dtype)
        squared_norm = self._for_images(self._cells.products_of_squares, query.square())
        products = self._for_images(self._cells.products, layer.weight * query)
        return products * squared_norm.clamp_min(NORM_FLOOR).rsqrt() + layer.bias[:, None]

    def pool(self, attention: Tensor) -> Tensor:
        """Average the cells under softmax-normalised attention logits: [N,K,P] -> [N,K,D].

        Several modules may ask for the same map: it is averaged once.
        """
        for known, pooled in self._pooled:
            if known is attention:
                return pooled
        pooled = self._for_images(self._cells.mixtures, torch.softmax(attention, dim=-1))
        self._pooled.append((attention, pooled))
        return pooled

    def _for_images(self, product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """A product with the cells of each question's image, given and returned by question.

        Rows [N,K,...] of one image's questions are multiplied side by side, [I,G*K,...].
        """
        grouped = rows.reshape(len(self.cells), -1, rows.shape[-1]).to(self.cells.dtype)
        return product(grouped).to(self.dtype).view(*rows.shape[:2], -1)


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
        hidden = F.linear(image_features.flatten(1, 2).to(weight.dtype), weight)  # [I,P,D]
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
