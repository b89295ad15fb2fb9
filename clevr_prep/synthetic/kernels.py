"""The `kernel` decorator: numba compilation with a disk cache that notices every edit.

Numba's own cache looks at the file of the outermost function only, so an edit to a function that
it calls from another file would go unseen. Here the cache folder's name holds a digest of all the
package's sources instead.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numba


def _cache_folder() -> str:
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for source in (
        "kernels.py",
        "geometry.py",
        "lights.py",
        "tracer.py",
        "denoise.py",
        "visibility.py",
    ):
        digest.update((here / source).read_bytes())
    parent = here / "__pycache__"
    try:
        parent.mkdir(exist_ok=True)
        writable = os.access(parent, os.W_OK)
    except OSError:
        writable = False
    root = parent if writable else Path(tempfile.gettempdir()) / f"clevr-kernels-{os.getuid()}"
    return str(root / f"kernels-{digest.hexdigest()[:12]}")


_FOLDER = _cache_folder()


def kernel(function):
    """Compile `function` with numba (fast maths, no GIL), cached on disk between runs."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or _FOLDER
    try:
        return numba.njit(function, fastmath=True, nogil=True, cache=True, error_model="numpy")
    finally:
        numba.config.CACHE_DIR = before
