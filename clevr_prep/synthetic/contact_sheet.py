"""A sheet of a dataset's first images to look at, with a question and its box or answer each."""

import json
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from snmn.storage.image_files import image_size, open_image
from snmn.storage.whole_files import replacing

COLUMNS, ROWS = 4, 6
CELL, CAPTION, GAP = 240, 44, 8


def _first_questions(path: Path, wanted: int) -> dict[str, dict]:
    """The first question about each of the first `wanted` images, by image file name.

    Reads line by line (one question a line) and stops early: the file can be large.
    """
    found: dict[str, dict] = {}
    if path.exists():
        with path.open() as file:
            next(file, None)
            for line in file:
                if not line.startswith("{"):
                    break
                question = json.loads(line.rstrip().rstrip(","))
                if question["image_filename"] not in found and len(found) == wanted:
                    break
                found.setdefault(question["image_filename"], question)
    return found


def _draw_box(draw: ImageDraw.ImageDraw, box: list[int], x: int, y: int, scale: float) -> None:
    """Draw a box [x, y, width, height] of an image that is pasted, scaled, at x, y."""
    left, top, width, height = (side * scale for side in box)
    corners = (x + left - 1, y + top - 1, x + left + width, y + top + height)
    draw.rectangle(corners, outline="white", width=2)
    draw.rectangle(corners, outline="black", width=1)


def write_contact_sheet(root: Path, split: str, target: Path) -> None:
    """Write a PNG of up to 24 images of a split of the dataset at `root`."""
    paths = sorted((root / "images" / split).glob("CLEVR_*.png"))[: COLUMNS * ROWS]
    asked = _first_questions(root / "questions" / f"CLEVR_{split}_questions.json", len(paths))
    first_width, first_height = image_size(paths[0])
    height = round(CELL * first_height / first_width)
    tall = height + (CAPTION if asked else 0) + GAP
    rows = -(-len(paths) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) + GAP, rows * tall + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=10)
    for k, path in enumerate(paths):
        x, y = GAP + k % COLUMNS * (CELL + GAP), GAP + k // COLUMNS * tall
        image = open_image(path)
        sheet.paste(image.resize((CELL, height)), (x, y))
        if path.name in asked:
            question = asked[path.name]
            if "bbox" in question:
                _draw_box(draw, question["bbox"], x, y, CELL / image.width)
            answer = question.get("answer", "").upper()
            text = textwrap.wrap(f"{question['question']} {answer}", 46)
            draw.multiline_text((x, y + height + 2), "\n".join(text[:4]), "black", font, spacing=1)
    with replacing(target) as partial:
        sheet.save(partial, "PNG")
