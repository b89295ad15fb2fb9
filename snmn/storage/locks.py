"""One writer at a time: of two processes that would write the same, the second one refuses.

A lock belongs to the process that took it and ends with it, however it ends. Its empty file, whose
name ends in ``.lock``, stays and does no harm.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_SUFFIX = ".lock"

# Seconds: children that a killed process forked may hold its lock until they have died as well.
_PATIENCE = 1.0


class LockedError(OSError):
    """Another process writes there; the message names the place and is fit for a user."""


@contextmanager
def lock_folder(folder: str | os.PathLike) -> Iterator[None]:
    """Be the only writer of a folder, which is made when absent.

    Raises LockedError when it has another, in this process or elsewhere, and another OSError when
    it cannot be written to.

    >>> with lock_folder("data/features/train"):
    ...     pass
    """
    folder = Path(folder)
    with _locked(folder / f".writer{LOCK_SUFFIX}", folder):
        yield


@contextmanager
def lock_file(path: str | os.PathLike) -> Iterator[None]:
    """The same for a single file; others beside it may have writers of their own."""
    path = Path(path)
    with _locked(path.with_name(f".{path.name}{LOCK_SUFFIX}"), path):
        yield


@contextmanager
def _locked(name: Path, place: Path) -> Iterator[None]:
    name.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(name, timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(f"{place} is being written by another process") from None
    try:
        yield
    finally:
        lock.release()
