"""Sum up what the features of training images are like, for the marks of an answer.

    python -m clevr_prep.data.feature_statistics data/features/cellnet/train data/clevr

takes the features of a folder and the scenes of the dataset that they are of, and writes
NAME_statistics.pt beside the weights of the backbone NAME, or to ``--out``; see
`snmn.backbones.feature_statistics`.
"""

import argparse
from pathlib import Path

import numpy as np

from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.truth.scene_cells import noted_size, object_cells
from snmn.backbones.feature_statistics import (
    FeatureStatistics,
    identity,
    image_sums,
    statistics_path,
)
from snmn.common.commands import run
from snmn.common.errors import UserError
from snmn.common.logistic_regression import fit_logistic_regression
from snmn.common.paths import home_path
from snmn.data.feature_store import FeatureStore

AXES = 64
# What is added to each variance, as a share of the mean one: directions in which training images
# hardly differ must not decide.
FLOOR = 0.2
# The limit, as a multiple of the training images' .999 quantile of distances.
MARGIN = 1.05
_AT_ONCE = 64
_CELL_IMAGES = 1000  # whose cells are enough to tell objects from the ground
_LEAST_IMAGES = 50


def feature_statistics(store: FeatureStore, cells: dict[str, np.ndarray]) -> FeatureStatistics:
    """The statistics of all images of a store.

    ``cells`` are the cells [H,W] bool that show an object in an image, by file name. Raises
    UserError for too few images.
    """
    count = len(store)
    if count < _LEAST_IMAGES:
        raise UserError(f"{store.folder} holds {count} images, at least {_LEAST_IMAGES} are needed")
    sums, chosen, shown = [], [], []
    every = max(1, count // _CELL_IMAGES)
    for start in range(0, count, _AT_ONCE):
        places = np.arange(start, min(start + _AT_ONCE, count))
        features = store.read(places)
        sums.append(image_sums(features))
        for place, of_image in zip(places.tolist(), features, strict=True):
            name = store.filenames[place]
            if place % every == 0 and name in cells:
                chosen.append(of_image.reshape(-1, store.dim))
                shown.append(cells[name].ravel())
    if not chosen:
        raise UserError(f"no scene of the dataset is of an image of {store.folder}")
    sums = np.concatenate(sums).astype(np.float64)
    regression = fit_logistic_regression(np.concatenate(chosen), np.concatenate(shown))
    return _with_limit(
        sums,
        made_with=identity(store.attributes),
        object_weight=regression.weight,
        object_bias=regression.bias,
    )


def _with_limit(sums: np.ndarray, **others) -> FeatureStatistics:
    centre = sums.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((sums - centre).T))
    variance, axes = variance[::-1], axes[:, ::-1]
    floor = FLOOR * variance.mean()
    parts = {
        "images": len(sums),
        "centre": centre,
        "axes": axes[:, :AXES],
        "variance": variance[:AXES] + floor,
        "rest": float(variance[AXES:].sum() / max(1, len(variance) - AXES) + floor),
    }
    distances = FeatureStatistics(limit=0.0, **parts, **others).distances(sums)
    return FeatureStatistics(limit=float(MARGIN * np.quantile(distances, 0.999)), **parts, **others)


def cells_with_objects(scenes: Path, grid: tuple[int, int]) -> dict[str, np.ndarray]:
    """The cells [H,W] bool of each image's objects, by file name. Raises DatasetError."""
    if not scenes.is_file():
        raise DatasetError(f"no scene annotations {scenes}")
    found = {}
    for scene in JsonArray(scenes, "scenes"):
        size = noted_size(scene) or (480, 320)  # CLEVR's images
        found[scene["image_filename"]] = object_cells(scene, grid, size).any(axis=0).reshape(grid)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.data.feature_statistics",
        description="Sum up what the features of training images are like.",
    )
    parser.add_argument("features", type=home_path, help="folder of the training images' features")
    parser.add_argument("dataset", type=home_path, help="their dataset, with scenes/")
    parser.add_argument("--split", default="train", help="of the dataset (train)")
    parser.add_argument("--out", type=home_path, metavar="FILE", help="instead of beside weights")
    given = parser.parse_args(arguments)
    run(lambda: _make(given), "feature_statistics")


def _make(given: argparse.Namespace) -> None:
    store = FeatureStore(given.features)
    scenes = given.dataset / "scenes" / f"CLEVR_{given.split}_scenes.json"
    statistics = feature_statistics(store, cells_with_objects(scenes, store.grid))
    path = given.out or statistics_path(store.attributes["backbone"])
    statistics.save(path)
    print(f"{path}: {statistics.images} images, distances up to {statistics.limit:.3f} are usual")


if __name__ == "__main__":
    main()
