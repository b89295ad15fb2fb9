"""What a model learns from a share of the expert layouts, and from a share of the images.

    make prepare
    python -m benchmarks.supervision
    python -m benchmarks.supervision --write docs/generalisation.md --figure docs/supervision.png
    python -m benchmarks.supervision --layouts 0.01 1 --images --steps 1000 -s 1

Trains configs/quickstart.yaml once for each share (TRAIN.LAYOUT_SHARE, with all images;
TRAIN.IMAGE_SHARE, with all layouts; a share of 0 layouts is TRAIN.USE_GT_LAYOUT False) and tests
each last checkpoint on the validation images. A run that is there is not made again, and an
interrupted one goes on. Prints a table in Markdown; --write puts it between the comments
<!-- table: supervision --> and <!-- end of supervision --> of a file.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from benchmarks.reproduce.data_steps import script
from benchmarks.reproduce.steps import ROOT, Step, run_step
from benchmarks.results.sections import fill, filled
from benchmarks.results.tables import interval, table
from benchmarks.results.trials import read_json
from config import load_config, to_dict
from snmn.common.commands import count, run
from snmn.common.paths import home_path
from snmn.storage.locks import lock_folder
from snmn.storage.whole_files import replacing

matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402

CONFIG = ROOT / "configs" / "quickstart.yaml"
LAYOUTS, IMAGES = (0.0, 0.001, 0.01, 0.1, 1.0), (0.1, 0.25, 0.5, 1.0)
# Which of the table's columns are drawn, and in what colour.
_DRAWN = {
    "right": "#0072B2",
    "layout as the expert's": "#D55E00",
    "program gives the model's answer": "#009E73",
}


@dataclass(frozen=True)
class Condition:
    """What a model is trained with: shares of the layouts and of the images, and a seed."""

    layouts: float
    images: float
    seed: int

    @property
    def name(self) -> str:
        """Of its experiment."""
        return f"supervision_layouts_{self.layouts:g}_images_{self.images:g}_seed_{self.seed}"

    @property
    def overrides(self) -> list[str]:
        """KEY VALUE pairs that are not the configuration's own."""
        pairs = []
        if self.layouts == 0:
            pairs += ["TRAIN.USE_GT_LAYOUT", "False", "TRAIN.READING_ORDER_WEIGHT", "0.0"]
        elif self.layouts < 1:
            pairs += ["TRAIN.LAYOUT_SHARE", f"{self.layouts:g}"]
        if self.images < 1:
            pairs += ["TRAIN.IMAGE_SHARE", f"{self.images:g}"]
        if self.images < 1 or 0 < self.layouts < 1:
            pairs += ["TRAIN.SHARE_SEED", str(self.seed)]
        return pairs


@dataclass(frozen=True)
class Outcome:
    """What test.py says of a condition's model."""

    condition: Condition
    summary: dict

    @property
    def shares(self) -> dict[str, dict]:
        """By the names of the table's columns, with intervals."""
        explanation = self.summary["explanation"]
        return {
            "right": self.summary["accuracy"],
            "... with the layout made discrete": explanation["discrete_layout"]["right"],
            "layout as the expert's": self.summary["layouts"]["whole"],
            "program gives the model's answer": explanation["discrete_program"]["as_model"],
        }


def steps_of(condition: Condition, given: argparse.Namespace) -> tuple[Step, Step]:
    """Training and testing a condition's model."""
    settings = [*given.overrides, *condition.overrides, "EXP_NAME", condition.name]
    settings += ["TRAIN.MAX_ITER", str(given.steps), "TRAIN.SNAPSHOT_DIR", f"{given.runs}/%s"]
    config, _ = load_config(CONFIG, settings)
    folder, records = given.runs / condition.name, given.runs / "steps"
    checkpoint, summary = folder / "last.ckpt", summary_of(condition, given)
    seed = str(condition.seed)
    train = (script("train.py"), str(CONFIG), *settings, "--resume", "auto", "-s", seed)
    trained = Step(
        f"train {condition.name}",
        (*train, "--logger", "csv"),
        (checkpoint,),
        records / f"train_{condition.name}.json",
        reads=tuple(Path(config.IMDB_FILE % split) for split in ("train", "val")),
        settings=to_dict(config),
        replaces=(folder,),
    )
    test = (script("test.py"), str(CONFIG), str(checkpoint), *settings)
    tested = Step(
        f"test {condition.name}",
        (*test, "--explain", "--without-deletions", "--out", str(given.runs / "results")),
        (summary,),
        records / f"test_{condition.name}.json",
        after=(trained,),
        reads=(checkpoint,),
    )
    return trained, tested


def summary_of(condition: Condition, given: argparse.Namespace) -> Path:
    """Where test.py says how good a condition's model is."""
    return given.runs / "results" / condition.name / "val" / "summary.json"


def conditions(given: argparse.Namespace) -> list[Condition]:
    """All that are asked for, each once."""
    found = [Condition(share, 1.0, given.seed) for share in given.layouts]
    found += [Condition(1.0, share, given.seed) for share in given.images]
    return list(dict.fromkeys(found))


def report(outcomes: Sequence[Outcome]) -> str:
    """The table, in Markdown."""
    rows = []
    for outcome in outcomes:
        of = outcome.condition
        cells = [f"{100 * of.layouts:g} %", f"{100 * of.images:g} %"]
        discrete = outcome.summary["explanation"]["discrete_layout"]
        cells += [interval(share) for share in outcome.shares.values()]
        rows.append([*cells, f"{discrete['effective_number']:.1f}"])
    head = ["layouts", "images", *outcomes[0].shares, "effective number of layouts"]
    return table(head, rows)


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """A curve for each of three shares, by share of the layouts and by share of the images.

    What was trained with one share alone is no curve, and not drawn.
    """
    by_layouts = [each for each in outcomes if each.condition.images == 1]
    by_images = [each for each in outcomes if each.condition.layouts == 1]
    panels = (("layouts", by_layouts), ("images", by_images))
    panels = [(what, found) for what, found in panels if len(found) > 1] or panels[:1]
    size = (3.8 * len(panels), 3.0)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    for place, (what, found) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        found = sorted(found, key=lambda each: getattr(each.condition, what))
        shares = [getattr(each.condition, what) for each in found]
        for name, colour in _DRAWN.items():
            heights = [each.shares[name]["share"] for each in found]
            axes.plot(range(len(shares)), heights, "o-", color=colour, label=name, markersize=4)
        axes.set_xticks(range(len(shares)), [f"{100 * share:g} %" for share in shares])
        axes.set(ylim=(0, 1.02), xlabel=f"share of {what}")
        axes.tick_params(labelsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a share, from 0 to 1, not {text!r}")
    return share


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY VALUE", help="settings of all runs")
    add("--layouts", type=_share, nargs="*", default=LAYOUTS, help="shares of the layouts")
    add("--images", type=_share, nargs="*", default=IMAGES, help="shares of the images, above 0")
    add("--steps", type=count, default=4000, help="of each run (%(default)s)")
    add("-s", "--seed", type=int, default=0, help="of training and of what the shares are")
    add("--runs", type=home_path, default=Path("runs/supervision"), help="runs and results")
    add("--write", type=home_path, metavar="FILE", help="a file with a place for the table")
    add("--figure", type=home_path, metavar="FILE", help="a .png of the curves")
    given = parser.parse_intermixed_args(arguments)
    if not given.layouts and not given.images:
        parser.error("give shares: --layouts, --images or both")
    if 0 in given.images:
        parser.error("--images: without any image nothing can be learnt")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    if given.write:
        filled(given.write, {"supervision": ""})  # An error now, not after hours.
    found = []
    with lock_folder(given.runs):
        for condition in conditions(given):
            for step in steps_of(condition, given):
                run_step(step)
            found.append(Outcome(condition, read_json(summary_of(condition, given))))
    text = report(found)
    print(f"\n{text}")
    if given.write:
        fill(given.write, {"supervision": text})
    if given.figure:
        with replacing(given.figure) as partial:
            draw(found).savefig(partial, format="png", dpi=110)


if __name__ == "__main__":
    run(main, "benchmarks.supervision")
