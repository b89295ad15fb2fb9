"""Image feature maps on disk: one folder per split, HDF5 shards inside it.

A shard ``shard-00000.h5`` holds ``features`` [n, H, W, D] (one chunk per image, so that a random
image costs one read), ``filenames`` [n] (image file names without folder) and, as attributes, how
the features were made (see :data:`ATTRIBUTES`). A shard is written under a temporary name and
renamed once it is whole: whatever is called ``shard-*.h5`` can be trusted after a crash.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

ATTRIBUTES = ("backbone", "weights_sha256", "preprocess", "image_size", "dtype")
DTYPES = ("float16", "float32")
DEFAULT_SHARD_SIZE = 512

_TEMPORARY_SUFFIX = ".partial"


class FeatureStoreError(RuntimeError):
    """A store cannot be read or written; the message names the file and is fit for a user."""


def _shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.h5"))


def _open(path: Path) -> h5py.File:
    try:
        # Shards never change once they have their name, so no lock is needed; and some network
        # file systems refuse HDF5's locks. Each image is one chunk that is read once: no cache.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except OSError as error:
        raise FeatureStoreError(
            f"{path} is damaged or not HDF5 ({error}); delete it and extract again"
        ) from error


def _read_header(path: Path) -> tuple[list[str], tuple[int, int, int], dict]:
    """File names, (H, W, D) and attributes of one shard, checked for consistency."""
    with _open(path) as file:
        try:
            features, names = file["features"], file["filenames"]
            filenames = [name.decode("utf-8") for name in names[:]]
            attributes = {key: file.attrs[key] for key in ATTRIBUTES}
        except (KeyError, OSError) as error:
            raise FeatureStoreError(
                f"{path} is not a whole feature shard ({error}); delete it and extract again"
            ) from error
        if features.ndim != 4 or len(features) != len(filenames):
            raise FeatureStoreError(
                f"{path} has features of shape {features.shape} for {len(filenames)} file names; "
                "delete it and extract again"
            )
        attributes["image_size"] = int(attributes["image_size"])
        return filenames, tuple(features.shape[1:]), attributes


def _difference(expected: Mapping, found: Mapping) -> str:
    return ", ".join(
        f"{key} {found[key]!r} instead of {expected[key]!r}"
        for key in ATTRIBUTES
        if found[key] != expected[key]
    )


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
        self._paths = _shard_paths(self.folder)
        if not self._paths:
            raise FeatureStoreError(f"no shard-*.h5 in {self.folder}; extract features first")
        self.filenames: list[str] = []
        starts = [0]
        for number, path in enumerate(self._paths):
            filenames, shape, attributes = _read_header(path)
            if number == 0:
                self.grid, self.dim = shape[:2], shape[2]
                self.attributes = attributes
            elif attributes != self.attributes:
                raise FeatureStoreError(
                    f"{path} does not belong with {self._paths[0].name}: "
                    + _difference(self.attributes, attributes)
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
            self._handles[shard] = _open(self._paths[shard])["features"]
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


class FeatureWriter:
    """Adds feature maps to the store of one split, shard by shard.

    Args:
        folder: where the shards go; made when absent. Whole shards already there are kept and
            added to; the remains of an interrupted shard are removed.
        attributes: how the features are made: backbone, weights_sha256, preprocess, image_size.
        dtype: float16 or float32.
        shard_size: images per shard.

    Attributes:
        done: names of the images that whole shards hold.

    Raises:
        FeatureStoreError: the folder holds features made in another way, a damaged shard, or
            cannot be written.

    Use as a context manager: leaving it normally finishes the last shard, leaving it by an
    exception drops the unfinished one. Adding the same images in the same order always gives the
    same bytes, interrupted or not.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        attributes: Mapping[str, str | int],
        dtype: str = "float16",
        shard_size: int = DEFAULT_SHARD_SIZE,
    ):
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, not {shard_size}")
        self.folder = Path(folder)
        self.attributes = {**attributes, "dtype": dtype}
        if set(self.attributes) != set(ATTRIBUTES):
            raise ValueError(f"attributes must be {', '.join(ATTRIBUTES[:-1])}")
        self.shard_size = shard_size
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for remains in self.folder.glob("*" + _TEMPORARY_SUFFIX):
                remains.unlink()
        except OSError as error:
            raise FeatureStoreError(f"cannot write to {self.folder} ({error})") from error
        self.done: set[str] = set()
        self._number = 0
        for path in _shard_paths(self.folder):
            filenames, _, found = _read_header(path)
            if found != self.attributes:
                raise FeatureStoreError(
                    f"{path} was made with {_difference(self.attributes, found)}; "
                    "choose another folder or delete this one"
                )
            self.done.update(filenames)
            self._number = int(path.stem.removeprefix("shard-")) + 1
        self._file: h5py.File | None = None
        self._names: list[str] = []

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.close()
        else:
            self._drop()

    @property
    def _path(self) -> Path:
        return self.folder / f"shard-{self._number:05d}.h5"

    @property
    def _temporary(self) -> Path:
        return self._path.with_name(self._path.name + _TEMPORARY_SUFFIX)

    @property
    def room(self) -> int:
        """Images that still fit into the shard being written."""
        return self.shard_size - len(self._names)

    def add(self, filenames: Sequence[str], features: np.ndarray) -> None:
        """Append images: their file names and maps [n, H, W, D]; n must not exceed ``room``."""
        if len(filenames) != len(features) or len(filenames) > self.room:
            raise ValueError(
                f"{len(filenames)} names for {len(features)} maps, room for {self.room}"
            )
        try:
            if self._file is None:
                self._file = h5py.File(self._temporary, "w", locking=False)
                self._file.create_dataset(
                    "features",
                    shape=(self.shard_size, *features.shape[1:]),
                    maxshape=(self.shard_size, *features.shape[1:]),
                    chunks=(1, *features.shape[1:]),
                    dtype=self.attributes["dtype"],
                    track_times=False,
                )
            start = len(self._names)
            self._file["features"][start : start + len(features)] = features
            self._names.extend(filenames)
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
        except (OSError, RuntimeError) as error:  # HDF5 may report a full disk as either.
            self._drop()
            raise FeatureStoreError(f"cannot write {self._path} ({error})") from error

    def _finish(self) -> None:
        self._file["features"].resize(len(self._names), axis=0)
        width = max(len(name.encode("utf-8")) for name in self._names)
        self._file.create_dataset(
            "filenames",
            data=[name.encode("utf-8") for name in self._names],
            dtype=h5py.string_dtype("utf-8", width),
            track_times=False,
        )
        self._file.attrs.update(self.attributes)
        self._file.close()
        self._file = None
        # Without this a power cut could leave the new name on an empty file.
        with open(self._temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(self._temporary, self._path)
        self.done.update(self._names)
        self._names = []
        self._number += 1

    def _drop(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except (OSError, RuntimeError):
                pass  # A full disk fails again when HDF5 flushes; the file goes anyway.
            self._file = None
        self._names = []
        self._temporary.unlink(missing_ok=True)
