"""What a test says of a whole split: shares of right predictions by group, and of layouts.

Everything is counted from the rows of `prediction_rows`, so that whoever counts in the CSV file
finds the same numbers; the confusion of modules alone needs the layouts with their NoOps.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from snmn.common.vocabulary import MODULES
from snmn.evaluation.calibration import reliability
from snmn.evaluation.intervals import wilson_interval

# CLEVR's five families of question types, in the order of its paper's table 1.
FAMILIES = ("exist", "count", "compare number", "query attribute", "compare attribute")


def family(question_type: str) -> str:
    """Which of `FAMILIES` one of the 13 types of questions belongs to; "" for any other."""
    if question_type in ("exist", "count"):
        return question_type
    if question_type in ("equal_integer", "greater_than", "less_than"):
        return "compare number"
    first = question_type.partition("_")[0]
    return {"query": "query attribute", "equal": "compare attribute"}.get(first, "")


def share(correct: int, total: int) -> dict:
    """A share with its 95% confidence interval, see `snmn.evaluation.intervals`."""
    low, high = wilson_interval(correct, total)
    return {
        "total": total,
        "correct": correct,
        "share": round(correct / total, 6),
        "low": round(low, 6),
        "high": round(high, 6),
    }


def summarise(
    rows: list[dict],
    predicted: np.ndarray,
    expert: np.ndarray | None,
    modules: Sequence[str] = MODULES,
) -> dict:
    """Scores of a split, fit for JSON.

    ``rows`` as `prediction_rows` makes them; ``predicted`` and ``expert`` [Q,T] are the module
    indices of their layouts, ``expert`` None when nobody knows it, and ``modules`` [M] the names.
    Rows without a known truth count nowhere but in ``questions``; ``accuracy`` is None when there
    are only such.

    ``constant`` is how often the most frequent answer of each type is right, which a model that
    never looks at the image could give. Boxes have none.
    """
    known = [row for row in rows if row["correct"] != ""]
    summary = {"questions": len(rows), "with_known_truth": len(known), "accuracy": None}
    if known:
        summary["accuracy"] = _group_share(known)
        summary["by_family"] = _by(known, lambda row: family(row["type"]), FAMILIES)
        summary["by_type"] = _by(known, lambda row: row["type"] or "unknown")
        summary["by_hops"] = _by(known, lambda row: _number(row["hops"]))
        summary["by_layout_length"] = _by(
            known, lambda row: _number(len(row["expert_layout"].split()) or "")
        )
        confidences = [row["confidence"] for row in known]
        summary["calibration"] = reliability(confidences, [row["correct"] for row in known])
        if "expected" in rows[0]:
            constant = sum(group["constant"] for group in summary["by_type"].values())
            summary["accuracy"]["constant"] = constant
    if expert is not None:
        summary["layouts"] = _layouts(predicted, expert, modules)
    return summary


def _number(value: int | str) -> str:
    """A number as a name that sorts as numbers do; "unknown" for nothing."""
    return "unknown" if value == "" else f"{value:2d}"


def _group_share(rows: list[dict]) -> dict:
    return share(sum(row["correct"] for row in rows), len(rows))


def _by(rows: list[dict], key: Callable[[dict], str], order: Sequence[str] = ()) -> dict:
    """The share of each group of rows; rows whose key is empty belong to none."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    names = [name for name in order if name in groups] if order else sorted(groups)
    shares = {}
    for name in names:
        group = groups[name]
        entry = _group_share(group)
        if "expected" in group[0]:
            entry["constant"] = Counter(row["expected"] for row in group).most_common(1)[0][1]
        shares[name.strip()] = entry
    return shares


def _layouts(predicted: np.ndarray, expert: np.ndarray, modules: Sequence[str]) -> dict:
    """How predicted layouts [Q,T] agree with the experts' [Q,T].

    ``confusion[t][e][p]`` counts the questions whose step t has module e in the expert's layout
    and p in the predicted one, both indices into ``modules``.
    """
    M, steps = len(modules), predicted.shape[1]
    expert = np.pad(expert, ((0, 0), (0, max(0, steps - expert.shape[1]))))[:, :steps]
    confusion = np.zeros((steps, M, M), dtype=np.int64)
    places = np.broadcast_to(np.arange(steps), predicted.shape)
    np.add.at(confusion, (places, expert, predicted), 1)
    same = predicted == expert
    return {
        "whole": share(int(same.all(axis=1).sum()), len(same)),
        "by_step": [share(int(right.sum()), len(right)) for right in same.T],
        "modules": list(modules),
        "confusion": confusion.tolist(),
    }


def score_table(summary: dict, *, answers: bool) -> str:
    """The summary of `summarise` as text; ``answers`` tells questions from expressions."""
    lines = []
    if summary["accuracy"]:
        names = ("question type", "questions", "accuracy", "95% interval", "constant")
        if not answers:
            names = ("expression type", "expressions", "precision@1", "95% interval")
        lines.append(_line(names))
        lines += _type_lines(summary)
        lines.append(_share_line("all", summary["accuracy"]))
        for title, key in (("hops", "by_hops"), ("layout length", "by_layout_length")):
            groups = summary[key]
            if set(groups) != {"unknown"}:
                lines += ["", _line((title, *names[1:4]))]
                lines += [_share_line(name, groups[name], bare=True) for name in groups]
        lines.append(f"\nexpected calibration error: {summary['calibration']['ece']:.4f}")
    else:
        lines.append(
            "Nobody knows the true answers of this split, so its accuracy cannot be known; "
            "predictions are written all the same."
        )
    if "layouts" in summary:
        lines += _layout_lines(summary["layouts"])
    return "\n".join(lines)


def _type_lines(summary: dict) -> list[str]:
    """Families, each with its types indented below; a type that is a family of its own once."""
    types, lines = summary["by_type"], []
    for name, entry in summary["by_family"].items():
        lines.append(_share_line(name, entry, bare=name not in types))
        below = [kind for kind in types if family(kind) == name != kind]
        lines += [_share_line(f"  {kind}", types[kind]) for kind in below]
    rest = [kind for kind in types if not family(kind)]
    return lines + [_share_line(kind, types[kind]) for kind in rest]


def _layout_lines(layouts: dict) -> list[str]:
    whole = layouts["whole"]
    lines = [
        f"whole layout as the expert's: {whole['share']:.4f} "
        f"({whole['low']:.4f} to {whole['high']:.4f})"
    ]
    for step, counts in enumerate(layouts["confusion"], start=1):
        wrong = [
            (count, f"{layouts['modules'][p]} for {layouts['modules'][e]}")
            for e, row in enumerate(counts)
            for p, count in enumerate(row)
            if count and e != p
        ]
        if wrong:
            shown = ", ".join(f"{name} {count}" for count, name in sorted(wrong, reverse=True)[:4])
            more = f" and {len(wrong) - 4} more kinds" if len(wrong) > 4 else ""
            lines.append(f"  step {step}: {shown}{more}")
    return lines


def _share_line(name: str, entry: dict, *, bare: bool = False) -> str:
    interval = f"{entry['low']:.4f}-{entry['high']:.4f}"
    cells = [name, entry["total"], f"{entry['share']:.4f}", interval]
    if "constant" in entry and not bare:
        cells.append(f"{entry['constant'] / entry['total']:.4f}")
    return _line(cells)


def _line(cells: Sequence) -> str:
    first, count, accuracy, interval, *rest = cells
    line = f"{first:<20}{count:>12}{accuracy:>12}{interval:>16}"
    return line + "".join(f"{cell:>11}" for cell in rest)
