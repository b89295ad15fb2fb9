"""Renders a CLEVR scene to an image and its instance mask."""

import numpy as np

from .camera import Camera
from .denoise import develop
from .geometry import CUBE, CYLINDER, GEOMETRY, SPHERE
from .lights import lamp_table
from .tracer import trace
from .visibility import cover, tile_lists

SHAPES = {"cube": CUBE, "sphere": SPHERE, "cylinder": CYLINDER}
BOUND = {CUBE: 3.0, SPHERE: 1.0, CYLINDER: 2.0}
SIZES = {"large": 0.7, "small": 0.35}
COLOURS = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}


def scene_arrays(scene: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometry [n, GEOMETRY], linear colours [n, 3] and metal flags [n] of a scene's objects.

    A scene's rotation is used as an angle in radians although CLEVR draws it from 0 to 360: so
    did the program that rendered CLEVR.
    """
    objects = scene["objects"]
    geometry = np.zeros((len(objects), GEOMETRY))
    for row, thing in zip(geometry, objects, strict=True):
        radius, shape = SIZES[thing["size"]], SHAPES[thing["shape"]]
        turn = thing["rotation"]
        row[:] = (
            shape,
            *thing["3d_coords"],
            radius,
            np.cos(turn),
            np.sin(turn),
            BOUND[shape] * radius**2,
        )
    colours = np.array([COLOURS[o["color"]] for o in objects], float).reshape(-1, 3) / 255
    metal = np.array([o["material"] == "metal" for o in objects], bool)
    return geometry, colours, metal


def instance_mask(scene: dict, camera: Camera) -> np.ndarray:
    """Which object each pixel's centre shows: uint8 [H, W], 0 = none, i + 1 = object i."""
    geometry, _, _ = scene_arrays(scene)
    mask = np.zeros((camera.height, camera.width), np.uint8)
    tiles, counts = tile_lists(geometry, camera)
    cover(np.asarray(camera.place), camera.axes, camera.focal, geometry, tiles, counts, mask)
    return mask


def render(
    scene: dict,
    camera: Camera,
    *,
    samples: int = 4,
    seed: int = 0,
    lamp_jitter=None,
) -> tuple[np.ndarray, np.ndarray]:
    """Path-trace a scene: (image uint8 [H, W, 3], instance mask uint8 [H, W]).

    `samples` rays go through each pixel and a quarter as many bounce off diffuse surfaces.
    `lamp_jitter` [3, 3] moves key, fill and back lamp, in world units. The same arguments give
    the same image.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}, must be at least 1")
    geometry, colours, metal = scene_arrays(scene)
    height, width = camera.height, camera.width
    lamps = lamp_table(np.zeros((3, 3)) if lamp_jitter is None else lamp_jitter)
    tiles, counts = tile_lists(geometry, camera)
    light = np.zeros((height, width, 3))
    bounced = np.zeros((height, width, 4))
    albedo, normals = np.zeros((height, width, 3)), np.zeros((height, width, 3))
    owner = np.zeros((height, width), np.int64)
    shift = np.random.default_rng(seed).random(6)
    place, axes = np.asarray(camera.place, float), camera.axes
    trace(
        place, axes, camera.focal, lamps, geometry, colours, metal, tiles, counts,
        samples, (samples + 3) // 4, shift, light, bounced, albedo, owner, normals,
    )  # fmt: skip
    image = np.zeros((height, width, 3), np.uint8)
    develop(light, bounced, albedo, owner, normals, samples, image)
    mask = np.zeros((height, width), np.uint8)
    cover(place, axes, camera.focal, geometry, tiles, counts, mask)
    return image, mask
