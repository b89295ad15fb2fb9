"""Pixels of any kind as RGB: one rule for files, arrays and Pillow's images, or a refusal.

- Grey, palettes, CMYK (without its colour profile) and YCbCr are what Pillow makes of them.
- Whole numbers of more than 8 bits are scaled by their depth: black is 0, white the largest.
- Floats are taken from 0 (black) to 1 (white); other ranges are refused, and so are 32-bit or
  signed whole numbers and LAB, of which nothing says where black and white are.
- What is transparent shows ``BACKGROUND``, never the colour that is stored behind it.
- An orientation that a camera noted (EXIF) is obeyed.
"""

import numpy as np
from PIL import Image, ImageOps

from snmn.common.errors import UserError

# About CLEVR's ground, so that what was cut out of a scene leaves no bright or dark shape behind.
BACKGROUND = (128, 128, 128)

_PLAIN = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
# Floats may be off by this much, as resizing leaves them.
_ROUNDING = 0.5 / 255
# Greys of 2 and 4 bits are spread over 0..255 when read, but not the one that is transparent.
_SPREAD = {"L;2": 85, "L;4": 17}


class ImageError(UserError):
    """An image cannot be used; ``reason`` is what the sentence says of the file ``subject``."""

    def __init__(self, reason: str, subject: str = ""):
        super().__init__(f"{subject} {reason}" if subject else reason)
        self.reason = reason


class UnclearPixelsError(ImageError):
    """Nothing says which colours an image's numbers stand for."""


def as_rgb(image: Image.Image | np.ndarray) -> Image.Image:
    """The image in mode RGB, turned as its camera was held.

    Args:
        image: Pillow's image of any mode, or an array [height, width] or [height, width, C] of
            uint8, uint16, bool or floats in 0..1, with C of 1 (grey), 2 (and opacity), 3 (red,
            green, blue) or 4 (and opacity).

    Raises:
        UnclearPixelsError: for any other kind.
    """
    if not isinstance(image, Image.Image):
        image = _from_array(image)
    # What only a file knows, which is forgotten once it is decoded or turned.
    depth, white_is_zero = _tiff_depth(image)
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    _mend_transparency(image)
    image = ImageOps.exif_transpose(image)
    if deep:
        return _deep_grey(image, depth, white_is_zero)
    if image.mode == "F":
        grey = _unit_to_bytes(np.asarray(image))
        return Image.fromarray(255 - grey if white_is_zero else grey).convert("RGB")
    if image.mode not in _PLAIN:
        kinds = {
            "I": "32-bit or signed whole numbers, of which nothing says where black and white are",
            "LAB": "LAB colours, which are not read",
        }
        kind = kinds.get(image.mode, f"pixels of mode {image.mode}, which are not read")
        raise _unclear(f"has {kind}; save it as an 8-bit PNG")
    if image.has_transparency_data:
        return _on_background(image)
    return image.convert("RGB")


def _tiff_depth(image: Image.Image) -> tuple[int, bool]:
    """Bits of each value, and whether 0 is white, where Pillow leaves both to its caller."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))
    return int(bits[0] if isinstance(bits, tuple) else bits), tags.get(262) == 0


def _mend_transparency(image: Image.Image) -> None:
    """Bring PNG's transparent colour to the 8 bits that Pillow reads the others as."""
    clear, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or clear is None or not tiles:
        return
    if isinstance(clear, tuple) and tiles[0].args == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    elif tiles[0].args in _SPREAD:
        image.info["transparency"] = clear * _SPREAD[tiles[0].args]


def _deep_grey(image: Image.Image, depth: int, white_is_zero: bool) -> Image.Image:
    values = np.asarray(image)
    # The upper bits: exact for 8 bits that were made 16, whether times 256 or times 257.
    grey = np.minimum(values >> (depth - 8), 255).astype(np.uint8)
    grey = Image.fromarray(255 - grey if white_is_zero else grey)
    clear = image.info.get("transparency")
    if clear is None:
        return grey.convert("RGB")
    grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return _on_background(grey)


def _on_background(image: Image.Image) -> Image.Image:
    image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image).convert(
        "RGB"
    )


def _unit_to_bytes(values: np.ndarray) -> np.ndarray:
    """Floats in 0..1 as uint8; UnclearPixelsError beyond."""
    low, high = float(values.min()), float(values.max())
    if not (-_ROUNDING <= low and high <= 1 + _ROUNDING):  # Not of numbers that are none, either.
        raise _unclear(
            f"has floats from {low:.4g} to {high:.4g}, which are taken from 0 (black) to 1 (white)"
            "; scale them, or give whole numbers of 8 bits"
        )
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _unclear(reason: str) -> UnclearPixelsError:
    return UnclearPixelsError(reason, "the image")


def _from_array(given) -> Image.Image:
    tensor = hasattr(given, "permute")  # Without loading PyTorch, which callers may not need.
    if tensor:
        given = given.detach().cpu()
        given = given.float() if given.is_floating_point() else given
    array = np.asarray(given)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or not array.size:
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            turned = "permute" if tensor else "transpose"
            hint = f"; channels come last: image.{turned}(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; give one image, not a batch"
        raise _unclear(
            f"is an array of shape {array.shape}, not [height, width] or [height, width, 1 to 4]"
            f"{hint}"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = _unit_to_bytes(array)
    elif array.dtype != np.uint8:
        raise _unclear(
            f"is an array of {array.dtype}; uint8 (0 to 255), uint16 (0 to 65535), bool and floats "
            "from 0 to 1 are taken"
        )
    if array.ndim == 3 and channels == 1:
        array = array[..., 0]
    return Image.fromarray(np.ascontiguousarray(array))
