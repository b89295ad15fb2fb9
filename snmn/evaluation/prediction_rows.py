"""What a test run says about each question or expression, as rows and as files."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from snmn.common.boxes import IOU_THRESHOLD, box_iou
from snmn.common.vocabulary import ANSWERS, MODULES, decode
from snmn.data.imdb import Imdb

UNKNOWN = 255  # what an imdb has for the hops that nobody knows


def layout_text(layout: Sequence[int], modules: Sequence[str] = MODULES) -> str:
    """Module names without the NoOps that pad: "_Find _Transform _DescribeOne"."""
    return " ".join(modules[index] for index in layout if modules[index] != "_NoOp")


def in_order(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One task's `SNMNTraining.predictions` as whole columns, in the imdb's order."""
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = columns["question_index"].argsort()
    return {name: values[order] for name, values in columns.items()}


def prediction_rows(
    batches: list[dict[str, Tensor]], imdb: Imdb, modules: Sequence[str] = MODULES
) -> list[dict]:
    """One row a question, in the imdb's order, from one task's `SNMNTraining.predictions`.

    Questions have the columns predicted and expected, answers both; referring expressions have
    predicted_box and true_box, "x y w h" in pixels, and their iou. ``correct`` and what it follows
    from are empty where nobody knows the truth. ``modules`` are the names of the model's.
    """
    columns = in_order(batches)
    verdicts = _boxes(columns, imdb) if "box" in columns else _answers(columns, imdb)
    rows = []
    for index, verdict, confidence, layout in zip(
        columns["question_index"].tolist(),
        verdicts,
        columns["confidence"].tolist(),
        columns["layout"].tolist(),
        strict=True,
    ):
        kind = int(imdb.question_type[index])
        known_type = kind < len(imdb.question_types)
        expert = "" if imdb.layout is None else layout_text(imdb.layout[index])
        rows.append(
            {
                "question_index": int(imdb.question_index[index]),
                "image": imdb.filenames[imdb.image[index]],
                "question": decode(imdb.question[index, : imdb.length[index]]),
                "type": imdb.question_types[kind] if known_type else "",
                "hops": int(imdb.hops[index]) if imdb.hops[index] != UNKNOWN else "",
                **verdict,
                "confidence": round(confidence, 4),
                "predicted_layout": layout_text(layout, modules),
                "expert_layout": expert,
            }
        )
    return rows


def _answers(columns: dict[str, Tensor], imdb: Imdb) -> list[dict]:
    expected = imdb.answer[columns["question_index"].numpy()].tolist()
    return [
        {
            "predicted": ANSWERS[given],
            "expected": ANSWERS[answer] if answer >= 0 else "",
            "correct": int(given == answer) if answer >= 0 else "",
        }
        for given, answer in zip(columns["predicted"].tolist(), expected, strict=True)
    ]


def _boxes(columns: dict[str, Tensor], imdb: Imdb) -> list[dict]:
    index, predicted = columns["question_index"], columns["box"]
    if imdb.box is None:
        true = torch.full_like(predicted, torch.nan)
    else:
        true = torch.from_numpy(imdb.box[index.numpy()])
    known = ~true.isnan().any(dim=1)
    iou = box_iou(predicted, true)
    rows = []
    for place in range(len(index)):
        row = {"predicted_box": _box_text(predicted[place]), "true_box": "", "iou": ""}
        row["correct"] = ""
        if known[place]:
            row |= {"true_box": _box_text(true[place]), "iou": round(iou[place].item(), 4)}
            row["correct"] = int(iou[place] >= IOU_THRESHOLD)
        rows.append(row)
    return rows


def _box_text(box: Tensor) -> str:
    return " ".join(f"{number:.1f}" for number in box.tolist())


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write the rows of `prediction_rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_answers(path: Path, rows: list[dict]) -> None:
    """Write the predicted answers of all of an imdb's `prediction_rows`, one a line.

    The file that the CLEVR authors ask for to evaluate a split whose answers are secret: in the
    order of the questions file, which is the imdb's, whatever the questions' numbers.
    """
    path.write_text("".join(f"{row['predicted']}\n" for row in rows), encoding="utf-8")
