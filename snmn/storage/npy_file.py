"""Arrays of numbers in ``.npy`` files, read without trusting who made them."""

from pathlib import Path

import numpy as np


class ArrayFileError(ValueError):
    """A file is no array of numbers; the message is why, in one line."""


def read_array(path: str | Path) -> np.ndarray:
    """The array of a file. Raises ArrayFileError, which does not name the file. Never unpickles.

    Nothing is allocated for more numbers than the file has.
    """
    try:
        # Mapping it first holds the shape that the file claims against its size.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise ArrayFileError(f"is not a readable .npy file ({error.strerror or error})") from error
    except Exception as error:  # A header that is none fails in any way.
        reason = " ".join(str(error).split())
        raise ArrayFileError(f"is not a readable .npy file ({reason})") from error
    return np.array(mapped)
