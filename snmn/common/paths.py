"""Paths and file names as people give them."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

_LEFT_BEHIND = ("__MACOSX", "@eaDir")  # folders, by zip files of Macs and by network disks


def home_path(text: str) -> Path:
    """A path in which ``~`` or ``~name`` at the start stands for a home folder.

    Shells put it in themselves, but not within ``--option=~/data`` or a file of settings.
    """
    return Path(os.path.expanduser(text))


def name_but_suffix(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that differs from ``name`` in its suffix alone, if there is one."""
    stem = PurePath(name).stem
    return next((other for other in names if other != name and PurePath(other).stem == stem), None)


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder under names of a pattern, sorted, without hidden ones."""
    return sorted(path for path in folder.glob(pattern) if not is_hidden(path))


def is_hidden(path: PurePath) -> bool:
    """Whether a name is of what systems and editors leave beside files, and hide themselves.

    A Mac copies ``a.png`` to other disks with a ``._a.png``, which is no image.
    """
    return path.name.startswith(".") or path.name in _LEFT_BEHIND
