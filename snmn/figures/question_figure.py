"""A question's `snmn.figures.trace.Trace` as one picture, from top to bottom as the model goes.

A row for each step: the module and its probability, with those it competes with, and what of the
step was set from outside; the question, its words shaded by attention; the attention at the stack's
top over the image; the stack, its top framed. Below, the answer's distribution or the box. NoOps at
the end share one line.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from snmn.figures.canvas import (
    FAINT,
    INK,
    PAPER,
    RIGHT,
    WRONG,
    blend,
    font,
    heat,
    shortened,
    stacked,
    wrapped,
)
from snmn.figures.trace import Step, Trace
from snmn.storage.rgb import as_rgb

MARGIN = 14
NAME_WIDTH, WORDS_WIDTH, IMAGE_WIDTH = 166, 300, 210
STACK_COLUMNS, MAP_WIDTH = 4, 66
SHADE = (255, 176, 32)
# Attention spread thinner than this over its best cell is shown as weak, not scaled up.
FULL_HEAT = 0.1
# The same for words.
FULL_SHADE = 0.3


def draw_figure(
    trace: Trace,
    image: Image.Image | None = None,
    *,
    expected: str | None = None,
    true_box: list[float] | None = None,
    correct: bool | None = None,
    image_size: tuple[int, int] = (480, 320),
    show_answer: bool = True,
    show_stack: bool = True,
) -> Image.Image:
    """Draw a trace.

    Args:
        trace: from `snmn.figures.trace.trace`.
        image: what the question is about; None shows attention alone, in the shape of an image
            of ``image_size`` pixels.
        expected: the true answer, if known. ``true_box`` is the same for expressions,
            [x, y, w, h] in pixels.
        correct: whether the prediction is right; None where nobody knows.
        show_answer: whether to show what is predicted and true, or leave that to be guessed.
        show_stack: whether to show the stack's other maps.
    """
    if image is not None:
        image = as_rgb(image)
        image_size = image.size
    height = round(IMAGE_WIDTH * image_size[1] / image_size[0])
    thumbnail = image.resize((IMAGE_WIDTH, height)) if image is not None else None
    width = 2 * MARGIN + NAME_WIDTH + WORDS_WIDTH + IMAGE_WIDTH
    if show_stack:
        width += MARGIN + STACK_COLUMNS * (MAP_WIDTH + 4)
    parts = [_header(trace, width, thumbnail)]
    steps = trace.active_steps
    for number, step in enumerate(steps, start=1):
        parts.append(_row(number, step, trace, thumbnail, (width, height), show_stack))
    rest = len(trace.steps) - len(steps)
    if rest:
        parts.append(_idle(len(steps) + 1, len(trace.steps), width))
    if show_answer and trace.box is not None:
        parts.append(_box(trace, thumbnail, image_size, true_box, correct, (width, height)))
    elif show_answer:
        parts.append(_answers(trace, expected, correct, width))
    return stacked(parts)


def _sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), PAPER)
    return image, ImageDraw.Draw(image)


def _header(trace: Trace, width: int, thumbnail: Image.Image | None) -> Image.Image:
    type_ = font(20)
    text = " ".join(trace.words).replace(" ;", ";").replace(" ?", "?").capitalize()
    room = width - 3 * MARGIN - (thumbnail.width if thumbnail else 0)
    lines = wrapped(_sheet(1, 1)[1], text, room, type_)
    height = 2 * MARGIN + max(28 * len(lines), thumbnail.height if thumbnail else 0)
    image, draw = _sheet(width, height)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + 28 * number), line, fill=INK, font=type_)
    if thumbnail:
        image.paste(thumbnail, (width - MARGIN - thumbnail.width, MARGIN))
    return image


def _row(
    number: int,
    step: Step,
    trace: Trace,
    thumbnail: Image.Image | None,
    size: tuple[int, int],
    show_stack: bool,
) -> Image.Image:
    width, image_height = size
    height = max(image_height, _words_height(trace.words)) + 2 * MARGIN
    image, draw = _sheet(width, height)
    draw.line((MARGIN, 0, width - MARGIN, 0), fill="#dddddd")
    _name(draw, number, step, trace.modules)
    _words(draw, (MARGIN + NAME_WIDTH, MARGIN), trace.words, step.words)
    left = MARGIN + NAME_WIDTH + WORDS_WIDTH
    image.paste(_overlay(step.attention, thumbnail, (IMAGE_WIDTH, image_height)), (left, MARGIN))
    if show_stack:
        _stack(image, (left + IMAGE_WIDTH + MARGIN, MARGIN), step, image_height / IMAGE_WIDTH)
    return image


def _name(draw: ImageDraw.ImageDraw, number: int, step: Step, modules: Sequence[str]) -> None:
    """The step's module in large type, and the three likeliest with their probabilities."""
    large, room = font(17), NAME_WIDTH - 6
    name = shortened(draw, f"{number}  {step.module[1:]}", room, large)
    draw.text((MARGIN, MARGIN - 2), name, fill=INK, font=large)
    small = font(12)
    for place, m in enumerate(np.argsort(-step.probabilities)[:3]):
        share, top = float(step.probabilities[m]), MARGIN + 26 + 17 * place
        draw.rectangle((MARGIN, top + 2, MARGIN + 40, top + 12), fill="#eeeeee")
        draw.rectangle((MARGIN, top + 2, MARGIN + round(40 * share), top + 12), fill="#5b8db8")
        text = shortened(draw, f"{share:.2f} {modules[m][1:]}", room - 46, small)
        draw.text((MARGIN + 46, top), text, fill=INK if place == 0 else FAINT, font=small)
    if step.given:
        text = shortened(draw, f"set: {', '.join(step.given)}", room, small)
        draw.text((MARGIN, MARGIN + 26 + 17 * 3), text, fill=WRONG, font=small)


def _places(words: list[str]) -> list[tuple[int, int, int]]:
    """(x, y, width) of each word, wrapped into WORDS_WIDTH."""
    draw, type_ = _sheet(1, 1)[1], font(14)
    places, x, y = [], 0, 0
    for word in words:
        length = round(draw.textlength(word, font=type_)) + 6
        if x + length > WORDS_WIDTH - MARGIN and x:
            x, y = 0, y + 22
        places.append((x, y, length))
        x += length
    return places


def _words_height(words: list[str]) -> int:
    return _places(words)[-1][1] + 22


def _words(draw: ImageDraw.ImageDraw, corner, words: list[str], shares: np.ndarray) -> None:
    """The question, each word on a ground as strong as its share beside the greatest."""
    greatest = max(float(shares.max()), FULL_SHADE)
    for (x, y, length), word, share in zip(_places(words), words, shares, strict=True):
        x, y = x + corner[0], y + corner[1]
        draw.rectangle((x, y, x + length - 1, y + 19), fill=blend(float(share) / greatest, SHADE))
        draw.text((x + 3, y + 1), word, fill=INK, font=font(14))


def _overlay(
    attention: np.ndarray, thumbnail: Image.Image | None, size: tuple[int, int]
) -> Image.Image:
    """Attention [H,W] in colours over the image, in cells as large as the model's."""
    strength = attention / max(float(attention.max()), FULL_HEAT)
    colours = Image.fromarray(heat(strength)).resize(size, Image.Resampling.NEAREST)
    if thumbnail is None:
        return colours
    mask = Image.fromarray((80 + 90 * strength).astype(np.uint8))
    return Image.composite(colours, thumbnail, mask.resize(size, Image.Resampling.NEAREST))


def _stack(image: Image.Image, corner: tuple[int, int], step: Step, ratio: float) -> None:
    """All maps of the stack, the lowest first; the places that hold the top are framed."""
    draw, size = ImageDraw.Draw(image), (MAP_WIDTH, round(MAP_WIDTH * ratio))
    top = int(step.pointer.argmax())
    for place, attention in enumerate(step.stack):
        row, column = divmod(place, STACK_COLUMNS)
        x = corner[0] + column * (MAP_WIDTH + 4)
        y = corner[1] + row * (size[1] + 20)
        small = _overlay(attention, None, size)
        if place > top:  # Left over from before: nothing reads it any more.
            small = Image.blend(small, Image.new("RGB", size, PAPER), 0.75)
        image.paste(small, (x, y))
        share = float(step.pointer[place])
        if share > 0.01:
            draw.rectangle(
                (x - 2, y - 2, x + size[0] + 1, y + size[1] + 1),
                outline=blend(share, (220, 20, 60)),
                width=2,
            )
        label = f"{place}" + (" top" if place == top else "")
        draw.text((x, y + size[1] + 2), label, fill=INK if place == top else FAINT, font=font(11))


def _idle(first: int, last: int, width: int) -> Image.Image:
    image, draw = _sheet(width, 2 * MARGIN + 12)
    draw.line((MARGIN, 0, width - MARGIN, 0), fill="#dddddd")
    steps = f"step {first}" if first == last else f"steps {first} to {last}"
    draw.text((MARGIN, MARGIN - 2), f"{steps}: NoOp", fill=FAINT, font=font(14))
    return image


def _verdict(correct: bool | None) -> str:
    return INK if correct is None else (RIGHT if correct else WRONG)


def _answers(trace: Trace, expected: str | None, correct: bool | None, width: int) -> Image.Image:
    """The five likeliest answers as bars."""
    shown = trace.answers[:5]
    image, draw = _sheet(width, 2 * MARGIN + 22 * len(shown) + 4)
    draw.line((MARGIN, 0, width - MARGIN, 0), fill="#dddddd")
    draw.text((MARGIN, MARGIN - 2), f"Answer: {shown[0][0]}", fill=_verdict(correct), font=font(17))
    if expected:
        draw.text((MARGIN, MARGIN + 24), f"expected: {expected}", fill=FAINT, font=font(14))
    left = MARGIN + NAME_WIDTH + 90
    for place, (answer, share) in enumerate(shown):
        top = MARGIN + 22 * place
        colour = RIGHT if answer == expected else "#5b8db8"
        draw.text((left - 8, top + 7), answer, fill=INK, font=font(14), anchor="rm")
        draw.rectangle((left, top, left + max(1, round(260 * share)), top + 15), fill=colour)
        text = f"{share:.3f}"
        draw.text((left + 268 * share + 8, top + 7), text, fill=FAINT, font=font(12), anchor="lm")
    return image


def _box(
    trace: Trace,
    thumbnail: Image.Image | None,
    image_size: tuple[int, int],
    true_box: list[float] | None,
    correct: bool | None,
    size: tuple[int, int],
) -> Image.Image:
    """The predicted box on the image, beside the true one if known."""
    width, height = size
    image, draw = _sheet(width, height + 2 * MARGIN)
    draw.line((MARGIN, 0, width - MARGIN, 0), fill="#dddddd")
    draw.text((MARGIN, MARGIN - 2), "Box", fill=_verdict(correct), font=font(17))
    numbers = " ".join(f"{number:.0f}" for number in trace.box)
    draw.text((MARGIN, MARGIN + 24), f"predicted {numbers}", fill=_verdict(correct), font=font(14))
    if true_box:
        numbers = " ".join(f"{number:.0f}" for number in true_box)
        draw.text((MARGIN, MARGIN + 44), f"expected {numbers}", fill=FAINT, font=font(14))
    left = MARGIN + NAME_WIDTH + WORDS_WIDTH
    shown = thumbnail or Image.new("RGB", (IMAGE_WIDTH, height), "#cccccc")
    image.paste(shown, (left, MARGIN))
    scale = IMAGE_WIDTH / image_size[0]
    for box, colour in ((true_box, "#ffffff"), (trace.box, _verdict(correct))):
        if box:
            x, y, w, h = (number * scale for number in box)
            x0, x1 = sorted((x, x + w))
            y0, y1 = sorted((y, y + h))
            corners = (left + x0, MARGIN + y0, left + x1, MARGIN + y1)
            draw.rectangle(corners, outline=colour, width=2)
    return image
