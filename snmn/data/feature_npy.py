"""Feature maps as the earlier codebases kept them: a folder of ``.npy`` files, one per image.

``CLEVR_val_000000.npy`` belongs to ``CLEVR_val_000000.png`` and holds [1, H, W, D] (the original)
or [H, W, D] (its PyTorch adaptation), float32. Both made them with a ResNet-101 up to the conv4
block from 224 x 224 pixels, subtracting the mean only; which weights they took, no file says.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snmn.common.paths import visible_files
from snmn.data.feature_shards import FeatureStoreError
from snmn.storage.npy_file import ArrayFileError, read_array

# What a store records of features, see snmn.data.feature_shards, as far as it is known of these.
ATTRIBUTES = {
    "backbone": "resnet101_c4",
    "weights_sha256": "unknown",
    "preprocess": "caffe",
    "image_size": 224,
}
DTYPES = ("float16", "float32")


def npy_names(folder: Path) -> list[str]:
    """Names of a folder's ``.npy`` files, sorted; without hidden ones, which are no features."""
    return [path.name for path in visible_files(folder, "*.npy")]


def channels_hint(shape: Sequence[int]) -> str:
    """What may be wrong with maps of this shape (H, W, D): "" unless D seems to come first."""
    if shape[0] <= max(shape[1:]):
        return ""
    return (
        "; its channels seem to come first: maps have them last, which "
        "numpy.moveaxis(features, -3, -1) makes of these"
    )


def image_name(name: str) -> str:
    """File name of the image whose features the file of this name holds."""
    return name.removesuffix(".npy") + ".png"


def read_npy(path: Path) -> np.ndarray:
    """The map [H, W, D] of one file; FeatureStoreError when it holds none. Never unpickles."""
    try:
        features = read_array(path)
    except ArrayFileError as error:
        raise FeatureStoreError(f"{path} {error}") from error
    shape, dtype = features.shape, features.dtype.name
    if features.ndim == 4 and len(features) == 1:
        features = features[0]
    if features.ndim != 3 or dtype not in DTYPES:
        raise FeatureStoreError(
            f"{path} holds {dtype} of shape {shape}, "
            f"not [1, H, W, D] or [H, W, D] of {' or '.join(DTYPES)}"
        )
    return features


class NpyFolder:
    """Reads ``.npy`` files of a folder as ``FeatureStore`` reads shards; attributes likewise.

    Raises FeatureStoreError when the first file is not a feature map.
    """

    def __init__(self, folder: Path, names: list[str]):
        self._folder, self._names = folder, names
        self.filenames = [image_name(name) for name in names]
        first = read_npy(folder / names[0])
        self.shape = first.shape
        self.attributes = {**ATTRIBUTES, "dtype": first.dtype.name}

    def read_into(self, out: np.ndarray, index: int) -> None:
        """Put the map of an index into ``out`` [H, W, D]; FeatureStoreError if it does not fit."""
        path = self._folder / self._names[index]
        features = read_npy(path)
        if features.shape != self.shape or features.dtype.name != self.attributes["dtype"]:
            raise FeatureStoreError(
                f"{path} holds {features.dtype.name} of shape {features.shape}, "
                f"{self._names[0]} {self.attributes['dtype']} of {self.shape}"
            )
        out[...] = features

    def close(self) -> None:
        """Nothing is kept open."""
