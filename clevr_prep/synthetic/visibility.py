"""Which objects can be seen where: short lists per tile of pixels, and instance masks."""

import math

import numpy as np

from .camera import Camera
from .geometry import GROUND, nearest
from .kernels import kernel

TILE = 8


def tile_lists(geometry: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Objects whose bounding sphere reaches each tile of 8 x 8 pixels, row by row.

    Returns lists int64 [tiles, n] and how many of each are valid, int64 [tiles].
    """
    seen = (geometry[:, 1:4] - np.asarray(camera.place)) @ camera.axes.T
    centre = np.array([camera.width / 2, camera.height / 2])
    spans = []
    for axis in (0, 1):
        # The tangents from the eye to a circle, in the plane of the view and this image axis.
        a, z, r2 = seen[:, axis], seen[:, 2], geometry[:, 7]
        root = np.sqrt(r2 * np.maximum(a * a + z * z - r2, 0.0))
        spans.append([(a * z - root) / (z * z - r2), (a * z + root) / (z * z - r2)])
    low = np.stack([spans[0][0], -spans[1][1]]) * camera.focal + centre[:, None] - 1
    high = np.stack([spans[0][1], -spans[1][0]]) * camera.focal + centre[:, None] + 1
    across, down = -(-camera.width // TILE), -(-camera.height // TILE)
    x, y = np.arange(across) * TILE, np.arange(down) * TILE
    in_x = (low[0][None] <= x[:, None] + TILE) & (high[0][None] >= x[:, None])
    in_y = (low[1][None] <= y[:, None] + TILE) & (high[1][None] >= y[:, None])
    inside = (in_y[:, None] & in_x[None]).reshape(across * down, -1)
    # A stable sort of "not inside" brings the listed objects to the front in their order.
    return np.argsort(~inside, axis=1, kind="stable"), inside.sum(axis=1)


@kernel
def cover(eye, axes, focal, geometry, tiles, counts, mask):
    """Write the object seen at each pixel's centre, plus one, into `mask` [H, W]."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            tile = (y // TILE) * ((width + TILE - 1) // TILE) + x // TILE
            if counts[tile] == 0:
                mask[y, x] = 0
                continue
            fx, fy = (x + 0.5 - 0.5 * width) / focal, (0.5 * height - y - 0.5) / focal
            dx = axes[2, 0] + fx * axes[0, 0] + fy * axes[1, 0]
            dy = axes[2, 1] + fx * axes[0, 1] + fy * axes[1, 1]
            dz = axes[2, 2] + fx * axes[0, 2] + fy * axes[1, 2]
            scale = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
            _, i = nearest(
                geometry, tiles[tile], counts[tile], GROUND, eye[0], eye[1], eye[2],
                dx * scale, dy * scale, dz * scale,
            )  # fmt: skip
            mask[y, x] = max(i, -1) + 1
