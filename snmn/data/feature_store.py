"""Image feature maps on disk: one folder per split, HDF5 shards inside it.

:class:`FeatureStore` reads, `snmn.data.feature_writer` writes; the format is described in
:mod:`snmn.data.feature_shards`. Folders of the earlier codebases' ``.npy`` files are read as
well, see :mod:`snmn.data.feature_npy`.
"""

import bisect
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snmn.data.feature_npy import NpyFolder, npy_names
from snmn.data.feature_shards import (
    FeatureStoreError,
    OpenShard,
    difference,
    read_header,
    shard_paths,
)


class FeatureStore:
    """Feature maps of one split, read by index.

    Args:
        folder: folder with ``shard-*.h5`` files, or without them but with ``.npy`` files.

    Attributes:
        folder: the folder.
        filenames: image file names in storage order; position = index for :meth:`read`.
        grid: (H, W) in cells.
        dim: D, features per cell.
        attributes: backbone, weights_sha256, preprocess, image_size (pixels), dtype.

    Raises:
        FeatureStoreError: no such folder, no features in it, a damaged shard, shards that do not
            belong together, or an image stored twice.

    Files are opened when first read in each process, so a store may be pickled to, or inherited
    by, DataLoader workers.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FeatureStoreError(f"no feature folder {self.folder}; extract features first")
        paths = shard_paths(self.folder)
        if paths:
            self._source = _ShardFolder(paths)
        elif names := npy_names(self.folder):
            self._source = NpyFolder(self.folder, names)
        else:
            raise FeatureStoreError(
                f"no shard-*.h5 in {self.folder}, nor .npy; extract features first"
            )
        self.filenames: list[str] = self._source.filenames
        self.grid, self.dim = self._source.shape[:2], self._source.shape[2]
        self.attributes: dict = self._source.attributes
        self._index = {name: position for position, name in enumerate(self.filenames)}
        if len(self._index) != len(self.filenames):
            seen: set[str] = set()
            twice = next(name for name in self.filenames if name in seen or seen.add(name))
            raise FeatureStoreError(f"{self.folder} holds {twice} more than once")

    def __len__(self) -> int:
        return len(self.filenames)

    def __contains__(self, filename: str) -> bool:
        return filename in self._index

    def index(self, filename: str) -> int:
        """Index of an image by its file name; FeatureStoreError when it is not in the store."""
        try:
            return self._index[filename]
        except KeyError:
            raise FeatureStoreError(
                f"{self.folder} has no features of {filename}; extract them first"
            ) from None

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Feature maps [n, H, W, D] of the given indices, in the given order, as stored dtype.

        Indices that ascend are read fastest. IndexError for one out of range, FeatureStoreError
        for a file that cannot be read.
        """
        indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"index out of range: {self.folder} has {len(self)} images")
        out = np.empty((len(indices), *self.grid, self.dim), dtype=self.attributes["dtype"])
        for place, index in zip(out, indices.tolist(), strict=True):
            self._source.read_into(place, index)
        return out

    def close(self) -> None:
        """Close this process's files; the store opens them again when next read."""
        self._source.close()


class _ShardFolder:
    """Reads the maps of shards that belong together; attributes as of ``FeatureStore``."""

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self.filenames: list[str] = []
        starts = [0]
        for number, path in enumerate(paths):
            filenames, shape, attributes = read_header(path)
            if number == 0:
                self.shape, self.attributes = shape, attributes
            elif attributes != self.attributes:
                raise FeatureStoreError(
                    f"{path} does not belong with {paths[0].name}: "
                    + difference(self.attributes, attributes)
                )
            elif shape != self.shape:
                raise FeatureStoreError(
                    f"{path} has maps of shape {shape}, {paths[0].name} {self.shape}"
                )
            self.filenames.extend(filenames)
            starts.append(len(self.filenames))
        self._starts = starts
        self._forget_handles()

    def _forget_handles(self) -> None:
        self._handles: dict[int, OpenShard] = {}
        self._pid = os.getpid()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handles": {}, "_pid": None}

    def read_into(self, out: np.ndarray, index: int) -> None:
        """Put the map of an index into ``out`` [H, W, D]."""
        if self._pid != os.getpid():
            self._forget_handles()
        shard = bisect.bisect_right(self._starts, index) - 1
        try:
            if shard not in self._handles:
                self._handles[shard] = OpenShard(self._paths[shard])
            self._handles[shard].read_into(out, index - self._starts[shard])
        except FeatureStoreError as error:
            raise FeatureStoreError(f"features of {self.filenames[index]}: {error}") from error

    def close(self) -> None:
        """Close this process's files."""
        if self._pid == os.getpid():
            for handle in self._handles.values():
                handle.close()
        self._forget_handles()
