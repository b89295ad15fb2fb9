"""The same picture in every kind of file that people bring, and what becomes of each."""

import io

import numpy as np
from PIL import Image

# (width, height), of which each side tells itself from the other.
SIZE = (48, 32)
ORIENTATION = 0x0112
# How a camera that was held in each way stores a picture, to be turned back.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(size=SIZE) -> Image.Image:
    """An RGB picture without symmetries."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def in_file(image: Image.Image, kind: str, **options) -> io.BytesIO:
    """A file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def grey_kinds(image: Image.Image) -> dict[str, io.BytesIO]:
    """The grey of a picture in files of more than 8 bits, and other ways."""
    grey = np.asarray(image.convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    return {
        "8-bit PNG": in_file(image.convert("L"), "PNG"),
        "16-bit PNG": in_file(wide, "PNG"),
        "16-bit PNG, shifted": in_file(Image.fromarray(grey.astype(np.uint16) << 8), "PNG"),
        "16-bit TIFF": in_file(wide, "TIFF"),
        "16-bit TIFF of the other byte order": in_file(
            Image.fromarray((grey.astype(">u2") * 257).astype(">u2")), "TIFF"
        ),
        "16-bit TIFF, 0 is white": in_file(
            Image.fromarray(65535 - grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}
        ),
        "12-bit TIFF": twelve_bit_tiff(grey),
        "float TIFF": in_file(Image.fromarray((grey / 255).astype(np.float32)), "TIFF"),
        "compressed float TIFF": in_file(
            Image.fromarray((grey / 255).astype(np.float32)), "TIFF", compression="tiff_deflate"
        ),
    }


def twelve_bit_tiff(grey: np.ndarray) -> io.BytesIO:
    """A TIFF with two values in three bytes, which Pillow reads but does not write."""
    first, second = (grey.astype(np.uint16) << 4).reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    data = packed.astype(np.uint8).tobytes()
    height, width = grey.shape
    tags = ((256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8))
    tags += ((277, 1), (278, height), (279, len(data)))
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in tags
    )
    head = b"II*\0" + (8 + len(data)).to_bytes(4, "little")
    return io.BytesIO(head + data + len(tags).to_bytes(2, "little") + entries + b"\0" * 4)


def hidden(image: Image.Image, *, secret=(255, 0, 0)) -> dict[str, io.BytesIO]:
    """Files of a picture whose left third is transparent, with a secret colour behind it."""
    width, height = image.size
    opacity = Image.new("L", image.size, 255)
    opacity.paste(0, (0, 0, width // 3, height))
    below = image.copy()
    below.paste(secret, (0, 0, width // 3, height))
    full = below.copy()
    full.putalpha(opacity)
    grey = below.convert("L")
    grey.putalpha(opacity)
    flat = image.quantize(15)
    flat.paste(15, (0, 0, width // 3, height))
    palette = [*flat.getpalette()[:45], *secret]
    flat.putpalette(palette)
    rare = image.copy()
    rare.paste((1, 2, 3), (0, 0, width // 3, height))
    dark = np.asarray(image.convert("L")).astype(np.uint16) * 257
    dark[:, : width // 3] = 4321
    bits = Image.fromarray(dark > 30_000)
    bits.paste(0, (0, 0, width // 3, height))
    return {
        "RGBA PNG": in_file(full, "PNG"),
        "RGBA WebP": in_file(full, "WEBP", lossless=True, exact=True),
        "RGBA TIFF": in_file(full, "TIFF"),
        "grey PNG with opacity": in_file(grey, "PNG"),
        "palette PNG": in_file(flat, "PNG", transparency=15),
        "palette PNG with opacities": in_file(flat, "PNG", transparency=b"\xff" * 15 + b"\0"),
        "GIF": in_file(flat, "GIF", transparency=15),
        "RGB PNG with a transparent colour": in_file(rare, "PNG", transparency=(1, 2, 3)),
        "16-bit PNG with a transparent grey": in_file(
            Image.fromarray(dark), "PNG", transparency=4321
        ),
        "black and white PNG": in_file(bits, "PNG", transparency=0),
    }


def unclear(image: Image.Image) -> dict[str, tuple[io.BytesIO, str]]:
    """Files whose colours nothing tells, or that hold several pictures, and what is said."""
    grey = image.convert("L")
    several = {"save_all": True, "append_images": [Image.new("RGB", image.size)]}
    return {
        "float TIFF up to 255": (in_file(grey.convert("F"), "TIFF"), "floats from"),
        "float TIFF below 0": (
            in_file(Image.fromarray(np.asarray(grey) / np.float32(255) - 0.5), "TIFF"),
            "floats from",
        ),
        "float TIFF with no number": (
            in_file(Image.fromarray(np.full((32, 48), np.nan, np.float32)), "TIFF"),
            "floats from nan",
        ),
        "32-bit TIFF": (in_file(grey.convert("I"), "TIFF"), "32-bit or signed whole numbers"),
        "LAB TIFF": (in_file(Image.new("LAB", image.size), "TIFF"), "LAB colours"),
        "animated GIF": (in_file(image, "GIF", **several), "several images"),
        "animated PNG": (in_file(image, "PNG", **several), "several images"),
        "animated WebP": (in_file(image, "WEBP", **several), "several images"),
        "TIFF of two pages": (in_file(image, "TIFF", **several), "several images"),
    }
