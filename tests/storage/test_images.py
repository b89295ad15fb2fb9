"""One way of opening an image: what is scaled, composited and turned, and what is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from snmn.storage import image_files
from snmn.storage.image_files import (
    DamagedImageError,
    NotAnImageError,
    TooManyPixelsError,
    image_size,
    open_image,
)
from snmn.storage.rgb import BACKGROUND, ImageError, UnclearPixelsError, as_rgb
from tests.helpers.image_kinds import (
    ORIENTATION,
    SIZE,
    STORED,
    grey_kinds,
    hidden,
    in_file,
    picture,
    unclear,
)

PICTURE = picture()
COLOURS = np.asarray(PICTURE)
GREY = np.asarray(PICTURE.convert("L"))


def difference(image, expected):
    assert image.mode == "RGB"
    return np.abs(np.asarray(image).astype(int) - expected).max()


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_every_format(kind, tmp_path):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    file = in_file(PICTURE, kind, **options.get(kind, {}))
    limit = {"JPEG": 8, "GIF": 80}.get(kind, 0)
    assert difference(open_image(file), COLOURS) <= limit
    (tmp_path / "file").write_bytes(file.getvalue())
    assert image_size(tmp_path / "file") == SIZE


@pytest.mark.parametrize("kind", grey_kinds(PICTURE))
def test_grey_of_any_depth_is_the_same_grey(kind):
    assert difference(open_image(grey_kinds(PICTURE)[kind]), GREY[..., None]) == 0


def test_colours_of_any_kind():
    for kind in ("CMYK", "YCbCr", "HSV", "RGBX"):
        assert difference(as_rgb(PICTURE.convert(kind)), COLOURS) <= {"HSV": 8}.get(kind, 3)
    for file in (in_file(PICTURE.convert("CMYK"), kind, quality=100) for kind in ("JPEG", "TIFF")):
        assert np.abs(np.asarray(open_image(file)).astype(int) - COLOURS).mean() < 8
    flat = PICTURE.quantize(200)
    assert difference(open_image(in_file(flat, "PNG")), np.asarray(flat.convert("RGB"))) == 0
    ink = PICTURE.convert("1")
    assert difference(open_image(in_file(ink, "TIFF")), np.asarray(ink.convert("RGB"))) == 0


@pytest.mark.parametrize("kind", hidden(PICTURE))
def test_what_is_transparent_shows_the_background(kind):
    shown = np.asarray(open_image(hidden(PICTURE)[kind]))
    third = SIZE[0] // 3
    assert (shown[:, :third] == BACKGROUND).all()
    other = np.asarray(open_image(hidden(PICTURE, secret=(0, 255, 9))[kind]))
    np.testing.assert_array_equal(shown, other)
    rest = shown[:, third:].astype(int)
    if kind.startswith(("RGB", "grey", "16-bit")):
        expected = COLOURS if kind.startswith("RGB") else GREY[..., None]
        assert np.abs(rest - expected[:, third:]).max() == 0
    assert rest.std() > 20


def test_what_is_half_transparent_is_mixed():
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    mixed = np.asarray(as_rgb(half))[0, 0]
    np.testing.assert_allclose(mixed, (np.array([255, 0, 0]) + BACKGROUND) / 2, atol=1)


def test_a_transparent_grey_of_few_bits():
    """Pillow spreads the pixels over 0..255, but tells the transparent one as it is stored."""
    stored = grey_png(2, [[0, 1, 2, 3]], clear=1)
    assert np.asarray(open_image(stored))[0, :, 0].tolist() == [0, BACKGROUND[0], 170, 255]


def grey_png(bits, rows, *, clear):
    """A PNG of grey values of a few bits each, of which one is transparent."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    packed = b""
    for row in rows:
        text = "".join(f"{value:0{bits}b}" for value in row)
        packed += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", clear))
    chunks += chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("held", STORED)
def test_a_picture_is_turned_as_its_camera_was_held(kind, held, tmp_path):
    stored = PICTURE if STORED[held] is None else PICTURE.transpose(STORED[held])
    note = Image.Exif()
    note[ORIENTATION] = held
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    file = in_file(stored, kind, exif=note, **options.get(kind, {}))
    assert difference(open_image(file), COLOURS) <= (8 if kind == "JPEG" else 0)
    (tmp_path / "held").write_bytes(file.getvalue())
    assert image_size(tmp_path / "held") == SIZE
    file.seek(0)
    with Image.open(file) as opened:  # As who opens it himself gives it to a model.
        assert difference(as_rgb(opened), COLOURS) <= (8 if kind == "JPEG" else 0)


def test_a_deep_picture_is_turned_too():
    note = Image.Exif()
    note[ORIENTATION] = 6
    stored = Image.fromarray(GREY.astype(np.uint16) * 257).transpose(Image.Transpose.ROTATE_90)
    for kind in ("PNG", "TIFF"):
        assert difference(open_image(in_file(stored, kind, exif=note)), GREY[..., None]) == 0


@pytest.mark.parametrize("kind", unclear(PICTURE))
def test_what_leaves_its_colours_or_its_picture_open_is_refused(kind, tmp_path):
    file, said = unclear(PICTURE)[kind]
    path = tmp_path / "brought.bin"
    path.write_bytes(file.getvalue())
    with pytest.raises(ImageError, match=f"^{path} (has|holds) .*{said}"):
        open_image(path)


def test_a_photograph_with_smaller_versions_is_the_photograph():
    second = Image.new("RGB", SIZE)
    file = in_file(PICTURE, "MPO", save_all=True, append_images=[second], quality=100)
    assert np.abs(np.asarray(open_image(file)).astype(int) - COLOURS).mean() < 8


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_a_file_that_is_cut_off_is_whole_or_refused(kind):
    """A few bytes at the end may be without pixels, such as PNG's last mark."""
    data = in_file(picture((96, 64)), kind).getvalue()
    whole = np.asarray(open_image(io.BytesIO(data)))
    for keep in (0.02, 0.2, 0.5, 0.9, 0.99, *(1 - n / len(data) for n in range(1, 40, 3))):
        try:
            shown = open_image(io.BytesIO(data[: int(keep * len(data))]))
        except (DamagedImageError, NotAnImageError) as error:
            assert str(error).startswith("the image cannot be read: ")
        else:
            assert keep > 0.95 and (np.asarray(shown) == whole).all()


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    for read in (open_image, image_size):
        with pytest.raises(NotAnImageError, match=f"^{path} cannot be read: it is no image"):
            read(path)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read(tmp_path / "nowhere.png")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
    with pytest.raises(NotAnImageError):
        open_image(in_file(PICTURE, "TIFF"), formats=("PNG",))


def test_sizes_are_read_without_decoding(monkeypatch, tmp_path):
    held = Image.Exif()
    held[ORIENTATION] = 6
    for kind in image_files.FORMATS:
        path = tmp_path / kind
        path.write_bytes(in_file(PICTURE, kind).getvalue())
    turned = in_file(PICTURE, "PNG", exif=held).getvalue()
    (tmp_path / "turned").write_bytes(turned)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
        assert {image_size(tmp_path / kind) for kind in image_files.FORMATS} == {SIZE}
        assert image_size(tmp_path / "turned") == SIZE[::-1]
    # Behind the pixels, where PNG may have it too.
    at, end = turned.index(b"eXIf") - 4, turned.index(b"IDAT") - 4
    mark = turned.index(b"IEND") - 4
    moved = turned[:at] + turned[end:mark] + turned[at:end] + turned[mark:]
    (tmp_path / "behind").write_bytes(moved)
    assert image_size(tmp_path / "behind") == open_image(tmp_path / "behind").size == SIZE[::-1]


def test_more_pixels_than_are_taken_are_never_decoded(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    for kind in image_files.FORMATS:
        with pytest.raises(TooManyPixelsError, match="the image of 48 x 32 pixels is too large"):
            open_image(in_file(PICTURE, kind), max_pixels=SIZE[0] * SIZE[1] - 1)


def test_a_bomb_is_never_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] // 3)
    with warnings.catch_warnings(), pytest.raises(TooManyPixelsError, match="too many pixels"):
        warnings.simplefilter("error")
        open_image(in_file(PICTURE, "PNG"))


@pytest.mark.parametrize(
    "array, expected",
    [
        (COLOURS, COLOURS),
        (COLOURS[::-1, ::-1][::-1, ::-1], COLOURS),
        (COLOURS.astype(np.uint16) * 257, COLOURS),
        (COLOURS.astype(np.float32) / 255, COLOURS),
        (COLOURS.astype(np.float64) / 255, COLOURS),
        (COLOURS / 255 + 1e-6, COLOURS),
        (GREY, GREY[..., None]),
        (GREY[..., None], GREY[..., None]),
        (GREY / 255, GREY[..., None]),
        (GREY > 99, (GREY > 99)[..., None] * 255),
        (np.dstack([COLOURS, np.full_like(GREY, 255)]), COLOURS),
        (np.dstack([GREY, np.full_like(GREY, 255)]), GREY[..., None]),
        (np.dstack([COLOURS, np.zeros_like(GREY)]), np.full_like(COLOURS, BACKGROUND[0])),
        (torch.from_numpy(COLOURS.copy()), COLOURS),
        (torch.from_numpy(COLOURS / np.float32(255)).requires_grad_(), COLOURS),
    ],
)
def test_arrays(array, expected):
    assert difference(as_rgb(array), expected) == 0


@pytest.mark.parametrize(
    "array, said",
    [
        (COLOURS.astype(np.float32), "floats from 0 to 255.*taken from 0"),
        (COLOURS / 127.5 - 1, "floats from -1 to"),
        (np.full((4, 4), np.nan), "floats from nan"),
        (COLOURS.astype(np.int64), "array of int64; uint8"),
        (
            COLOURS.transpose(2, 0, 1),
            r"\(3, 32, 48\).*channels come last: image.transpose\(1, 2, 0",
        ),
        (torch.rand(3, 32, 48), r"channels come last: image.permute\(1, 2, 0\)"),
        (torch.rand(1, 32, 48), r"channels come last: image.permute\(1, 2, 0\)"),
        (COLOURS[None], "one image, not a batch"),
        (COLOURS[..., :0], r"array of shape \(32, 48, 0\)"),
        (COLOURS[:0], r"array of shape \(0, 48, 3\)"),
        (np.zeros(5, np.uint8), r"array of shape \(5,\)"),
        (None, r"array of shape \(\)"),
    ],
)
def test_arrays_that_leave_open_what_they_show(array, said):
    with pytest.raises(UnclearPixelsError, match=f"^the image (is|has) .*{said}"):
        as_rgb(array)
