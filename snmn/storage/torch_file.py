"""Files of torch, written whole or not at all, and read without trusting who made them.

When one is read no code runs, and nothing is inflated.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch

from snmn.storage.whole_files import UnfailingFile, replacing


class TorchFileError(ValueError):
    """A file cannot be read as weights and plain values; the message is why, in one line."""


def read_torch_file(path: str | Path) -> Any:
    """What a file holds. Raises FileNotFoundError, or TorchFileError, which does not name it."""
    try:
        _check_archive(Path(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TorchFileError(f"{error.strerror or error}") from None
    except Exception:
        # Torch fails in many ways, and its own words would advise to load the file unsafely.
        reason = "damaged, or with more in it than weights and plain values"
        raise TorchFileError(reason) from None


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is, or is damaged; torch checks neither."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\3\4":
            return  # No archive to torch either; older files are none, and have no checksums.
    with zipfile.ZipFile(path) as archive:
        # Torch packs nothing.
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("unpacks to more than it is")
        if archive.testzip() is not None:
            raise ValueError("a checksum is wrong")


def write_torch_file(path: str | Path, content: Any) -> None:
    """Write a file, whole or not at all. Raises OSError, which names it."""
    with replacing(path) as partial, UnfailingFile(partial) as file:
        torch.save(content, file)
        file.check()
