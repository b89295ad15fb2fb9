"""Samples scenes by CLEVR's rules, in CLEVR's format.

Besides CLEVR's own keys a scene holds `render`: camera place, lamp jitter, image size, samples
and seed. With them `renderer.render_scene` makes the same image again.
"""

import numpy as np

from clevr_prep.synthetic.render.camera import JITTER, PLACE, Camera, directions
from clevr_prep.synthetic.render.renderer import COLOURS, SHAPES, SIZES, instance_mask

SHAPE_NAMES = tuple(SHAPES)
MATERIALS = ("rubber", "metal")
AREA = 3.0
MIN_DISTANCE = 0.25
MARGIN = 0.4
# Objects closer than this along a direction stand in no relation (margins keep them further).
RELATION_EPS = 0.2
LAMP_JITTER = 1.0
# What must show of every object, in an image of this width.
MIN_PIXELS, MIN_PIXELS_WIDTH = 200, 320
_TRIES = 50

_HALF = ("gray", "blue", "brown", "yellow"), ("red", "green", "purple", "cyan")
COGENT = {
    None: {shape: tuple(COLOURS) for shape in SHAPE_NAMES},
    "A": {"cube": _HALF[0], "cylinder": _HALF[1], "sphere": tuple(COLOURS)},
    "B": {"cube": _HALF[1], "cylinder": _HALF[0], "sphere": tuple(COLOURS)},
}
DIRECTIONS = {name: tuple(v) for name, v in directions().items()}
_RIGHT, _BEHIND = np.array(DIRECTIONS["right"][:2]), np.array(DIRECTIONS["behind"][:2])


def _place(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray | None:
    """Positions [n, 2] for objects of these radii, or None when one finds no room."""
    placed = np.zeros((len(radii), 2))
    for i, radius in enumerate(radii):
        for candidate in rng.uniform(-AREA, AREA, (_TRIES, 2)):
            apart = candidate - placed[:i]
            gap = np.hypot(apart[:, 0], apart[:, 1]) - radii[:i] - radius
            clear = np.minimum(np.abs(apart @ _RIGHT), np.abs(apart @ _BEHIND))
            if (gap >= MIN_DISTANCE).all() and (clear >= MARGIN).all():
                placed[i] = candidate
                break
        else:
            return None
    return placed


def relationships(objects: list[dict]) -> dict[str, list[list[int]]]:
    """For each of right, behind, front, left: the indices that lie so of each object."""
    points = np.array([o["3d_coords"] for o in objects]).reshape(-1, 3)
    found = {}
    for name in ("right", "behind", "front", "left"):
        along = points @ np.array(DIRECTIONS[name])
        ahead = along[None, :] - along[:, None] > RELATION_EPS
        found[name] = [np.flatnonzero(row).tolist() for row in ahead]
    return found


def held_out(colours: dict, pair: tuple[str, str]) -> dict:
    """The colours of each shape but for one colour of one shape.

    Raises ValueError where there is no such pair, or nothing left.
    """
    colour, shape = pair
    if colour not in COLOURS or shape not in SHAPE_NAMES:
        raise ValueError(
            f"no object is a {colour} {shape}: without takes one of {', '.join(COLOURS)} and one "
            f"of {', '.join(SHAPE_NAMES)}"
        )
    return colours | {shape: tuple(name for name in colours[shape] if name != colour)}


def _sample_objects(rng: np.random.Generator, count: int, colours: dict) -> list[dict]:
    names = list(SIZES)
    while True:
        sizes = [names[k] for k in rng.integers(len(names), size=count)]
        placed = _place(rng, np.array([SIZES[s] for s in sizes]))
        if placed is not None:
            break
    objects = []
    for size, (x, y) in zip(sizes, placed, strict=True):
        shape = SHAPE_NAMES[rng.integers(len(SHAPE_NAMES))]
        objects.append(
            {
                "color": colours[shape][rng.integers(len(colours[shape]))],
                "size": size,
                "rotation": float(rng.uniform(0.0, 360.0)),
                "shape": shape,
                "3d_coords": [float(x), float(y), SIZES[size]],
                "material": MATERIALS[rng.integers(len(MATERIALS))],
            }
        )
    return objects


def sample_scene(
    rng: np.random.Generator,
    *,
    min_objects: int = 3,
    max_objects: int = 10,
    cogent: str | None = None,
    without: tuple[str, str] | None = None,
    width: int = 480,
    height: int = 320,
    samples: int = 4,
) -> dict:
    """Draw a scene in which every object can be seen; `cogent` is None, "A" or "B".

    ``without`` is a colour and a shape that no object has together.
    Pixel coordinates are for an image of width x height. The caller adds `image_index`,
    `image_filename` and `split`. Raises ValueError for bounds that make no scene.
    """
    if not 1 <= min_objects <= max_objects <= 10:
        raise ValueError(
            f"{min_objects} to {max_objects} objects asked for; must be within 1 to 10, in order"
        )
    if cogent not in COGENT:
        raise ValueError(f"cogent is {cogent!r}, must be A, B or nothing")
    colours = held_out(COGENT[cogent], without) if without else COGENT[cogent]
    count = int(rng.integers(min_objects, max_objects + 1))
    mask_height = max(round(MIN_PIXELS_WIDTH * height / width), 1)
    while True:
        objects = _sample_objects(rng, count, colours)
        place = tuple(float(v) for v in np.asarray(PLACE) + rng.uniform(-JITTER, JITTER, 3))
        mask = instance_mask({"objects": objects}, Camera(place, MIN_PIXELS_WIDTH, mask_height))
        if (np.bincount(mask.ravel(), minlength=count + 1)[1:] >= MIN_PIXELS).all():
            break
    pixels = Camera(place, width, height).project([o["3d_coords"] for o in objects])
    for thing, (x, y, depth) in zip(objects, pixels, strict=True):
        thing["pixel_coords"] = [int(round(x)), int(round(y)), float(depth)]
    return {
        "objects": objects,
        "relationships": relationships(objects),
        "directions": {name: list(v) for name, v in DIRECTIONS.items()},
        "render": {
            "camera": list(place),
            "lamp_jitter": rng.uniform(-LAMP_JITTER, LAMP_JITTER, (3, 3)).tolist(),
            "width": width,
            "height": height,
            "samples": samples,
            "seed": int(rng.integers(2**31)),
        },
    }
