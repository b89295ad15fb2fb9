"""Checksums by which stored numbers that changed on disk are noticed before they are used.

What HDF5 itself adds to a file (where things lie, their types, attributes) has checksums in the
format of HDF5 1.10, :data:`CHECKED_HDF5`, and HDF5 verifies them; in its older format a flipped bit
there can crash the process. Contents have none: ours are CRC-32, kept beside them.
"""

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

# Arguments of h5py.File for writing. Text must not be of variable length: it would lie in a place
# without a checksum.
CHECKED_HDF5 = {"libver": ("v110", "v110")}


def crc32(arrays: Iterable[np.ndarray]) -> int:
    """CRC-32 over the bytes of contiguous arrays, one after the other, as they lie in memory."""
    value = 0
    for array in arrays:
        value = zlib.crc32(array, value)
    return value


def plain_text(value: object) -> object:
    """An attribute as it was before `fixed_text`; what is no text stays what it is."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def fixed_text(text: str) -> np.ndarray:
    """Text of fixed length for an attribute; it reads back as bytes in UTF-8."""
    return np.array(text.encode("utf-8") or b"\0")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
