"""The backbones that features can come from, one entry each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from snmn.backbones.base import Backbone, BackboneError
from snmn.backbones.cellnet import cellnet_trunk
from snmn.backbones.resnet import resnet101_trunk


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone: what comes out, what goes in, and how to make it.

    Attributes:
        name: name on the command line and in feature stores.
        dim: D, features per cell.
        stride: pixels per cell.
        preprocess: allowed keys of ``base.PREPROCESS``, the default first.
        build: called with ``weights`` (file or None for its own), gives the trunk.
        about: one line for --help.
        image_size: pixels each way that images are resized to.
    """

    name: str
    dim: int
    stride: int
    preprocess: tuple[str, ...]
    build: Callable[..., nn.Module]
    about: str
    image_size: int = 224

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) in cells."""
        return (self.image_size // self.stride,) * 2


BACKBONES = {
    entry.name: entry
    for entry in (
        BackboneEntry(
            name="resnet101_c4",
            dim=1024,
            stride=16,
            preprocess=("imagenet", "caffe"),
            build=partial(resnet101_trunk, name="resnet101_c4", last="layer3"),
            about="ImageNet ResNet-101 up to the conv4 block, as published",
        ),
        BackboneEntry(
            name="resnet101_c3",
            dim=512,
            stride=8,
            preprocess=("imagenet", "caffe"),
            build=partial(resnet101_trunk, name="resnet101_c3", last="layer2"),
            about="ImageNet ResNet-101 up to the conv3 block, a finer grid",
        ),
        BackboneEntry(
            name="cellnet",
            dim=256,
            stride=16,
            preprocess=("signed",),
            build=cellnet_trunk,
            about="small network trained on rendered scenes; its weights come with the project",
        ),
    )
}


def build_backbone(
    name: str, *, weights: str | Path | None = None, preprocess: str | None = None
) -> Backbone:
    """A frozen backbone with its weights.

    Args:
        name: key of :data:`BACKBONES`.
        weights: file with its state dict; None for the default weights.
        preprocess: one of the entry's; None for its first.

    Raises:
        BackboneError: unknown name or preprocessing, or no weights.
    """
    if name not in BACKBONES:
        raise BackboneError(f"no backbone {name!r}; there are {', '.join(BACKBONES)}")
    entry = BACKBONES[name]
    preprocess = preprocess or entry.preprocess[0]
    if preprocess not in entry.preprocess:
        raise BackboneError(
            f"{name} has no preprocessing {preprocess!r}, only {', '.join(entry.preprocess)}"
        )
    return Backbone(
        entry.build(weights=weights),
        name=name,
        preprocess=preprocess,
        image_size=entry.image_size,
    )
