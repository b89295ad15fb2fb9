"""Boxes of a scene's objects, and which of the objects can be referred to.

A box is what an object's pixels in the instance mask span.
"""

from collections.abc import Sequence

import numpy as np

from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.render.camera import Camera
from clevr_prep.synthetic.render.renderer import instance_mask

# What must show of an object that is referred to, in an image of this size.
TARGET_PIXELS, TARGET_IMAGE = 200, (320, 240)


def mask_boxes(mask: np.ndarray, count: int) -> list[tuple[list[int] | None, int]]:
    """For each of `count` objects of an instance mask [H, W]: its box and its number of pixels.

    A box is [x, y, width, height] with its last pixel at x + width - 1, y + height - 1; None for
    an object that cannot be seen.
    """
    found: list[tuple[list[int] | None, int]] = []
    for value in range(1, count + 1):
        rows, columns = np.nonzero(mask == value)
        if not len(rows):
            found.append((None, 0))
            continue
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
        found.append((box, len(rows)))
    return found


def add_boxes(scene: dict) -> None:
    """Give each object of a scene with `render` settings its `bbox` and `visible_pixels`."""
    settings = scene["render"]
    camera = Camera(tuple(settings["camera"]), settings["width"], settings["height"])
    boxes = mask_boxes(instance_mask(scene, camera), len(scene["objects"]))
    for thing, (box, pixels) in zip(scene["objects"], boxes, strict=True):
        thing["bbox"], thing["visible_pixels"] = box, pixels


def visible_targets(scene: dict) -> list[int]:
    """Indices of the objects of a scene with boxes that show enough to be referred to."""
    width, height = scene["render"]["width"], scene["render"]["height"]
    least = TARGET_PIXELS * width * height / (TARGET_IMAGE[0] * TARGET_IMAGE[1])
    return [i for i, thing in enumerate(scene["objects"]) if thing["visible_pixels"] >= least]


def can_be_referred_to(scene: dict, targets: Sequence[int]) -> bool:
    """Whether one of the targets looks like no other object of the scene.

    If no object does, no expression denotes any: even a relation has to begin somewhere.
    """
    looks = [tuple(thing[a] for a in ATTRIBUTES) for thing in scene["objects"]]
    return any(looks.count(looks[target]) == 1 for target in targets)
