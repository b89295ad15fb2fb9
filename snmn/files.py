"""Files that appear under their name whole or not at all, however a program ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Where the content of ``path`` is written until it is whole; beside it, on the same disk."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def put_in_place(path: Path) -> None:
    """Give the finished file at ``partial_path(path)`` its name."""
    partial = partial_path(path)
    # Without this a power cut could leave the new name on an empty file.
    with open(partial, "rb+") as written:
        os.fsync(written.fileno())
    os.replace(partial, path)


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all: the block writes to the path it is given.

    Makes the folder when absent. When the block ends by an exception, what was written goes and
    an older file at ``path`` stays.

    >>> with replacing("card.json") as partial:
    ...     partial.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial_path(path)
        put_in_place(path)
    finally:
        partial_path(path).unlink(missing_ok=True)
