"""`python -m clevr_prep.synthetic.compare REAL OUT.png`: renders of genuine scenes beside them.

Each scene's camera follows from its pixel coordinates. Where its lamps stood is nowhere written
down; it is estimated from the image, and the difference is given without and with that estimate.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.synthetic.render.camera import Camera, fit_place
from clevr_prep.synthetic.render.renderer import render
from snmn.common.paths import home_path
from snmn.storage.image_files import open_image

SIZE = (240, 160)
# Lamps are estimated on small renders, averaged over blocks of pixels.
SMALL, BLOCK = (120, 80), 4


def scene_camera(scene: dict, taken: tuple[int, int], width: int, height: int) -> Camera:
    """The camera that took a genuine scene at a size (width, height), for an image of another."""
    objects = scene["objects"]
    place = fit_place(
        [o["3d_coords"] for o in objects], [o["pixel_coords"] for o in objects], *taken
    )
    return Camera(place, width, height)


def _blocks(image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    split = image.astype(float).reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    return split.mean(axis=(1, 3)).ravel()


def fit_lamps(scene: dict, camera: Camera, image: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Lamp jitter [3, 3] that makes a render of the scene most like an image of camera's size.

    Damped Gauss-Newton steps on differences between renders; jitter stays within CLEVR's range.
    """
    target, step = _blocks(image), 0.3
    jitter = np.zeros(9)

    def shown(values):
        made, _ = render(scene, camera, samples=2, lamp_jitter=values.reshape(3, 3))
        return _blocks(made)

    here = shown(jitter)
    best = np.abs(here - target).mean()
    for _ in range(rounds):
        slope = np.stack(
            [(shown(jitter + step * e) - here) / step for e in np.eye(9)],
            axis=1,
        )
        # The jitter's own spread, against differences of a few levels, keeps the estimate sober.
        damping = np.eye(9) * len(target) * 0.05
        change = np.linalg.solve(slope.T @ slope + damping, slope.T @ (target - here))
        tried = np.clip(jitter + change, -1.0, 1.0)
        there = shown(tried)
        error = np.abs(there - target).mean()
        if error >= best:
            break
        jitter, here, best = tried, there, error
    return jitter.reshape(3, 3)


def compare(real: Path, target: Path, *, samples: int = 8, shown: int = 6) -> dict[str, float]:
    """Write a sheet of `shown` pairs (genuine, rendered) and measure all scenes in a folder.

    `real` is a CLEVR-format folder. Returns mean absolute differences
    of 255 at 240 x 160: over all pixels with and without the estimate of the lamps, and with it
    over objects and over the ground.
    """
    found = sorted((real / "scenes").glob("CLEVR_*_scenes.json"))
    if not found:
        raise FileNotFoundError(f"no scenes/CLEVR_*_scenes.json in {real}")
    scenes = list(JsonArray(found[0], "scenes"))
    files = {p.name: p for p in sorted((real / "images").rglob("*.png"))}
    rows, differences = [], []
    for scene in tqdm(scenes, unit="scene"):
        image = open_image(files[scene["image_filename"]])
        small = np.asarray(image.resize(SMALL, Image.Resampling.BOX))
        genuine = np.asarray(image.resize(SIZE, Image.Resampling.BOX)).astype(float)
        camera = scene_camera(scene, image.size, *SIZE)
        plain, _ = render(scene, camera, samples=samples)
        jitter = fit_lamps(scene, scene_camera(scene, image.size, *SMALL), small)
        fitted, mask = render(scene, camera, samples=samples, lamp_jitter=jitter)
        off = np.abs(fitted - genuine)
        differences.append(
            (
                np.abs(plain - genuine).mean(),
                off.mean(),
                off[mask > 0].mean(),
                off[mask == 0].mean(),
            )
        )
        if len(rows) < shown:
            rows.append(np.concatenate([genuine.astype(np.uint8), fitted], axis=1))
    rows += [np.zeros_like(rows[0])] * (len(rows) % 2)
    half = len(rows) // 2
    sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)
    Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2)).save(target)
    names = ("lamps unknown", "lamps estimated", "objects, lamps estimated", "ground, likewise")
    return dict(zip(names, np.mean(differences, axis=0).tolist(), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.synthetic.compare",
        description="Render the scenes of genuine CLEVR images and put both side by side.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("real", type=home_path, help="CLEVR-format folder with genuine images")
    parser.add_argument("out", type=home_path, help="PNG to write: pairs of genuine and rendered")
    parser.add_argument("--samples", type=int, default=8, help="rays per pixel")
    parser.add_argument("--shown", type=int, default=6, help="pairs on the sheet")
    options = parser.parse_args(arguments)
    try:
        result = compare(options.real, options.out, samples=options.samples, shown=options.shown)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("mean absolute difference of 255 at 240 x 160 pixels")
    for name, value in result.items():
        print(f"  {name}: {value:.2f}")
    print(f"look at {options.out}: genuine left, rendered right in each pair")
    return 0


if __name__ == "__main__":
    sys.exit(main())
