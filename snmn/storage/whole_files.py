"""Files that appear under their name whole or not at all, however a program ends."""

import io
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
    an older file at ``path`` stays. An OSError that names no file, as those of a full disk do not,
    names ``path`` from here on.

    >>> with replacing("card.json") as partial:
    ...     partial.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial_path(path)
        put_in_place(path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        partial_path(path).unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Remove what killed programs had begun to write in a folder; nobody may be writing there."""
    for remains in folder.glob("*" + PARTIAL_SUFFIX):
        remains.unlink()


class UnfailingFile(io.FileIO):
    """A file for HDF5 or PyTorch to write into, that never tells of a full disk: ``check`` does.

    HDF5 does not survive a failed write. Closing its file fails as well, again and again, and the
    process crashes when it ends. PyTorch hides why a write failed. After a failed write this file
    takes no more.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def write(self, data) -> int:
        """Write all of ``data``, or nothing after a failure; its length."""
        data = memoryview(data).cast("B")
        try:
            written = 0 if self._error is None else len(data)
            while written < len(data):
                written += super().write(data[written:])
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Change the size, as HDF5 does when it is done."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size

    def check(self) -> None:
        """Raise the OSError of the first write that failed, if any did."""
        if self._error is not None:
            raise self._error
