"""Memory of large tensors kept by the process instead of returned to the system at once.

glibc gives freed blocks of megabytes straight back, so that the next tensor of that size is made
of new pages, which the system clears and maps one by one. The maps of a batch are such blocks:
without this, a full-size training step takes some 20,000 page faults and a tenth more time.
"""

import ctypes
import sys

# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; False where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # Nothing in mappings of its own, and no trimming of the heap below 2 GiB.
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
