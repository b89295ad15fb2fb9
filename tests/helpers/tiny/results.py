"""A test's results in small, as test.py writes them, with the images and features it was about."""

import json

import numpy as np
from PIL import Image

from snmn.data.feature_writer import FeatureWriter
from snmn.evaluation.prediction_rows import write_csv

NAMES = ["CLEVR_a.png", "own photo #1 %20.png", "zwölf.jpg"]  # also as people call their own
SIZE = (60, 40)
GRID, DIM = (14, 14), 256  # of cellnet, as the models of `server` have them
TYPES = ("count", "exist", "query_color")
LAYOUTS = ("_Find _DescribeOne", "_Find _Transform _DescribeOne", "")
QUESTIONS = (
    "How many cubes are there?",
    "Is there a red sphere?",
    "What color is the big thing?",
    # Of the template that lacks its mark.
    "What number of other objects are there of the same size as the cube",
)


def rows(count=90, *, loc=False, marks=False) -> list[dict]:
    """Rows of predictions.csv; every seventh has no known truth."""
    found = []
    for number in range(count):
        known = number % 7 > 0
        right = number % 3 > 0
        row = {
            "question_index": 1000 + number,
            "image": NAMES[number // 4 % len(NAMES)],
            "question": QUESTIONS[number % 4] if not loc else "the big thing",
            "type": TYPES[number % len(TYPES)],
            "hops": number % 2,
        }
        if loc:
            row |= {"predicted_box": "1.0 2.0 30.5 20.0", "true_box": "", "iou": "", "correct": ""}
            if known:
                row |= {"true_box": "1.0 2.0 30.0 20.0", "iou": 0.9 if right else 0.2}
        else:
            row |= {"predicted": "yes", "expected": "", "correct": ""}
            if known:
                row["expected"] = "yes" if right else "no"
        if known:
            row["correct"] = int(right)
        row |= {
            "confidence": round(0.3 + 0.69 * (number % 11) / 10, 4),
            "predicted_layout": LAYOUTS[number % 5 % 3],
            "expert_layout": LAYOUTS[number % 2],
        }
        if marks:
            row["in_words"] = f'find "cubes" -> count = {number}'
            row["marks"] = ("", "undecided_step", "undecided_step unlike_image")[number % 3]
        found.append(row)
    return found


def write_images(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in NAMES:
        pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_features(folder, *, backbone="cellnet", grid=GRID, dim=DIM):
    rng = np.random.default_rng(1)
    about = {
        "backbone": backbone,
        "weights_sha256": "0" * 64,
        "preprocess": "signed",
        "image_size": 224,
    }
    with FeatureWriter(folder, attributes=about) as store:
        for name in NAMES:
            store.add([name], rng.random((1, *grid, dim)).astype(np.float16))
    return folder


def write_results(root, checkpoint, given=None, *, split="val", **about):
    """ROOT/results/SPLIT with images and features beside it; returns that folder."""
    folder = root / "results" / split
    if not (root / "images").exists():
        write_images(root / "images")
    given = rows() if given is None else given
    write_csv(folder / "predictions.csv", given)
    summary = {
        "experiment": "tiny",
        "command": "python test.py",
        "checkpoint": str(checkpoint),
        "weights": "moving average",
        "split": split,
        "images": str(root / "images"),
        "features": str(root / "features"),
    }
    (folder / "summary.json").write_text(json.dumps(summary | about))
    return folder
