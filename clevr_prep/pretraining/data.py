"""Images with cell targets from CLEVR-format folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from clevr_prep.clevr.json_stream import JsonArray, JsonStreamError
from clevr_prep.pretraining.augment import distort, random_box, random_resize
from clevr_prep.pretraining.targets import cell_targets
from clevr_prep.truth.scene_cells import check_size, noted_size
from snmn.backbones.base import resize_rgb
from snmn.common.errors import UserError
from snmn.common.paths import name_but_suffix
from snmn.storage.image_files import open_image

IMAGE_SIZE = 224


class SceneDataError(UserError):
    """A dataset folder cannot be used; the message names what is missing."""


def find_scenes(root: str | Path, split: str) -> list[tuple[Path, dict]]:
    """(image file, scene) pairs of a CLEVR-format folder, in the order of its scenes file.

    Scenes without an image are left out, so that a folder in the making can be used.

    Raises:
        SceneDataError: no scenes file, a damaged one, or no image.
    """
    root = Path(root)
    path = root / "scenes" / f"CLEVR_{split}_scenes.json"
    try:
        scenes = list(JsonArray(path, "scenes"))
    except FileNotFoundError as error:
        raise SceneDataError(f"no scenes file {path}") from error
    except JsonStreamError as error:
        raise SceneDataError(str(error)) from error
    folder = root / "images" / split
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    pairs = [
        (folder / scene["image_filename"], scene)
        for scene in scenes
        if scene["image_filename"] in present
    ]
    if not pairs:
        other = name_but_suffix(scenes[0]["image_filename"], present) if scenes else None
        hint = f", but {other}: image_filename must end as the images do" if other else ""
        raise SceneDataError(f"no image of {path} in {folder}{hint}")
    return pairs


def open_scene(path: Path, scene: dict) -> Image.Image:
    """A scene's image in RGB, whose pixels are those that the scene counts.

    Raises:
        ImageError: it cannot be read.
        SceneDataError, SceneError: it has another size than the scene.
    """
    image, noted = open_image(path), noted_size(scene)
    if noted not in (None, image.size):
        found, others = (f"{width} x {height}" for width, height in (image.size, noted))
        raise SceneDataError(f"{path} is {found} pixels, its scene was rendered at {others}")
    check_size(scene, image.size)
    return image


class SceneCells(Dataset):
    """Plain images with targets: item i is (pixels uint8 [224, 224, 3], targets).

    Args:
        pairs: (image file, scene), see :func:`find_scenes`.
    """

    def __init__(self, pairs: Sequence[tuple[Path, dict]]):
        self.pairs = list(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        path, scene = self.pairs[position]
        image = open_scene(path, scene)
        return resize_rgb(image, IMAGE_SIZE), cell_targets(scene, (0, 0, *image.size))


class AugmentedSceneCells(SceneCells):
    """Augmented images with targets, by position in an endless shuffled sequence.

    Item p depends on (seed, p) alone: a training run can be continued where it stopped, with any
    number of workers. Every image comes once before any comes again.

    Args:
        pairs: (image file, scene).
        seed: for order and augmentation.
        mirror: flip half of the images left to right.
    """

    def __init__(self, pairs: Sequence[tuple[Path, dict]], *, seed: int = 0, mirror: bool = True):
        super().__init__(pairs)
        self.seed, self.mirror = seed, mirror
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def _scene_at(self, position: int) -> tuple[Path, dict]:
        epoch, place = divmod(position, len(self.pairs))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.pairs))
        return self.pairs[self._order[place]]

    def __getitem__(self, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        path, scene = self._scene_at(position)
        rng = np.random.default_rng((self.seed, 1, position))
        image = open_scene(path, scene)
        box = random_box(*image.size, rng)
        pixels = np.array(random_resize(image, box, IMAGE_SIZE, rng))
        mirrored = self.mirror and rng.random() < 0.5
        if mirrored:
            pixels = pixels[:, ::-1]
        return distort(pixels, rng), cell_targets(scene, box, mirrored=bool(mirrored))


def batches(start: int, stop: int, size: int) -> Iterator[list[int]]:
    """Positions of batches start..stop-1 of an endless sequence, for a DataLoader."""
    for step in range(start, stop):
        yield list(range(step * size, (step + 1) * size))
