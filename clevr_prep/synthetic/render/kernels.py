"""The `kernel` decorator: numba compilation with a disk cache that notices every edit.

Numba's own cache looks at the file of the outermost function only, so an edit to a function that
it calls from another file would go unseen. Here the cache folder's name holds a digest of all
files with kernels instead.
"""

import hashlib
import os
from pathlib import Path

import numba

SOURCES = ("kernels.py", "geometry.py", "lights.py", "tracer.py", "denoise.py", "visibility.py")


def _cache_folder() -> str | None:
    """A folder beside the sources, or None where nothing can be written."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256(b"".join((here / source).read_bytes() for source in SOURCES))
    parent = here / "__pycache__"
    try:
        parent.mkdir(exist_ok=True)
    except OSError:
        return None
    return (
        str(parent / f"kernels-{digest.hexdigest()[:12]}") if os.access(parent, os.W_OK) else None
    )


_FOLDER = _cache_folder()


def kernel(function):
    """Compile `function` with numba (fast maths, no GIL), cached on disk where possible."""
    source = Path(function.__code__.co_filename).name
    if source not in SOURCES:
        raise ValueError(f"{source} has kernels but is not listed in kernels.SOURCES")
    options = {"fastmath": True, "nogil": True, "error_model": "numpy"}
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or _FOLDER or ""
    try:
        return numba.njit(function, cache=bool(numba.config.CACHE_DIR), **options)
    finally:
        numba.config.CACHE_DIR = before
