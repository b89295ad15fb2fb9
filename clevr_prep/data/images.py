"""The images of a CLEVR-format dataset: where they lie, and reading them without a surprise."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from clevr_prep.clevr.question_files import DatasetError, is_loc
from clevr_prep.data.sample_majority import usual
from snmn.backbones.base import resize_rgb
from snmn.common.paths import is_hidden
from snmn.storage.image_files import image_size, open_image
from snmn.storage.rgb import ImageError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_OTHER_SUFFIXES = {".heic", ".heif", ".exr", ".svg"}  # of images that Pillow does not know either


def find_splits(root: Path, *, loc: bool = False) -> list[str]:
    """Names of the folders in ROOT/images, sorted; those of CLEVR-Ref if ``loc``.

    Raises DatasetError when there are none.
    """
    folder = root / "images"
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    names = sorted(path.name for path in folders if not is_hidden(path))
    splits = [name for name in names if is_loc(name) == loc]
    if not splits:
        raise DatasetError(
            f"no dataset in {root}: there is no folder images/{'loc_' if loc else ''}<split>; "
            "--data-dir names it"
        )
    return splits


def find_images(root: Path, split: str) -> list[Path]:
    """Image files of a split in the order of their names; DatasetError when there are none."""
    folder = root / "images" / split
    if not folder.is_dir():
        raise DatasetError(f"no image folder {folder}")
    images = sorted(path for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise DatasetError(unread_images(root, split) or f"no image in {folder}")
    return images


def unread_images(root: Path, split: str) -> str:
    """A sentence on the images of a split that are of other kinds than are read; "" for none."""
    folder = root / "images" / split
    unread = (_OTHER_SUFFIXES | Image.registered_extensions().keys()) - IMAGE_SUFFIXES
    suffixes = [path.suffix.lower() for path in _files(folder)]
    kinds = Counter(suffix for suffix in suffixes if suffix in unread)
    if not kinds:
        return ""
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
    read = ", ".join(sorted(IMAGE_SUFFIXES))
    return f"{folder} has images of kinds that are not read ({listed}); those that are read: {read}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not is_hidden(path)]


def usual_size(paths: Sequence[Path]) -> tuple[int, int] | None:
    """(width, height) in pixels of most of the images; None when none can be read."""
    return usual(paths, _size)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except (ImageError, OSError):
        return None


class ImageFiles(Dataset):
    """Item i is (path, resized uint8 RGB [size, size, 3] or None, what went wrong or "").

    Args:
        paths: image files.
        size: pixels each way to resize to.
        expected: (width, height) in pixels that the files must have; None for any.
    """

    def __init__(
        self, paths: Sequence[Path], size: int, *, expected: tuple[int, int] | None = None
    ):
        self._paths, self._size, self._expected = list(paths), size, expected

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> tuple[Path, np.ndarray | None, str]:
        path = self._paths[position]
        try:
            image = open_image(path)
            if self._expected not in (None, image.size):
                found, others = (
                    f"{width} x {height}" for width, height in (image.size, self._expected)
                )
                return path, None, f"is {found} pixels, others {others}; --any-size takes it"
            return path, resize_rgb(image, self._size), ""
        except ImageError as error:
            return path, None, error.reason
        except OSError as error:
            return path, None, f"cannot be read ({error})"
