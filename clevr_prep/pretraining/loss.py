"""Training loss of CellNet's heads."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clevr_prep.pretraining.targets import IGNORE
from snmn.backbones.cellnet import ATTRIBUTE_VALUES

# An image has about 6 objects in 196 cells: each cell's object loss is summed over the image and
# divided by its objects, like the others.
OBJECT_WEIGHT = 1.0
# Shape is by far the hardest to see.
ATTRIBUTE_WEIGHTS = {"size": 0.5, "color": 0.5, "material": 0.5, "shape": 1.0}
OFFSET_WEIGHT = 2.0
GROUND_WEIGHT = 2.0
# Whoever looks for objects in the features finds them sooner when all other cells are near zero.
BACKGROUND_WEIGHT = 0.5


def background_ratio(features: Tensor, present: Tensor) -> Tensor:
    """Mean activation of cells without an object's centre over that of cells with one.

    Being a ratio, it cannot be made small by making all features small. 1 stands for the
    denominator where there is no object.

    Args:
        features: non-negative [N, D, H, W].
        present: bool [N, H, W], True where an object's centre is.
    """
    activation = features.float().mean(1)
    objects = (activation * present).sum() / present.sum().clamp_min(1)
    objects = torch.where(present.any(), objects, torch.ones_like(objects))
    background = (activation * ~present).sum() / (~present).sum().clamp_min(1)
    return background / objects.clamp_min(1e-6)


def cell_losses(
    features: Tensor, outputs: dict[str, Tensor], targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Weighted loss of each head and of the background, a scalar each; training minimises the sum.

    Args:
        features: [N, D, H, W] of CellNet's trunk.
        outputs: {head: [N, H, W, channels]} of CellNet.
        targets: batched :func:`~clevr_prep.pretraining.targets.cell_targets`.
    """
    present = targets["object"] > 0.5
    objects = present.sum().clamp_min(1)
    losses = {
        "object": OBJECT_WEIGHT
        * F.binary_cross_entropy_with_logits(
            outputs["object"].squeeze(-1), targets["object"], reduction="sum"
        )
        / objects
    }
    for attribute in ATTRIBUTE_VALUES:
        loss = F.cross_entropy(
            outputs[attribute].flatten(0, 2),
            targets[attribute].flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        )
        losses[attribute] = ATTRIBUTE_WEIGHTS[attribute] * loss / objects
    for name, weight in (("offset", OFFSET_WEIGHT), ("ground", GROUND_WEIGHT)):
        error = (outputs[name] - targets[name])[present]
        losses[name] = weight * error.abs().sum() / objects
    losses["background"] = BACKGROUND_WEIGHT * background_ratio(features, present)
    return losses


def total(losses: dict[str, Tensor]) -> Tensor:
    """Sum of the losses."""
    return torch.stack(list(losses.values())).sum()
