"""What each cell of the grid should say about a scene."""

from collections.abc import Sequence

import numpy as np

from snmn.backbones.cellnet import ATTRIBUTE_VALUES, GRID

# CLEVR places objects within 3 units of the middle.
GROUND_UNIT = 3.0
IGNORE = -100


def object_places(scene: dict, box: Sequence[float], grid: int = GRID) -> np.ndarray:
    """Centres of a scene's objects in cells, float64 [objects, 2] as (x, y).

    Args:
        scene: CLEVR scene with ``pixel_coords``.
        box: the part (left, top, right, bottom) of the image, in its pixels, that the grid covers.
        grid: cells each way.
    """
    left, top, right, bottom = box
    pixels = np.array([thing["pixel_coords"][:2] for thing in scene["objects"]]).reshape(-1, 2)
    return (pixels - (left, top)) / (right - left, bottom - top) * grid


def cell_targets(
    scene: dict, box: Sequence[float], *, mirrored: bool = False, grid: int = GRID
) -> dict[str, np.ndarray]:
    """Targets of every head for one image.

    Where two centres share a cell, the object nearer to the camera has it; a centre outside the
    box has none.

    Args:
        scene: CLEVR scene: pixel_coords (x, y, depth), 3d_coords, attributes and directions.
        box: see :func:`object_places`.
        mirrored: the image was flipped left to right after the box was cut out.
        grid: cells each way.

    Returns:
        object [grid, grid] float32 0 or 1; size, color, material, shape [grid, grid] int64, IGNORE
        where there is no object; offset and ground [grid, grid, 2] float32, 0 there.
    """
    targets = {"object": np.zeros((grid, grid), np.float32)}
    for attribute in ATTRIBUTE_VALUES:
        targets[attribute] = np.full((grid, grid), IGNORE, np.int64)
    for name in ("offset", "ground"):
        targets[name] = np.zeros((grid, grid, 2), np.float32)
    places = object_places(scene, box, grid)
    side = -1 if mirrored else 1
    if mirrored:
        places[:, 0] = grid - places[:, 0]
    axes = np.array([scene["directions"][name] for name in ("right", "front")])
    far_to_near = sorted(
        range(len(places)), key=lambda i: scene["objects"][i]["pixel_coords"][2], reverse=True
    )
    for i in far_to_near:
        thing, place = scene["objects"][i], places[i]
        column, row = np.floor(place).astype(int)
        if not (0 <= column < grid and 0 <= row < grid):
            continue
        targets["object"][row, column] = 1
        for attribute, values in ATTRIBUTE_VALUES.items():
            targets[attribute][row, column] = values.index(thing[attribute])
        targets["offset"][row, column] = place - (column, row) - 0.5
        right, front = axes @ np.asarray(thing["3d_coords"]) / GROUND_UNIT
        targets["ground"][row, column] = side * right, front
    return targets
