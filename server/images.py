"""Uploaded images, decoded without trusting them.

Nothing is decoded before the header has told the format and the size, and nothing touches the
disk.
"""

import io

from PIL import Image, ImageOps

from server.errors import DemoError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_NAMES = "JPEG, PNG, WebP, GIF or BMP"
MIN_SIDE = 16  # pixels


def decode_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """An RGB image from a file's bytes, turned as its camera was held.

    Raises DemoError: 415 for what is no image, 413 for too many pixels, 422 for a damaged or
    tiny one.
    """
    if not data:
        raise DemoError(422, "empty_image", "The uploaded image is empty.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels("The image", max_pixels) from None
    except Exception:  # A header can be wrong in any of a decoder's ways.
        raise DemoError(
            415, "not_an_image", f"The uploaded file is not an image in {_NAMES} format."
        ) from None
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise _too_many_pixels(f"An image of {width} x {height} pixels", max_pixels)
        if min(width, height) < MIN_SIDE:
            raise DemoError(
                422,
                "tiny_image",
                f"An image of {width} x {height} pixels is too small; "
                f"each side needs at least {MIN_SIDE}.",
            )
        try:
            return ImageOps.exif_transpose(image).convert("RGB")
        except Exception:  # As above, for the rest of the file.
            raise DemoError(
                422, "damaged_image", "The uploaded image is damaged or cut off."
            ) from None


def _too_many_pixels(what: str, max_pixels: int) -> DemoError:
    return DemoError(
        413,
        "too_many_pixels",
        f"{what} is too large; at most {max_pixels / 1e6:g} million pixels are taken.",
    )
