"""What a test run says about each question, as a table and as a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from snmn.imdb import Imdb
from snmn.vocabulary import ANSWERS, MODULES, decode

COLUMNS = (
    "question_index",
    "image",
    "question",
    "type",
    "predicted",
    "expected",
    "correct",
    "confidence",
    "predicted_layout",
    "expert_layout",
)


def layout_text(modules: Sequence[int]) -> str:
    """Module names without the NoOps that pad: "_Find _Transform _DescribeOne"."""
    return " ".join(MODULES[index] for index in modules if MODULES[index] != "_NoOp")


def prediction_rows(batches: list[dict[str, Tensor]], imdb: Imdb) -> list[dict]:
    """One row a question, in the imdb's order, from the batches of `SNMNTraining.predictions`."""
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = columns["question_index"].argsort()
    columns = {name: values[order].tolist() for name, values in columns.items()}
    rows = []
    for position, index in enumerate(columns["question_index"]):
        answer = int(imdb.answer[index])
        predicted = columns["predicted"][position]
        kind = int(imdb.question_type[index])
        known_type = kind < len(imdb.question_types)
        expert = "" if imdb.layout is None else layout_text(imdb.layout[index])
        rows.append(
            {
                "question_index": int(imdb.question_index[index]),
                "image": imdb.filenames[imdb.image[index]],
                "question": decode(imdb.question[index, : imdb.length[index]]),
                "type": imdb.question_types[kind] if known_type else "",
                "predicted": ANSWERS[predicted],
                "expected": ANSWERS[answer] if answer >= 0 else "",
                "correct": int(predicted == answer) if answer >= 0 else "",
                "confidence": round(columns["confidence"][position], 4),
                "predicted_layout": layout_text(columns["layout"][position]),
                "expert_layout": expert,
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write the rows of `prediction_rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def accuracy_table(rows: list[dict]) -> str:
    """Accuracy by question type against the best constant answer of that type.

    The constant answer is the most frequent expected one of the type, which a model that never
    looks at the image could give. Rows without an expected answer are left out.
    """
    by_type: dict[str, list[dict]] = {}
    for row in rows:
        if row["expected"]:
            by_type.setdefault(row["type"] or "unknown", []).append(row)
    lines = [f"{'question type':<16}{'questions':>10}{'accuracy':>10}{'constant':>10}"]
    correct = constant = 0
    for kind in sorted(by_type):
        group = by_type[kind]
        expected = [row["expected"] for row in group]
        most = max(map(expected.count, set(expected)))
        right = sum(row["correct"] for row in group)
        correct, constant = correct + right, constant + most
        lines.append(_line(kind, len(group), right, most))
    total = sum(map(len, by_type.values()))
    if total:
        lines.append(_line("all", total, correct, constant))
    with_layout = [row for row in rows if row["expert_layout"]]
    if with_layout:
        agree = sum(row["predicted_layout"] == row["expert_layout"] for row in with_layout)
        lines.append(f"whole layout as the expert's: {agree / len(with_layout):.4f}")
    return "\n".join(lines)


def _line(kind: str, count: int, right: int, most: int) -> str:
    return f"{kind:<16}{count:>10}{right / count:>10.4f}{most / count:>10.4f}"
