"""Image files as RGB, opened in one way by whatever reads them."""

import os
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

from snmn.storage.rgb import ImageError, UnclearPixelsError, as_rgb

# For others, such as PostScript, Pillow would start programs that read the file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


class NotAnImageError(ImageError):
    """A file is no image of the formats that are read."""


class TooManyPixelsError(ImageError):
    """An image is larger than anything that should be decoded."""


class DamagedImageError(ImageError):
    """An image file is damaged or cut off."""


class SeveralImagesError(ImageError):
    """A file holds several images: an animation, or pages."""


def open_image(
    source: str | os.PathLike | BinaryIO,
    *,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int | None = None,
) -> Image.Image:
    """The image of a file, decoded and in RGB; `snmn.storage.rgb` says how.

    Args:
        source: a path, or an open file, which errors call "the image".
        formats: Pillow's names of those that are read.
        max_pixels: the most of an image that is decoded; None leaves that to Pillow.

    Raises:
        ImageError: NotAnImageError, TooManyPixelsError, SeveralImagesError, DamagedImageError or
            UnclearPixelsError; the message names the file.
        OSError: the file cannot be opened.
    """
    subject = _subject(source)
    with _header(source, formats) as image:
        width, height = image.size
        if max_pixels is not None and width * height > max_pixels:
            raise TooManyPixelsError(f"of {width} x {height} pixels is too large", subject)
        try:
            # The first one alone would answer about what may not be meant. Cameras add small
            # versions and depths to a photograph (MPO), of which the first is the photograph.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise SeveralImagesError(
                    "holds several images (an animation, or pages); save the one that is meant "
                    "as a file of its own",
                    subject,
                )
            return as_rgb(image)
        except UnclearPixelsError as error:
            raise UnclearPixelsError(error.reason, subject) from None
        except ImageError:
            raise
        except Exception as error:  # A file can be wrong in any of a decoder's ways.
            raise _damaged(error, subject) from None


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) in pixels that `open_image` would give, without decoding the pixels.

    Raises as `open_image`, but for what only the pixels tell.
    """
    with _header(path, FORMATS) as image:
        width, height = image.size
        try:
            # PNG's own method would decode all pixels to look for notes behind them.
            behind = image.format == "PNG" and _has_notes_behind(image.fp)
            notes = image.getexif() if behind else Image.Image.getexif(image)
            orientation = notes.get(_ORIENTATION)
        except Exception as error:  # As above.
            raise _damaged(error, str(path)) from None
        # Pillow turns TIFF itself.
        turned = orientation in _LYING and image.format != "TIFF"
        return (height, width) if turned else (width, height)


def _has_notes_behind(file: BinaryIO) -> bool:
    """Whether a PNG has texts or EXIF behind its pixels, where its orientation may be."""
    place, behind = file.tell(), False
    file.seek(8)
    try:
        while len(head := file.read(8)) == 8:
            behind = behind or head[4:] == b"IDAT"
            if behind and head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(place)


def _subject(source: str | os.PathLike | BinaryIO) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the image"


@contextmanager
def _header(source: str | os.PathLike | BinaryIO, formats: tuple[str, ...]):
    """A file that is open, of which but the header has been read."""
    try:
        image = Image.open(source, formats=formats)
    except Image.DecompressionBombError:
        raise TooManyPixelsError("has too many pixels to be decoded", _subject(source)) from None
    except Exception as error:  # A header can be wrong in any of a decoder's ways.
        if isinstance(error, OSError) and error.errno is not None:
            raise  # No such file, or no permission.
        raise NotAnImageError(
            f"cannot be read: it is no image ({', '.join(formats)}), or damaged at its beginning",
            _subject(source),
        ) from None
    with image:
        yield image


def _damaged(error: Exception, subject: str) -> DamagedImageError:
    return DamagedImageError(f"cannot be read: it is damaged or cut off ({error})", subject)
