"""What a backbone's features of training images are like, to tell other images and cells from them.

A model answers whatever image it is given. `FeatureStatistics.distance` says how far an image's
features lie from those of the training images, and `objects` which cells look like an object rather
than like the ground: the first where no answer should be believed, the second what an attention map
lies on where nobody knows the scene.

Distance: an image is summed up by the mean and the standard deviation of each of the D features
over its cells, [2D]. The training images' sums have a mean and K principal axes; the distance is
Mahalanobis's along these, with what lies outside them in units of what training images have there,
over the root of 2D. Cells: logistic regression on a cell's D features, fitted to the cells that
show an object in the training scenes.

The file NAME_statistics.pt beside the weights is made by
``python -m clevr_prep.data.feature_statistics``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from snmn.backbones.base import FEATURE_ATTRIBUTES, BackboneError
from snmn.backbones.registry import BACKBONES
from snmn.common.logistic_regression import LogisticRegression
from snmn.storage.torch_file import TorchFileError, read_torch_file, write_torch_file

FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of training images' features.

    - made_with: the features' backbone, weights_sha256, preprocess and image_size
    - images: how many images they are of
    - centre [2D], axes [2D,K], variance [K], rest: mean, principal axes, their variances, and the
      variance along any other direction
    - limit: the distance up to which an image counts as like the training images
    - object_weight [D], object_bias: the regression that tells a cell with an object
    """

    made_with: dict
    images: int
    centre: np.ndarray
    axes: np.ndarray
    variance: np.ndarray
    rest: float
    limit: float
    object_weight: np.ndarray
    object_bias: float

    def distance(self, features: np.ndarray) -> float:
        """How far the features [H,W,D] of an image lie from those of the training images."""
        return float(self.distances(image_sums(features[None]))[0])

    def distances(self, sums: np.ndarray) -> np.ndarray:
        """The distances [N] of images' `image_sums` [N,2D]."""
        apart = sums - self.centre
        along = apart @ self.axes
        outside = np.maximum(np.square(apart).sum(1) - np.square(along).sum(1), 0)
        squares = (np.square(along) / self.variance).sum(1) + outside / self.rest
        return np.sqrt(squares / len(self.centre))

    def objects(self, features: np.ndarray) -> np.ndarray:
        """The probability that each cell [H,W] shows an object, of features [H,W,D]."""
        regression = LogisticRegression(self.object_weight, self.object_bias)
        return 0.5 * (1 + np.tanh(regression.logits(features.astype(np.float32)) / 2))

    def save(self, path: Path) -> None:
        """Write a file that `read_statistics` reads."""
        content = {
            name: torch.from_numpy(np.ascontiguousarray(value, np.float32))
            if isinstance(value, np.ndarray)
            else value
            for name, value in asdict(self).items()
        }
        write_torch_file(path, content)


def image_sums(features: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over the cells of images' features [N,H,W,D]: [N,2D]."""
    cells = features.reshape(len(features), -1, features.shape[-1]).astype(np.float32)
    return np.concatenate([cells.mean(axis=1), cells.std(axis=1)], axis=1)


def statistics_path(backbone: str) -> Path:
    """Where the statistics of a backbone's features lie: beside its weights."""
    return FOLDER / f"{backbone}_statistics.pt"


def identity(attributes: Mapping) -> dict:
    """Of a backbone's or a feature store's attributes, those that say what features they are."""
    return {name: attributes.get(name) for name in FEATURE_ATTRIBUTES}


def find_statistics(attributes: Mapping) -> FeatureStatistics | None:
    """The statistics of features with such attributes, None where there are none of just these.

    Raises BackboneError for a damaged file.
    """
    name = attributes.get("backbone")
    if name not in BACKBONES or not statistics_path(name).is_file():
        return None
    found = read_statistics(statistics_path(name))
    return found if found.made_with == identity(attributes) else None


@cache
def read_statistics(path: Path) -> FeatureStatistics:
    """What `FeatureStatistics.save` wrote. BackboneError where it is something else."""
    try:
        content = read_torch_file(path)
        values = {
            name: value.double().numpy() if isinstance(value, torch.Tensor) else value
            for name, value in content.items()
        }
        statistics = FeatureStatistics(**values)
        width, axes = statistics.axes.shape
        shapes = [getattr(statistics, name).shape for name in ("centre", "variance")]
        if shapes != [(width,), (axes,)] or 2 * len(statistics.object_weight) != width:
            raise ValueError("its arrays do not fit together")
    except (TorchFileError, AttributeError, TypeError, ValueError, OSError) as error:
        raise BackboneError(
            f"{path} is not a file of feature statistics ({error}); make it again with "
            "python -m clevr_prep.data.feature_statistics"
        ) from error
    return statistics
