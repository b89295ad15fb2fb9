"""Learning curves of one or more runs as a picture, from what train.py --logger csv wrote.

    python -m benchmarks.curves runs/mini_vqa_prior runs/mini_joint_scratch --out docs/curves.png
    python -m benchmarks.curves runs/mini_vqa_prior/seed-* --out docs/seeds.png

A panel for each experiment, the last name of the run's path that is no seed-N; in it a colour for
each run: a solid line for val/score (answer accuracy, precision, or the mean of both), broken ones
for the layouts that are the expert's, where the experts' are known.
"""

import argparse
import csv
import math
import re
from pathlib import Path

import matplotlib

from snmn.common.commands import run
from snmn.common.errors import UserError
from snmn.storage.whole_files import replacing

matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402

# M. Okabe and K. Ito, Color universal design, 2008: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SCORE = "val/score"
LAYOUTS = {
    "val/layout_accuracy": "--",
    "val/layout_accuracy_vqa": "--",
    "val/layout_accuracy_loc": ":",
}
COLUMNS, PANEL = 3, (3.4, 2.7)  # panels in a row; inches of one


class CurvesError(UserError):
    """A run has no curve; the message is fit for a user."""


def _log_number(folder: Path) -> int:
    return int(folder.name.partition("-")[2] or 1)


def read_curves(run: Path) -> dict[str, dict[int, float]]:
    """Validation metrics of a run by step, in order, from logs, logs-2 and so on.

    A log that goes on from a checkpoint replaces what earlier ones have from its first step on.
    Raises CurvesError for a run without a validation.
    """
    curves: dict[str, dict[int, float]] = {name: {} for name in (SCORE, *LAYOUTS)}
    found = [path for path in run.glob("logs*") if re.fullmatch(r"logs(-\d+)?", path.name)]
    for folder in sorted(found, key=_log_number):
        file = folder / "metrics.csv"
        if not file.is_file():
            continue  # Of a run that was stopped before it had anything to log.
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if (row.get("step") or "").isdecimal()]
        first = min((int(row["step"]) for row in rows), default=math.inf)
        for name, curve in curves.items():
            for step in [step for step in curve if step >= first]:
                del curve[step]
            curve.update({int(row["step"]): float(row[name]) for row in rows if row.get(name)})
    if not curves[SCORE]:
        raise CurvesError(f"{run}: no {SCORE} in logs*/metrics.csv; train with --logger csv")
    return {name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}


def names(run: Path) -> tuple[str, str]:
    """The experiment of a run, and what tells the run from others of it: its seed or its folder."""
    run = run.resolve()
    if re.fullmatch(r"seed-\d+", run.name):
        return run.parent.name, run.name.replace("-", " ")
    return run.name, run.parent.name


def draw_curves(runs: list[Path]) -> Figure:
    """The picture of all runs."""
    panels: dict[str, list[tuple[str, dict]]] = {}
    for folder in runs:
        experiment, label = names(folder)
        panels.setdefault(experiment, []).append((label, read_curves(folder)))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    # White paper whatever the page's theme.
    size = (PANEL[0] * columns, PANEL[1] * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    for place, (experiment, lines) in enumerate(sorted(panels.items()), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for number, (label, curves) in enumerate(lines):
            colour = COLOURS[number % len(COLOURS)]
            for name, curve in curves.items():
                # A validation alone is a point.
                marker = "o" if len(curve) == 1 else ""
                axes.plot(
                    list(curve),
                    list(curve.values()),
                    LAYOUTS.get(name, "-"),
                    color=colour,
                    marker=marker,
                    linewidth=1.4 if name == SCORE else 0.9,
                    label=label if name == SCORE else None,
                )
        axes.set(ylim=(0, 1.02), xlim=(0, None), xlabel="iterations")
        axes.set_title(experiment, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_size(8)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            axes.legend(fontsize=7, frameon=False, loc="lower right")
    figure.supylabel("solid: score; broken: expert's layout", fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="a .png or .svg file")
    given = parser.parse_args(arguments)
    kind = given.out.suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        parser.error(f"--out must end in .png or .svg, not {given.out.name}")
    figure = draw_curves(given.runs)
    with replacing(given.out) as partial:
        figure.savefig(partial, format=kind, dpi=110)
    print(f"learning curves: {given.out}")


if __name__ == "__main__":
    run(main, "benchmarks.curves")
