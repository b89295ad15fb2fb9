"""The file format of feature shards, shared by reader and writer.

A shard ``shard-00000.h5`` holds ``features`` [n, H, W, D] (one chunk per image, so that a random
image costs one read), ``filenames`` [n] (image file names without folder), ``crc32`` [n] uint32
(checksum of each map as it lies in memory, of the stored dtype) and, as attributes, how the
features were made (see :data:`ATTRIBUTES`), ``format``, and ``header_crc32``, over ``filenames``
and ``crc32``. See :mod:`snmn.storage.checksums` for what guards the rest of the file.

A shard is written under a temporary name and renamed once it is whole: whatever is called
``shard-*.h5`` can be trusted after a crash. A map is compared with its checksum whenever it
is read.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from snmn.common.errors import UserError, shown
from snmn.storage.checksums import crc32, plain_text
from snmn.storage.hdf5_columns import own_column

FORMAT = "snmn-features-2"
ATTRIBUTES = ("backbone", "weights_sha256", "preprocess", "image_size", "dtype")

# Not shuffled first, as is usual for floats: features after a ReLU are mostly runs of zero bytes,
# and shuffling their bits makes them no smaller but three times slower to read.
COMPRESSIONS = ("none", "zstd")
_ZSTD = 32015  # its number among HDF5's registered filters


class FeatureStoreError(UserError):
    """A store cannot be read or written; the message names the file and is fit for a user."""


def shard_paths(folder: Path) -> list[Path]:
    """Whole shards of a folder, in order."""
    return sorted(folder.glob("shard-*.h5"))


def compression_options(compression: str) -> dict:
    """Arguments of h5py's ``create_dataset`` for one of :data:`COMPRESSIONS`."""
    if compression == "none":
        return {}
    return dict(_hdf5plugin("features compressed with zstd need it").Zstd(clevel=1))


def _hdf5plugin(why: str):
    try:
        import hdf5plugin  # Importing it is what makes its filters known to HDF5.
    except ImportError as error:
        raise FeatureStoreError(f"{why}: pip install hdf5plugin") from error
    return hdf5plugin


def open_shard(path: Path) -> h5py.File:
    """A shard opened for reading; FeatureStoreError when it is no HDF5 file."""
    try:
        # Each image is one chunk that is read once: no cache.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise FeatureStoreError(
            f"{path} is damaged or not HDF5 ({error}); delete it and extract again"
        ) from error


def read_header(path: Path) -> tuple[list[str], tuple[int, int, int], dict]:
    """File names, (H, W, D) and attributes of one shard, checked for consistency."""
    with open_shard(path) as file:
        try:
            if plain_text(file.attrs.get("format", "")) != FORMAT:
                raise ValueError("of an older format, without checksums")
            features = own_column(file, "features", chunked=True)
            names, checksums = own_column(file, "filenames")[:], own_column(file, "crc32")[:]
            if file.attrs["header_crc32"] != crc32([names, checksums]):
                raise ValueError("its file names are not those that were written")
            filenames = [name.decode("utf-8") for name in names]
            attributes = {key: plain_text(file.attrs[key]) for key in ATTRIBUTES}
            attributes["image_size"] = int(attributes["image_size"])
            if attributes["dtype"] != features.dtype.name:
                raise ValueError(f"features hold {features.dtype}, not {attributes['dtype']}")
        except Exception as error:  # HDF5 that somebody made up can fail in any way.
            raise FeatureStoreError(
                f"{path} is not a whole feature shard ({shown(error)}); delete it and extract again"
            ) from error
        if features.ndim != 4 or not len(features) == len(filenames) == len(checksums):
            raise FeatureStoreError(
                f"{path} has features of shape {features.shape} for {len(filenames)} file names; "
                "delete it and extract again"
            )
        return filenames, tuple(features.shape[1:]), attributes


class OpenShard:
    """One shard, open for reading maps in one process.

    Raises FeatureStoreError when the shard cannot be opened, or is compressed in a way for which
    a package is missing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = open_shard(path)
        try:
            self._features = self._file["features"]
            self._checksums = self._file["crc32"][:]
            filters = self._features.id.get_create_plist()
            codes = {filters.get_filter(i)[0] for i in range(filters.get_nfilters())}
        except Exception as error:  # HDF5 that is damaged can fail in any way.
            raise FeatureStoreError(
                f"{path} cannot be read ({shown(error)}); delete it and extract again"
            ) from error
        if _ZSTD in codes:
            _hdf5plugin(f"{path} is compressed with zstd")
        # A chunk that is one image as it lies in memory is read past HDF5's selection and
        # conversion, which take longer than copying it from the page cache.
        self._as_is = not codes and self._features.chunks == (1, *self._features.shape[1:])

    def read_into(self, out: np.ndarray, row: int) -> None:
        """Put the map of a row into ``out`` [H, W, D], contiguous and of the stored dtype.

        FeatureStoreError when it cannot be read, or is not what was written.
        """
        try:
            if self._as_is and out.dtype == self._features.dtype:
                flat = out.reshape(-1).view(np.uint8)
                self._features.id.read_direct_chunk((row, 0, 0, 0), out=flat)
            else:
                self._features.read_direct(out, np.s_[row])
        except Exception as error:  # HDF5 that is damaged can fail in any way.
            raise FeatureStoreError(
                f"{self.path} cannot be read ({shown(error)}); delete it and extract again"
            ) from error
        if crc32([out]) != self._checksums[row]:
            raise FeatureStoreError(
                f"{self.path} is damaged, they are not what was written; "
                "delete it and extract again"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def difference(expected: Mapping, found: Mapping) -> str:
    """In words, how the attributes found differ from those expected."""
    return ", ".join(
        f"{key} {found[key]!r} instead of {expected[key]!r}"
        for key in ATTRIBUTES
        if found[key] != expected[key]
    )
