"""Uploaded images, decoded without trusting them.

Nothing is decoded before the header has told the format and the size, and nothing touches the
disk.
"""

import io

from PIL import Image

from server.errors import DemoError
from snmn.storage.image_files import (
    NotAnImageError,
    SeveralImagesError,
    TooManyPixelsError,
    open_image,
)
from snmn.storage.rgb import ImageError, UnclearPixelsError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_NAMES = "JPEG, PNG, WebP, GIF or BMP"
MIN_SIDE = 16  # pixels


def decode_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """An RGB image from a file's bytes, as `snmn.storage.image_files.open_image` makes it.

    Raises DemoError: 415 for what is no image, 413 for too many pixels, 422 for a damaged or
    tiny one, or one whose pixels or frames leave open what it shows.
    """
    if not data:
        raise DemoError(422, "empty_image", "The uploaded image is empty.")
    try:
        image = open_image(io.BytesIO(data), formats=FORMATS, max_pixels=max_pixels)
    except TooManyPixelsError as error:
        raise DemoError(
            413,
            "too_many_pixels",
            f"The uploaded image {error.reason}; at most {max_pixels / 1e6:g} million pixels are "
            "taken.",
        ) from None
    except NotAnImageError:
        raise DemoError(
            415, "not_an_image", f"The uploaded file is not an image in {_NAMES} format."
        ) from None
    except (SeveralImagesError, UnclearPixelsError) as error:
        raise DemoError(422, "unclear_image", f"The uploaded image {error.reason}.") from None
    except ImageError:
        raise DemoError(422, "damaged_image", "The uploaded image is damaged or cut off.") from None

    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise DemoError(
            422,
            "tiny_image",
            f"An image of {width} x {height} pixels is too small; "
            f"each side needs at least {MIN_SIDE}.",
        )
    return image
