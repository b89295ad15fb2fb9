"""Image feature maps on disk: one folder per split, HDF5 shards inside it.

:class:`FeatureStore` reads, :class:`FeatureWriter` writes; the format is described in
:mod:`snmn.feature_shards`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from snmn.feature_shards import FeatureStoreError, difference, open_shard, read_header, shard_paths
from snmn.feature_writer import FeatureWriter

__all__ = ["FeatureStore", "FeatureStoreError", "FeatureWriter"]


class FeatureStore:
    """Feature maps of one split, read by index.

    Args:
        folder: folder with ``shard-*.h5`` files.

    Attributes:
        folder: the folder.
        filenames: image file names in storage order; position = index for :meth:`read`.
        grid: (H, W) in cells.
        dim: D, features per cell.
        attributes: backbone, weights_sha256, preprocess, image_size (pixels), dtype.

    Raises:
        FeatureStoreError: no such folder, no shard in it, a damaged shard, shards that do not
            belong together, or an image stored twice.

    Files are opened when first read in each process, so a store may be pickled to, or inherited
    by, DataLoader workers.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FeatureStoreError(f"no feature folder {self.folder}; extract features first")
        self._paths = shard_paths(self.folder)
        if not self._paths:
            raise FeatureStoreError(f"no shard-*.h5 in {self.folder}; extract features first")
        self.filenames: list[str] = []
        starts = [0]
        for number, path in enumerate(self._paths):
            filenames, shape, attributes = read_header(path)
            if number == 0:
                self.grid, self.dim = shape[:2], shape[2]
                self.attributes = attributes
            elif attributes != self.attributes:
                raise FeatureStoreError(
                    f"{path} does not belong with {self._paths[0].name}: "
                    + difference(self.attributes, attributes)
                )
            elif shape != (*self.grid, self.dim):
                raise FeatureStoreError(
                    f"{path} has maps of shape {shape}, {self._paths[0].name} "
                    f"{(*self.grid, self.dim)}"
                )
            self.filenames.extend(filenames)
            starts.append(len(self.filenames))
        self._starts = np.asarray(starts)
        self._index = {name: position for position, name in enumerate(self.filenames)}
        if len(self._index) != len(self.filenames):
            seen: set[str] = set()
            twice = next(name for name in self.filenames if name in seen or seen.add(name))
            raise FeatureStoreError(f"{self.folder} holds {twice} more than once")
        self._forget_handles()

    def _forget_handles(self) -> None:
        self._handles: dict[int, h5py.Dataset] = {}
        self._pid = os.getpid()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handles": {}, "_pid": None}

    def __len__(self) -> int:
        return len(self.filenames)

    def index(self, filename: str) -> int:
        """Index of an image by its file name; FeatureStoreError when it is not in the store."""
        try:
            return self._index[filename]
        except KeyError:
            raise FeatureStoreError(
                f"{self.folder} has no features of {filename}; extract them first"
            ) from None

    def _dataset(self, shard: int) -> h5py.Dataset:
        if self._pid != os.getpid():
            self._forget_handles()
        if shard not in self._handles:
            self._handles[shard] = open_shard(self._paths[shard])["features"]
        return self._handles[shard]

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Feature maps [n, H, W, D] of the given indices, in the given order, as stored dtype.

        Indices that ascend are read fastest. IndexError for one out of range, FeatureStoreError
        for a shard that cannot be read.
        """
        indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"index out of range: {self.folder} has {len(self)} images")
        out = np.empty((len(indices), *self.grid, self.dim), dtype=self.attributes["dtype"])
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        rows = indices - self._starts[shards]
        for position, (shard, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
            try:
                self._dataset(shard).read_direct(out, np.s_[row], np.s_[position])
            except OSError as error:
                raise FeatureStoreError(
                    f"{self._paths[shard]} cannot be read ({error}); delete it and extract again"
                ) from error
        return out

    def close(self) -> None:
        """Close this process's files; the store opens them again when next read."""
        if self._pid == os.getpid():
            for dataset in self._handles.values():
                dataset.file.close()
        self._forget_handles()
