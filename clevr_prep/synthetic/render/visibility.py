"""Which objects can be seen where: one mask per tile of pixels, and the instance mask."""

import numpy as np

from clevr_prep.synthetic.render.camera import Camera
from clevr_prep.synthetic.render.geometry import nearest
from clevr_prep.synthetic.render.kernels import kernel
from clevr_prep.synthetic.render.tracer import view_ray

TILE = 8


def tile_masks(geometry: np.ndarray, camera: Camera) -> np.ndarray:
    """Masks of the objects whose bounding sphere reaches each tile of TILE x TILE pixels.

    int64 [ceil(H / TILE), ceil(W / TILE)]; bit i stands for object i.
    """
    seen = (geometry[:, 1:4] - np.asarray(camera.place)) @ camera.axes.T
    z, r2 = seen[:, 2], geometry[:, 7]
    inside = []
    for axis, size, sign in ((1, camera.height, -1.0), (0, camera.width, 1.0)):
        # The tangents from the eye to a circle, in the plane of the view and this image axis.
        a = sign * seen[:, axis]
        root = np.sqrt(r2 * np.maximum(a * a + z * z - r2, 0.0))
        low, high = (
            camera.focal * (a * z + side * root) / (z * z - r2) + size / 2 for side in (-1.0, 1.0)
        )
        start = np.arange(-(-size // TILE))[:, None] * TILE
        inside.append((low - 1 <= start + TILE) & (high + 1 >= start))
    bits = np.int64(1) << np.arange(len(geometry))
    return ((inside[0][:, None] & inside[1][None]) * bits).sum(axis=2, dtype=np.int64)


@kernel
def cover(eye, axes, focal, geometry, tiles, tile, mask):
    """Write the object seen at each pixel's centre, plus one, into `mask` [H, W]."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            candidates = tiles[y // tile, x // tile]
            if candidates:
                ray = view_ray(axes, focal, x + 0.5, y + 0.5, width, height)
                _, i = nearest(geometry, candidates, eye, ray)
                mask[y, x] = max(i, -1) + 1
