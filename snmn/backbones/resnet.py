"""torchvision's ResNet-101, cut off after a block."""

from http.client import HTTPException
from pathlib import Path

from torch import nn
from torchvision.models import ResNet101_Weights, resnet101

from snmn.backbones.base import BackboneError, fit_state, load_state


def _pretrained_state(name: str) -> dict:
    try:
        return ResNet101_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise BackboneError(
            f"no ImageNet weights for {name}: run once with internet access so that torchvision "
            "can download them, or pass --weights FILE with torchvision's resnet101 state dict "
            f"({error})"
        ) from error


def resnet101_trunk(*, name: str, last: str, weights: str | Path | None) -> nn.Module:
    """ResNet-101 from the image to the output of block ``last``.

    Args:
        name: registry name, for messages.
        last: "layer2" (conv3 block, 512 channels, stride 8) or "layer3" (conv4 block, 1024
            channels, stride 16).
        weights: file with a torchvision resnet101 state dict (what comes after ``last`` may be
            missing); None for torchvision's own ImageNet weights.

    Raises:
        BackboneError: no weights to be had, or a file that does not fit.
    """
    state = _pretrained_state(name) if weights is None else load_state(weights)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    names = names[: names.index(last) + 1]
    network = resnet101(weights=None)
    trunk = nn.Sequential()
    for child in names:
        trunk.add_module(child, getattr(network, child))
    source = "torchvision's download" if weights is None else weights
    fit_state(trunk, state, path=source, what="a torchvision resnet101 state dict")
    return trunk
