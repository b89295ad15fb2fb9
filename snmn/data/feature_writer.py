"""Writing image feature maps, see :mod:`snmn.data.feature_shards` for the format."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from snmn.data.feature_shards import (
    ATTRIBUTES,
    COMPRESSIONS,
    FORMAT,
    FeatureStoreError,
    compression_options,
    difference,
    read_header,
    shard_paths,
)
from snmn.storage.checksums import CHECKED_HDF5, crc32, fixed_text
from snmn.storage.locks import LockedError, lock_folder
from snmn.storage.whole_files import UnfailingFile, partial_path, put_in_place, remove_partials

DTYPES = ("float16", "float32")
DEFAULT_SHARD_SIZE = 512


class FeatureWriter:
    """Adds feature maps to the store of one split, shard by shard.

    Args:
        folder: where the shards go; made when absent. Whole shards already there are kept and
            added to; the remains of an interrupted shard are removed.
        attributes: how the features are made: backbone, weights_sha256, preprocess, image_size.
        dtype: float16 or float32.
        compression: none, or zstd (with the package hdf5plugin, which reading then needs too).
        shard_size: images per shard.

    Attributes:
        done: names of the images that whole shards hold.

    Raises:
        FeatureStoreError: the folder holds features made in another way, a damaged shard, or
            cannot be written, as when it has another writer.

    Use as a context manager: leaving it normally finishes the last shard, leaving it by an
    exception drops the unfinished one, and either unlocks the folder. Adding the same images in the
    same order always gives the same bytes, interrupted or not.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        attributes: Mapping[str, str | int],
        dtype: str = "float16",
        compression: str = "none",
        shard_size: int = DEFAULT_SHARD_SIZE,
    ):
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        if compression not in COMPRESSIONS:
            raise ValueError(
                f"compression must be one of {', '.join(COMPRESSIONS)}, not {compression!r}"
            )
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, not {shard_size}")
        self.folder = Path(folder)
        self.attributes = {**attributes, "dtype": dtype}
        if set(self.attributes) != set(ATTRIBUTES):
            raise ValueError(f"attributes must be {', '.join(ATTRIBUTES[:-1])}")
        self.shard_size = shard_size
        self._compression = compression_options(compression)
        self.done: set[str] = set()
        self._number = 0
        self._shape: tuple[int, ...] | None = None
        self._sink: UnfailingFile | None = None
        self._file: h5py.File | None = None
        self._names: list[str] = []
        self._checksums: list[int] = []
        with ExitStack() as held:
            try:
                held.enter_context(lock_folder(self.folder))
                remove_partials(self.folder)
            except LockedError as error:
                raise FeatureStoreError(str(error)) from None
            except OSError as error:
                raise FeatureStoreError(f"cannot write to {self.folder} ({error})") from error
            self._look_at_shards()
            self._held = held.pop_all()

    def _look_at_shards(self) -> None:
        for path in shard_paths(self.folder):
            filenames, self._shape, found = read_header(path)
            if found != self.attributes:
                raise FeatureStoreError(
                    f"{path} was made with {difference(self.attributes, found)}; "
                    "choose another folder or delete this one"
                )
            self.done.update(filenames)
            self._number = int(path.stem.removeprefix("shard-")) + 1

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        with self._held:
            if kind is None:
                self.close()
            else:
                self._drop()

    @property
    def _path(self) -> Path:
        return self.folder / f"shard-{self._number:05d}.h5"

    @property
    def room(self) -> int:
        """Images that still fit into the shard being written."""
        return self.shard_size - len(self._names)

    def add(self, filenames: Sequence[str], features: np.ndarray) -> None:
        """Append images: their file names and maps [n, H, W, D]; n must not exceed ``room``.

        FeatureStoreError when they cannot be written, or their shape is not that of the others.
        """
        if len(filenames) != len(features) or len(filenames) > self.room:
            raise ValueError(
                f"{len(filenames)} names for {len(features)} maps, room for {self.room}"
            )
        self._shape = self._shape or features.shape[1:]
        if features.shape[1:] != self._shape:
            raise FeatureStoreError(
                f"{self.folder} holds maps of shape {self._shape}, not {features.shape[1:]}; "
                "choose another folder or delete this one"
            )
        try:
            if self._file is None:
                self._sink = UnfailingFile(partial_path(self._path))
                self._file = h5py.File(self._sink, "w", **CHECKED_HDF5)
                self._file.create_dataset(
                    "features",
                    shape=(self.shard_size, *self._shape),
                    maxshape=(self.shard_size, *self._shape),
                    chunks=(1, *self._shape),
                    dtype=self.attributes["dtype"],
                    track_times=False,
                    **self._compression,
                )
            start = len(self._names)
            features = np.ascontiguousarray(features, self.attributes["dtype"])
            self._file["features"][start : start + len(features)] = features
            self._sink.check()
            self._names.extend(filenames)
            self._checksums.extend(crc32([image]) for image in features)
        except OSError as error:
            self._drop()
            raise FeatureStoreError(f"cannot write {self._path} ({error})") from error
        if self.room == 0:
            self.close()

    def close(self) -> None:
        """Finish the shard being written, however few images it has."""
        if self._file is None:
            return
        try:
            self._finish()
        except OSError as error:
            self._drop()
            raise FeatureStoreError(f"cannot write {self._path} ({error})") from error

    def _finish(self) -> None:
        self._file["features"].resize(len(self._names), axis=0)
        names = np.array([name.encode("utf-8") for name in self._names])
        checksums = np.array(self._checksums, np.uint32)
        self._file.create_dataset("filenames", data=names, track_times=False)
        self._file.create_dataset("crc32", data=checksums, track_times=False)
        attributes = {"format": FORMAT, **self.attributes}
        for key, value in attributes.items():
            self._file.attrs[key] = fixed_text(value) if isinstance(value, str) else value
        self._file.attrs["header_crc32"] = np.uint32(crc32([names, checksums]))
        self._file.close()
        self._file = None
        self._sink.check()
        self._sink.close()
        put_in_place(self._path)
        self.done.update(self._names)
        self._names, self._checksums = [], []
        self._number += 1

    def _drop(self) -> None:
        for opened in (self._file, self._sink):
            if opened is not None:
                opened.close()
        self._file = self._sink = None
        self._names, self._checksums = [], []
        partial_path(self._path).unlink(missing_ok=True)
