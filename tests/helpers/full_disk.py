"""A small disk to fill, where this process may mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mebibytes: float) -> Iterator[Path]:
    """A disk of that size, in memory, mounted at a folder; skips the test where that is refused."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={int(mebibytes * 1024)}k", "tmpfs", folder]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a disk to fill")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk to fill: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk but for ``leave`` bytes; returns the file that takes the room."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - leave))
    return ballast
