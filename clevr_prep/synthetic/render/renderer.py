"""Renders a CLEVR scene to an image and its instance mask."""

import numpy as np

from clevr_prep.synthetic.render.camera import Camera
from clevr_prep.synthetic.render.denoise import develop
from clevr_prep.synthetic.render.geometry import CUBE, CYLINDER, GEOMETRY, SPHERE
from clevr_prep.synthetic.render.lights import lamp_table
from clevr_prep.synthetic.render.tracer import World, trace
from clevr_prep.synthetic.render.visibility import TILE, cover, tile_masks

SHAPES = {"cube": CUBE, "sphere": SPHERE, "cylinder": CYLINDER}
# Squared bounding radius for radius one.
BOUND = {CUBE: 3.0, SPHERE: 1.0, CYLINDER: 2.0}
SIZES = {"large": 0.7, "small": 0.35}
# Share of white gloss on rubber.
GLOSS = 0.01
# CLEVR's colours; a 255th of each is the linear albedo.
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
    # Rubber's faint rough gloss is so wide that it passes for a little white in the albedo; rough
    # metal loses some light in its own grooves.
    colours = np.where(metal[:, None], 0.97 * colours, (1.0 - GLOSS) * colours + GLOSS)
    return geometry, colours, metal


def instance_mask(scene: dict, camera: Camera) -> np.ndarray:
    """Which object each pixel's centre shows: uint8 [H, W], 0 = none, i + 1 = object i."""
    geometry, _, _ = scene_arrays(scene)
    mask = np.zeros((camera.height, camera.width), np.uint8)
    tiles = tile_masks(geometry, camera)
    cover(np.asarray(camera.place), camera.axes, camera.focal, geometry, tiles, TILE, mask)
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

    `samples` rays go through each pixel and find out what light
    bounces there; on the ground a quarter as many do.
    `lamp_jitter` [3, 3] moves key, fill and back lamp, in world units. The same arguments give
    the same image.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}, must be at least 1")
    geometry, colours, metal = scene_arrays(scene)
    height, width = camera.height, camera.width
    lamps = lamp_table(np.zeros((3, 3)) if lamp_jitter is None else lamp_jitter)
    count = len(geometry)
    everything = (np.int64(1) << count) - 1
    # The last row, which the ground's index -1 finds, leaves no object out.
    others = everything & ~np.append(np.int64(1) << np.arange(count), 0)
    others = np.repeat(others[:, None], 4, axis=1)
    world = World(lamps, geometry, colours, metal, others)
    place, axes, tiles = np.asarray(camera.place, float), camera.axes, tile_masks(geometry, camera)
    light, tint, normals = (np.zeros((height, width, 3)) for _ in range(3))
    lit, bounced = (np.zeros((height, width, 4)) for _ in range(2))
    owner = np.zeros((height, width), np.int64)
    shift = np.random.default_rng(seed).random(6)
    trace(
        world, place, axes, camera.focal, tiles, TILE, samples, shift,
        light, lit, bounced, tint, owner, normals,
    )  # fmt: skip
    image = np.zeros((height, width, 3), np.uint8)
    develop(light, lit, bounced, tint, owner, normals, metal, samples, image)
    mask = np.zeros((height, width), np.uint8)
    cover(place, axes, camera.focal, geometry, tiles, TILE, mask)
    return image, mask


def render_scene(scene: dict) -> tuple[np.ndarray, np.ndarray]:
    """Render a scene that carries its own `render` settings: (image, instance mask)."""
    settings = scene["render"]
    return render(
        scene,
        Camera(tuple(settings["camera"]), settings["width"], settings["height"]),
        samples=settings["samples"],
        seed=settings["seed"],
        lamp_jitter=settings["lamp_jitter"],
    )
