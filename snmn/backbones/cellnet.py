"""CellNet: a small residual network, 224 x 224 pixels to 14 x 14 cells of 256 features.

It is trained on rendered scenes to say, in each cell, whether an object's centre lies there, and
that object's attributes and place (``python -m clevr_prep.train_cellnet``). The answers are linear
in the 256 features, which are what other models get.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from snmn.backbones.base import BackboneError, fit_state, load_state
from snmn.storage.checksums import file_sha256

WEIGHTS = Path(__file__).parent / "weights" / "cellnet.pt"

DIM = 256
GRID = 14
# Channels and residual blocks at strides 2, 4, 8, 16. Small objects are about 13 pixels across, so
# a good part of the work is done at strides 4 and 8, where their shape can still be seen.
STAGES = ((24, 0), (48, 1), (96, 2), (192, 1))

# Order of the classes in the weights file.
ATTRIBUTE_VALUES = {
    "size": ("large", "small"),
    "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
    "material": ("rubber", "metal"),
    "shape": ("cube", "sphere", "cylinder"),
}
# object: logit that a centre is in the cell. offset: where in the cell, (x, y) in cells from its
# middle. ground: place on the ground, (right, front) along the scene's directions in units of 3.
HEADS = {
    "object": 1,
    **{attribute: len(values) for attribute, values in ATTRIBUTE_VALUES.items()},
    "offset": 2,
    "ground": 2,
}


class ConvUnit(nn.Module):
    """Convolution with "same" padding, then batch normalisation unless folded away."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, folded: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, H/stride, W/stride]."""
        return self.norm(self.conv(x))

    def fold(self) -> None:
        """Put the running statistics of the normalisation into the convolution."""
        self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
        self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3 x 3 units around a shortcut."""

    def __init__(self, channels: int, folded: bool = False):
        super().__init__()
        self.first = ConvUnit(channels, channels, 3, folded=folded)
        self.second = ConvUnit(channels, channels, 3, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, channels, H, W], same shape out."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class CellNetTrunk(nn.Module):
    """Images [N, 3, 224, 224] in -1..1 to non-negative features [N, 256, 14, 14].

    Args:
        stages: (channels, residual blocks) at strides 2, 4, 8, 16.
        folded: batch normalisation is already in the convolutions, as in the weights file.
    """

    def __init__(self, *, stages: tuple[tuple[int, int], ...] = STAGES, folded: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels, blocks in stages:
            layers += [ConvUnit(inputs, channels, 3 if layers else 5, 2, folded), nn.ReLU()]
            layers += [ResidualBlock(channels, folded) for _ in range(blocks)]
            inputs = channels
        self.layers = nn.Sequential(*layers)
        # Convolutions cannot tell where they are; places on the ground depend on it.
        self.position = nn.Parameter(torch.zeros(1, inputs, GRID, GRID))
        self.neck = ConvUnit(inputs, DIM, 1, folded=folded)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 256, 14, 14] of images [N, 3, 224, 224] in -1..1."""
        return torch.relu(self.neck(self.layers(images) + self.position))


class CellNet(nn.Module):
    """Trunk with its linear prediction heads, :data:`HEADS`; arguments are the trunk's."""

    def __init__(self, *, stages: tuple[tuple[int, int], ...] = STAGES, folded: bool = False):
        super().__init__()
        self.trunk = CellNetTrunk(stages=stages, folded=folded)
        self.heads = nn.Conv2d(DIM, sum(HEADS.values()), 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predictions {head: [N, 14, 14, channels]} for images [N, 3, 224, 224] in -1..1."""
        return self.predict(self.trunk(images))

    def predict(self, features: Tensor) -> dict[str, Tensor]:
        """Predictions {head: [N, 14, 14, channels]} from features [N, 256, 14, 14]."""
        outputs = self.heads(features).float().permute(0, 2, 3, 1)
        return dict(zip(HEADS, outputs.split(list(HEADS.values()), dim=-1), strict=True))

    def fold(self) -> None:
        """Fold every batch normalisation into its convolution; predictions stay the same."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()

    @torch.no_grad()
    def rescale_features(self, scale: Tensor) -> None:
        """Divide feature d by ``scale[d]`` > 0; predictions stay the same. Needs :meth:`fold`."""
        self.trunk.neck.conv.weight.div_(scale[:, None, None, None])
        self.trunk.neck.conv.bias.div_(scale)
        self.heads.weight.mul_(scale[None, :, None, None])


def load_cellnet(weights: str | Path | None = None) -> CellNet:
    """CellNet with heads, ready to predict, from a weights file (None: the project's own).

    Raises:
        BackboneError: no such file, or not CellNet's; of the project's own one that is not the file
            its card is about.
    """
    path = WEIGHTS if weights is None else Path(weights)
    if weights is None and path.is_file():
        card = path.with_suffix(".json")
        if file_sha256(path) != json.loads(card.read_text(encoding="utf-8"))["sha256"]:
            raise BackboneError(
                f"{path} is not the file that its card {card} is about: restore both"
            )
    network = CellNet(folded=True)
    fit_state(network, load_state(path), path=path, what="a CellNet weights file")
    return network.eval()


def cellnet_trunk(*, weights: str | Path | None = None) -> CellNetTrunk:
    """The trunk alone, see :func:`load_cellnet`."""
    return load_cellnet(weights).trunk
