"""The picture of a calibration: accuracy against confidence."""

from PIL import Image, ImageDraw

from snmn.figures.canvas import font


def reliability_plot(calibration: dict, *, title: str) -> Image.Image:
    """Accuracy against confidence, a bar for each bin, and the diagonal.

    ``calibration`` is what `snmn.evaluation.calibration.reliability` gives.
    Dots stand at a bin's mean confidence. Below, what share of the predictions each bin has.
    """
    side, left, top, share_height = 300, 56, 70, 60
    image = Image.new("RGB", (left + side + 20, top + side + share_height + 70), "white")
    draw = ImageDraw.Draw(image)
    text, small = font(13), font(11)
    draw.text((14, 8), title, fill="black", font=text)
    error = f"expected calibration error {calibration['ece']:.3f}"
    draw.text((14, 26), error, fill="black", font=small)
    bottom = top + side
    base = bottom + 10 + share_height
    total = max(1, sum(entry["predictions"] for entry in calibration["bins"]))
    for entry in calibration["bins"]:
        x0, x1 = (left + round(side * entry[edge]) for edge in ("from", "to"))
        if entry["predictions"]:
            height = round(side * entry["accuracy"])
            draw.rectangle((x0 + 1, bottom - height, x1 - 2, bottom), fill="#5b8db8")
            x = left + round(side * entry["confidence"])
            draw.ellipse((x - 3, bottom - height - 3, x + 3, bottom - height + 3), fill="#c0392b")
        height = round(share_height * entry["predictions"] / total)
        draw.rectangle((x0 + 1, base - height, x1 - 2, base), fill="#999999")
    draw.line((left, bottom, left + side, top), fill="#555555")
    draw.rectangle((left, top, left + side, bottom), outline="black")
    draw.line((left, base, left + side, base), fill="black")
    for tick in range(0, 11, 2):
        offset = round(side * tick / 10)
        label = f"{tick / 10:.1f}"
        draw.text((left - 6, bottom - offset), label, fill="black", font=small, anchor="rm")
        draw.text((left + offset, base + 4), label, fill="black", font=small, anchor="ma")
    draw.text((left + side // 2, base + 22), "confidence", fill="black", font=small, anchor="ma")
    draw.text((14, top - 18), "accuracy", fill="black", font=small)
    draw.text((left - 6, base - 8), "share", fill="black", font=small, anchor="rm")
    return image
