"""Where a scene's objects lie on the model's grid.

The grid covers the whole image, cell (row, column) the pixels from column * width / W to
(column + 1) * width / W, and rows alike, as features are extracted. Sizes of images are (width,
height) in the pixels that a scene's coordinates count.
"""

import numpy as np

from clevr_prep.clevr.scene_masks import SceneError
from clevr_prep.synthetic.render.camera import LENS, SENSOR

# An object at the border may have its centre outside, but not further out than this.
_BEYOND = 1.1
_RADIUS = {"large": 0.7, "small": 0.35}


def noted_size(scene: dict) -> tuple[int, int] | None:
    """The size of a scene's image, where the scene says: those rendered here do, CLEVR's do not."""
    render = scene.get("render") or {}
    if "width" not in render or "height" not in render:
        return None
    return render["width"], render["height"]


def check_size(scene: dict, size: tuple[int, int]) -> None:
    """Raise SceneError where a scene counts the pixels of a larger image than one of a size."""
    width, height = size
    for index, thing in enumerate(scene["objects"]):
        x, y = thing.get("pixel_coords", (0, 0))[:2]
        if x > _BEYOND * width or y > _BEYOND * height:
            raise SceneError(
                f"object {index} of its scene is at pixel ({x:g}, {y:g}), far outside the image of "
                f"{width} x {height} pixels; images must be as large as they were rendered"
            )


def object_boxes(scene: dict, size: tuple[int, int]) -> np.ndarray:
    """Each object's [x, y, w, h] in pixels, [K,4]: its ``bbox``, or else its estimated extent.

    CLEVR's scenes give but the pixel of an object's centre and its depth. The extent is then that
    of a sphere of the object's size there, whatever may stand in front of it: on rendered scenes,
    which have both, its IoU with the visible box is 0.73 in the mean.
    """
    focal = LENS / SENSOR * size[0]
    boxes = []
    try:
        for thing in scene["objects"]:
            if thing.get("bbox"):
                boxes.append([float(number) for number in thing["bbox"]])
                continue
            x, y, depth = thing["pixel_coords"]
            half = focal * _RADIUS[thing["size"]] / depth
            boxes.append([x - half, y - half, 2 * half, 2 * half])
    except KeyError as error:
        raise SceneError(f"scene of {scene.get('image_filename', '?')} has no {error}") from None
    return np.array(boxes).reshape(-1, 4)


def object_cells(scene: dict, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Which cells of an image of a size show each object: [K,P] bool for a grid (H, W), P = H * W.

    The cells whose centre lies in the object's box, and the one with the box's centre. A cell in
    several boxes belongs to the object whose centre is nearest, so that what lies on one object
    does not count for its neighbour as well; only cells with two centres are shared.
    """
    H, W = grid
    boxes = object_boxes(scene, size)
    strides = np.array(size, float) / (W, H)
    rows, columns = np.divmod(np.arange(H * W), W)
    centres = (np.stack([columns, rows], axis=1) + 0.5) * strides  # [P,2]
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    middle = (first + last) / 2  # [K,2]
    inside = ((centres >= first[:, None]) & (centres < last[:, None])).all(axis=2)  # [K,P]
    distance = np.square(centres - middle[:, None]).sum(axis=2)
    distance[~inside] = np.inf
    if len(boxes):
        inside &= distance == distance.min(axis=0)
    column, row = np.clip((middle // strides).astype(int), 0, (W - 1, H - 1)).T
    inside[np.arange(len(boxes)), row * W + column] = True
    return inside
