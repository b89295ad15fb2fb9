"""Test whether models generalise: compositions, sizes and depths they never saw, false premises.

    python -m benchmarks.generalise --bundled vqa_gt_layout
    python -m benchmarks.generalise --bundled vqa_gt_layout joint_gt_layout --genuine data/real
    python -m benchmarks.generalise runs/mine/last.ckpt --config configs/mine.yaml
    python -m benchmarks.generalise --bundled vqa_gt_layout --write docs/generalisation.md

Questions are made by clevr_prep.synthetic.compositions about the rendered test scenes, and with
--genuine about genuine ones, and each model is asked all that it has a head for, by test.py. Prints
a table by kind for each set of scenes, in Markdown. What is there already is kept: questions, and
results whose checkpoint, configuration, questions and command are the same. With --write a table
goes into a file, between the comments <!-- table: MODEL --> and <!-- end of MODEL -->. Of several
models there is a table with a line for each, which goes between those of "summary".
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generalise.tables import BASELINE, FALSE, SplitResult, report, summary
from benchmarks.results.sections import fill
from benchmarks.results.trials import ROOT, ResultsError, Trial, read_json, sha256
from clevr_prep.data.build_clevr_imdb import build_imdb
from clevr_prep.data.get_ground_truth_layout import write_layouts
from clevr_prep.synthetic.compositions.build import build_compositions, splits_of
from config import load_config, to_dict
from snmn.checkpoints.bundled import bundled_names, bundled_path, read_card
from snmn.common.commands import run
from snmn.common.paths import home_path
from snmn.storage.locks import lock_folder
from snmn.storage.whole_files import replacing

_spec = importlib.util.spec_from_file_location("snmn_test_command", ROOT / "test.py")
_test = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_test)


@dataclass(frozen=True)
class Scenes:
    """A set of scenes to ask about: its questions' folder, the task, and where features are."""

    name: str
    task: str
    file: Path
    folder: Path
    features: str  # {} is what a model's features are called
    per_image: int

    @property
    def splits(self) -> list[str]:
        """What can be asked of them."""
        return splits_of(loc=self.task == "loc")

    @property
    def asked(self) -> list[str]:
        """What is asked: of few scenes a split may have no questions."""
        return [split for split in self.splits if self.imdb(split).is_file()]

    def prepare(self) -> None:
        """Make questions, layouts and imdbs, as far as they are not there."""
        build_compositions(
            self.file, self.folder, splits=self.splits, per_image=self.per_image, progress=False
        )
        with lock_folder(self.folder):
            for split in self.splits:
                layouts = self.folder / "questions" / f"CLEVR_{split}_layouts.json"
                with _silent():
                    there = layouts.is_file() or write_layouts(self.folder, split)
                if there:
                    build_imdb(self.folder, split, self.imdb(split), progress=False)

    def imdb(self, split: str = "%s") -> Path:
        """Where the questions of a split are."""
        return self.folder / "imdb" / f"imdb_{split}.h5"


@contextlib.contextmanager
def _silent():
    with open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


class _Test(Trial):
    """A call of test.py in this process: starting one takes longer than a split's questions."""

    def run(self) -> None:
        self.record.unlink(missing_ok=True)
        with _silent():
            _test.main(self.arguments)
        with replacing(self.record) as partial:
            partial.write_text(json.dumps(self.stamp, indent=1) + "\n", encoding="utf-8")

    def tested(self) -> SplitResult:
        """What came out."""
        with (self.summary.parent / "predictions.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return SplitResult(read_json(self.summary), rows)


def scenes_of(given: argparse.Namespace) -> list[Scenes]:
    """The sets of scenes that a command line asks for; README, section Data, makes them."""
    found = []
    for task, folder, split in (("vqa", "clevr", "test"), ("loc", "clevr_loc", "loc_test")):
        file = given.data / folder / "scenes" / f"CLEVR_{split}_scenes.json"
        features = str(given.data / "features" / "{}" / split)
        own = given.questions / f"rendered_{task}"
        found.append(Scenes("rendered test scenes", task, file, own, features, 1))
    if given.genuine:
        file = given.genuine / "scenes" / "CLEVR_val_scenes.json"
        features = str(given.genuine / "features" / "{}" / "val")
        own = given.questions / "genuine"
        found.append(Scenes("genuine scenes", "vqa", file, own, features, 4))
    return found


def trials_of(
    checkpoint: Path, config_file: Path, features: str, scenes: Scenes, results: Path
) -> dict[str, _Test]:
    """A test of each split of a set of scenes."""
    config, found = to_dict(load_config(config_file)[0]), {}
    data_key = "TEST.DATA_DIR" if scenes.task == "vqa" else "TEST.DATA_DIR_LOC"
    out = results / checkpoint.stem / scenes.folder.name
    for split in scenes.asked:
        arguments = [str(config_file), str(checkpoint), "--split", split, "--out", str(out)]
        if FALSE not in split and split + BASELINE in scenes.asked:
            arguments += ["--explain", "--without-deletions"]
        arguments += ["DATASET", scenes.task, "IMDB_FILE", str(scenes.imdb())]
        arguments += ["FEATURE_DIR", scenes.features.format(features)]
        arguments += [data_key, str(scenes.folder)]
        stamp = {
            "arguments": arguments,
            "checkpoint": sha256(checkpoint),
            "configuration": hashlib.sha256(json.dumps(config).encode()).hexdigest(),
            "imdb": sha256(scenes.imdb(split)),
        }
        summary = out / config_file.stem / split / "summary.json"
        found[split] = _Test(split, arguments, summary, summary.with_name("made_from.json"), stamp)
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generalise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "checkpoints", nargs="*", type=home_path, metavar="CHECKPOINT", help="models, with --config"
    )
    add("--bundled", nargs="+", default=[], metavar="NAME", help=", ".join(bundled_names()))
    add("--config", type=home_path, help="of the checkpoints (of NAME: configs/mini_NAME.yaml)")
    add("--data", type=home_path, default=Path("data/mini"), help="rendered: clevr, features, ..")
    add("--genuine", type=home_path, metavar="DIR", help="genuine: scenes, images, features")
    add("--questions", type=home_path, default=Path("data/generalise"), help="where they are made")
    add("--results", type=home_path, default=Path("results/generalise"), help="of test.py")
    add("--write", type=home_path, metavar="FILE", help="a page with these sections")
    given = parser.parse_args(arguments)
    if not (given.bundled or given.checkpoints) or bool(given.checkpoints) != bool(given.config):
        parser.error("give --bundled NAME, or CHECKPOINT with its --config")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    models = [(bundled_path(n), ROOT / "configs" / f"mini_{n}.yaml") for n in given.bundled]
    models += [(path, given.config) for path in given.checkpoints]
    for checkpoint, _ in models:
        if not checkpoint.is_file():
            raise ResultsError(f"no such file: {checkpoint}")
    prepared: set[Path] = set()
    found, sections = {}, {}
    for checkpoint, config_file in models:
        config = to_dict(load_config(config_file)[0])
        features, tables = read_card(checkpoint).get("features"), {}
        # Without a card, the folder that the experiment's features are in.
        features = features or Path(config["FEATURE_DIR"]).parent.name
        for scenes in scenes_of(given):
            if not config["MODEL"][f"BUILD_{scenes.task.upper()}"]:
                continue
            if scenes.folder not in prepared:
                print(f"questions about {scenes.file}: {scenes.folder}", file=sys.stderr)
                scenes.prepare()
                prepared.add(scenes.folder)
            trials = trials_of(checkpoint, config_file, features, scenes, given.results)
            for split, trial in trials.items():
                if not trial.is_done:
                    print(f"{checkpoint.stem}: {split} of {scenes.name}", file=sys.stderr)
                    trial.run()
            tables[scenes.name, scenes.task] = {s: trial.tested() for s, trial in trials.items()}
        found[checkpoint.stem] = tables
        sections[checkpoint.stem] = report(tables)
        print(f"## {checkpoint.stem}\n\n{sections[checkpoint.stem]}\n")
    if len(found) > 1:
        sections["summary"] = summary(found)
        print(f"## All of them\n\n{sections['summary']}")
    if given.write:
        fill(given.write, sections)


if __name__ == "__main__":
    run(main, "benchmarks.generalise")
