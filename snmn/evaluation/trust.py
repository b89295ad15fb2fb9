"""What marks and traces are worth: how often a prediction is wrong with each mark and without."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from snmn.evaluation.auroc import auroc
from snmn.evaluation.forward_simulation import cross_validated
from snmn.evaluation.marks import MARKS, Mark
from snmn.evaluation.scores import share

ANY = "any mark"


@dataclass
class Trust:
    """Collects the questions of a split: marks, trace quantities, and what is true where known."""

    marks: list[frozenset[str]] = field(default_factory=list)
    quantities: list[np.ndarray] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    right: list[bool | None] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def add(
        self,
        marks: Sequence[Mark],
        quantities: np.ndarray,
        confidence: float,
        right: bool | None,
        image: str,
    ) -> None:
        """Count a question about an image file, of which ``right`` is None where nobody knows."""
        self.marks.append(frozenset(mark.name for mark in marks))
        self.quantities.append(quantities)
        self.confidences.append(confidence)
        self.right.append(right)
        self.images.append(image)

    def summary(self) -> dict:
        """Marks and the forward simulation, fit for JSON; see `trust_table`."""
        by_mark = {name: self._mark([name in found for found in self.marks]) for name in MARKS}
        by_mark[ANY] = self._mark([bool(found) for found in self.marks])
        return {"marks": by_mark, "forward_simulation": self._forward_simulation()}

    def _mark(self, stands: list[bool]) -> dict:
        result = {"stands": share(sum(stands), len(stands))}
        for name, wanted in (("wrong_with", True), ("wrong_without", False)):
            known = [
                right
                for right, here in zip(self.right, stands, strict=True)
                if here == wanted and right is not None
            ]
            if known:
                result[name] = share(known.count(False), len(known))
        return result

    def _forward_simulation(self) -> dict:
        known = [place for place, right in enumerate(self.right) if right is not None]
        right = np.array([bool(self.right[place]) for place in known])
        scores = {"confidence": [self.confidences[place] for place in known]}
        if known:
            quantities = np.stack([self.quantities[place] for place in known])
            images = [self.images[place] for place in known]
            trace = cross_validated(quantities, right, images)
            if trace is not None:
                scores["trace"] = trace
        areas = {name: auroc(values, right) for name, values in scores.items()}
        return {name: area for name, area in areas.items() if area}


def trust_table(summary: dict) -> str:
    """The summary of a `Trust` as text."""
    names = ("mark", "stands", "95% interval", "wrong with", "95% interval", "without")
    lines = [_line(*names, "95% interval")]
    for name, entry in summary["marks"].items():
        cells: list[str] = [name.replace("_", " ")]
        for key in ("stands", "wrong_with", "wrong_without"):
            cells += _cells(entry.get(key))
        lines.append(_line(*cells))
    simulation = summary["forward_simulation"]
    lines.append("")
    if not simulation:
        lines.append("forward simulation: needs right and wrong predictions")
    for name, text in (
        ("trace", "AUROC of right predictions, by the trace alone"),
        ("confidence", "... by the answer's probability alone"),
    ):
        if name in simulation:
            entry = simulation[name]
            total = entry["positive"] + entry["negative"]
            interval = f"{entry['low']:.4f}-{entry['high']:.4f}"
            lines.append(f"{text:<46}{entry['auroc']:>8.4f}  {interval} of {total}")
    return "\n".join(lines)


def _cells(entry: dict | None) -> tuple[str, str]:
    if entry is None:
        return "-", ""
    return f"{entry['share']:.4f}", f"{entry['low']:.4f}-{entry['high']:.4f}"


def _line(name: str, *cells: str) -> str:
    widths = (8, 15, 12, 15, 9, 15)
    return f"{name:<16}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
