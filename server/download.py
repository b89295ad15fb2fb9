"""Fetches a published checkpoint: whole and with the right SHA-256, or not at all."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from snmn.common.errors import UserError
from snmn.storage.whole_files import replacing

LARGEST = 2**30  # bytes
_BLOCK = 2**16
_SECONDS = 30.0  # without a byte


class DownloadError(UserError):
    """A download failed and left nothing behind; the message is fit for a user."""


def download(
    url: str, sha256: str, path: Path, *, progress: Callable[[float | None], None] | None = None
) -> None:
    """Write what lies at an http(s) address to ``path`` if it has this SHA-256 (hexadecimal).

    ``progress`` is told the share that has come, None while the size is not known. Raises
    DownloadError; an older file at ``path`` then stays as it is.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not a web address")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as response, replacing(path) as partial:
            with open(partial, "wb") as file:
                found = _copy(response, file.write, progress or (lambda share: None), url)
            if found != sha256.lower():
                raise DownloadError(
                    f"what came from {url} has the SHA-256 {found}, not {sha256}; it was discarded"
                )
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise DownloadError(f"{url} cannot be downloaded: {error}") from error


def _copy(response, write: Callable, progress: Callable, url: str) -> str:
    """Pass on all of a response; returns its SHA-256."""
    length = response.headers.get("Content-Length")
    size = int(length) if length is not None and length.isdecimal() else None
    digest, done = hashlib.sha256(), 0
    progress(None if size is None else 0.0)
    while block := response.read(_BLOCK):
        done += len(block)
        if done > LARGEST:
            raise DownloadError(f"{url} holds more than {LARGEST // 2**20} MiB")
        digest.update(block)
        write(block)
        if size:
            progress(min(done / size, 1.0))
    if size is not None and done < size:
        raise DownloadError(f"{url} ended after {done} of {size} bytes")
    return digest.hexdigest()
