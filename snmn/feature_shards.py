"""The file format of feature shards, shared by reader and writer.

A shard ``shard-00000.h5`` holds ``features`` [n, H, W, D] (one chunk per image, so that a random
image costs one read), ``filenames`` [n] (image file names without folder) and, as attributes, how
the features were made (see :data:`ATTRIBUTES`). A shard is written under a temporary name and
renamed once it is whole: whatever is called ``shard-*.h5`` can be trusted after a crash.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py

ATTRIBUTES = ("backbone", "weights_sha256", "preprocess", "image_size", "dtype")


class FeatureStoreError(RuntimeError):
    """A store cannot be read or written; the message names the file and is fit for a user."""


def shard_paths(folder: Path) -> list[Path]:
    """Whole shards of a folder, in order."""
    return sorted(folder.glob("shard-*.h5"))


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


def difference(expected: Mapping, found: Mapping) -> str:
    """In words, how the attributes found differ from those expected."""
    return ", ".join(
        f"{key} {found[key]!r} instead of {expected[key]!r}"
        for key in ATTRIBUTES
        if found[key] != expected[key]
    )
