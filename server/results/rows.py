"""The lines of a test's predictions.csv, as `snmn.evaluation.prediction_rows` writes them."""

import csv
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from snmn.common.errors import UserError, shown
from snmn.data.imdb_check import is_filename

COMMON = (
    "image question type hops correct confidence predicted_layout expert_layout".split()
)  # columns of every test
OF_TASK = {"vqa": ("predicted", "expected"), "loc": ("predicted_box", "true_box", "iou")}
# Columns of tests with --explain: reasons to doubt a prediction, by name, and its trace.
MARKS, IN_WORDS = "marks", "in_words"


class ResultsError(UserError):
    """A folder is no test's results, or they are damaged; the message is fit for a user."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question of a test: what was predicted, and what is true where somebody knows.

    Boxes are [x, y, width, height] in pixels. ``layout`` and ``expert_layout`` are module names
    without NoOps, the expert's "" where nobody knows it; ``marks`` and ``in_words`` are None where
    a test did not look for any.
    """

    image: str
    question: str
    type: str
    hops: int | None
    correct: bool | None
    confidence: float
    layout: str
    expert_layout: str
    answer: str | None = None
    true_answer: str | None = None
    box: tuple[float, ...] | None = None
    true_box: tuple[float, ...] | None = None
    iou: float | None = None
    marks: tuple[str, ...] | None = None
    in_words: str | None = None


def read_rows(path: Path) -> tuple[str, list[Row]]:
    """Task (vqa or loc) and rows of a predictions.csv. Raises ResultsError, which names the line.

    Image names are those of files in one folder: a path to anywhere else is refused.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file, strict=True)
            columns = lines.fieldnames or ()
            task = next((task for task, own in OF_TASK.items() if own[0] in columns), None)
            if task is None or (lacking := {*COMMON, *OF_TASK[task]} - set(columns)):
                names = ", ".join(sorted(lacking)) if task else "the columns of predictions"
                raise ResultsError(f"{path} lacks {names}; test.py writes it")
            rows = []
            for line in lines:
                try:
                    rows.append(_row(line, task))
                except (ValueError, TypeError, AttributeError) as error:
                    reason = shown(error)
                    raise ResultsError(f"{path}, line {lines.line_num}: {reason}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path} cannot be read: {shown(error)}") from None
    if not rows:
        raise ResultsError(f"{path} has no questions")
    return task, rows


def _row(line: dict[str, str], task: str) -> Row:
    if None in line or None in line.values():
        raise ValueError("it has another number of columns than the first line")
    if not is_filename(line["image"]):
        raise ValueError(f"{shown(repr(line['image']))} is no file name of an image")
    verdict = {"1": True, "0": False, "": None}
    if line["correct"] not in verdict:
        raise ValueError(f"correct is {shown(repr(line['correct']))}, not 1, 0 or nothing")
    if task == "vqa":
        answer, true_answer = sys.intern(line["predicted"]), sys.intern(line["expected"])
        own = {"answer": answer, "true_answer": true_answer or None}
    else:
        own = {
            "box": _box(line["predicted_box"]),
            "true_box": _box(line["true_box"]) if line["true_box"] else None,
            "iou": _number(line["iou"]) if line["iou"] else None,
        }
    if MARKS in line:
        own["marks"] = tuple(sys.intern(mark) for mark in line[MARKS].split())
    # The same few texts stand in all lines of a large test.
    return Row(
        image=sys.intern(line["image"]),
        question=line["question"],
        type=sys.intern(line["type"]),
        hops=int(line["hops"]) if line["hops"] else None,
        correct=verdict[line["correct"]],
        confidence=_number(line["confidence"]),
        layout=sys.intern(line["predicted_layout"]),
        expert_layout=sys.intern(line["expert_layout"]),
        in_words=line.get(IN_WORDS),
        **own,
    )


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number


def _box(text: str) -> tuple[float, ...]:
    box = tuple(_number(part) for part in text.split())
    if len(box) != 4:
        raise ValueError(f"{shown(repr(text))} is no box, x y width height")
    return box
