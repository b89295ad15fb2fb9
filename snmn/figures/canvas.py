"""What pictures of results are drawn with: type, colours and mixtures of them."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = "#222222", "#888888", "#ffffff"
RIGHT, WRONG = "#1e7d34", "#b3261e"


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, so that pictures need no font of the machine."""
    return ImageFont.load_default(size)


def blend(share: float, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """White at share 0, the colour at share 1."""
    share = min(1.0, max(0.0, share))
    return tuple(round(255 + (part - 255) * share) for part in colour)


def heat(values: np.ndarray) -> np.ndarray:
    """Values in [0,1] of any shape as colours [..., 3] uint8: black, violet, orange, yellow."""
    stops = np.array([[0, 0, 4], [87, 16, 110], [229, 92, 48], [252, 255, 164]], float)
    place = np.clip(values, 0, 1) * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    share = (place - low)[..., None]
    return (stops[low] * (1 - share) + stops[low + 1] * share).round().astype(np.uint8)


def wrapped(draw: ImageDraw.ImageDraw, text: str, width: int, type_) -> list[str]:
    """The text's lines, each at most ``width`` pixels wide unless one word is wider."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=type_) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(draw: ImageDraw.ImageDraw, text: str, width: int, type_) -> str:
    """The text, or as much of its beginning as fits into ``width`` pixels with an ellipsis."""
    if draw.textlength(text, font=type_) <= width:
        return text
    while text and draw.textlength(f"{text}…", font=type_) > width:
        text = text[:-1]
    return f"{text}…"


def stacked(images: list[Image.Image]) -> Image.Image:
    """Images below each other on white."""
    width, height = max(i.width for i in images), sum(i.height for i in images)
    sheet = Image.new("RGB", (width, height), PAPER)
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height
    return sheet
