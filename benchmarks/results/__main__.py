"""Test the bundled models and write what comes out into docs/results.md, and their cards' scores
into README.md.

    python -m benchmarks.results --genuine data/real
    python -m benchmarks.results --no-tests
    python -m benchmarks.results --cards
    python -m benchmarks.results --restarts runs/mini_vqa_scratch/restarts.json
    python -m benchmarks.results --cogent results/mini_cogent/val/summary.json \
        results/mini_cogent_b/val/summary.json

Each model NAME.ckpt is tested by test.py --explain, with configs/mini_NAME.yaml, on the rendered
test set and, if it answers questions, on the genuine images. A result that is there is kept as long
as checkpoint, configuration, data and command are the same; with --no-tests whatever is there is
taken as it is, and what is not there left out. With --cards only README's table of models is made.
Of a page only what stands between the comments <!-- table: SECTION --> and <!-- end of SECTION -->
is replaced; the sections are scores, shown and training, seeds with --restarts; cogent, with
--cogent, lies in docs/generalisation.md.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results.readme_table import readme_table
from benchmarks.results.sections import fill, filled
from benchmarks.results.tables import (
    Model,
    code,
    cogent_table,
    scores,
    seeds_table,
    shown,
    training,
)
from benchmarks.results.trials import ResultsError, build_trials, read_json, run_trials
from config import load_config
from snmn.checkpoints.bundled import read_card
from snmn.common.commands import count, run
from snmn.common.paths import visible_files


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.results",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", type=Path, default=Path("server/models"), help="folder of NAME.ckpt with cards")
    add("--configs", type=Path, default=Path("configs"), help="folder of mini_NAME.yaml")
    add("--data", type=Path, default=Path("data/mini"), help="rendered: clevr, clevr_loc, imdb, ..")
    add("--genuine", type=Path, help="genuine: images, scenes, questions, imdb, features")
    add("--results", type=Path, default=Path("results/bundled"), help="where test.py writes")
    add("--out", type=Path, default=Path("docs/results.md"), help="page with the tables")
    add("--readme", type=Path, default=Path("README.md"), help="page with the table of models")
    add("--generalisation", type=Path, default=Path("docs/generalisation.md"), help="of --cogent")
    add("--cards", action="store_true", help="only the table of models, from their cards")
    add("--no-tests", action="store_true", help="take the results there are, and test nothing")
    add("--restarts", type=Path, nargs="+", default=[], help="restarts.json files")
    add("--cogent", type=Path, nargs="+", default=[], help="summary.json files, of A then of B")
    add("--batches", type=count, metavar="N", help="a quick look: N batches of each test")
    add("--jobs", type=count, default=1, help="tests that run at the same time")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    checkpoints = visible_files(given.models, "*.ckpt")
    if not checkpoints:
        raise ResultsError(f"no checkpoint in {given.models}")
    pages: dict[Path, dict[str, str]] = {given.readme: {"models": readme_table(checkpoints)}}
    filled(given.readme, pages[given.readme])
    if not given.cards:
        pages |= results_pages(given, checkpoints, arguments or sys.argv[1:])
    for path, sections in pages.items():
        fill(path, sections)
        print(f"tables: {path}")


def results_pages(
    given: argparse.Namespace, checkpoints: Sequence[Path], command: Sequence[str]
) -> dict[Path, dict[str, str]]:
    """The sections of each page, after the tests that they are made from."""
    pages: dict[Path, dict[str, str]] = {given.out: {"scores": "", "shown": "", "training": ""}}
    if given.restarts:
        found = {path: read_json(path) for path in given.restarts}
        pages[given.out]["seeds"] = seeds_table(found)
    if given.cogent:
        found = [read_json(path) for path in given.cogent]
        pages[given.generalisation] = {"cogent": cogent_table(found)}
    trials = {path: build_trials(path, given) for path in checkpoints}
    for path, sections in pages.items():
        filled(path, sections)  # An error now, not after hours.
    if not given.no_tests:
        run_trials([trial for each in trials.values() for trial in each], given.jobs)
    models = []
    for path, each in trials.items():
        there = [trial for trial in each if trial.summary.is_file() or not given.no_tests]
        summaries = {trial.about: read_json(trial.summary) for trial in there}
        config = load_config(given.configs / f"mini_{path.stem}.yaml")[0]
        models.append(Model(path.stem, read_card(path), summaries, config.TRAIN.USE_GT_LAYOUT))
    own = code([shlex.join(["python", "-m", "benchmarks.results", *command])])
    sizes = {path.stem: path.stat().st_size for path in checkpoints}
    pages[given.out] |= {
        "scores": f"{scores(models)}\n\n{own}",
        "shown": shown(models),
        "training": training(models, sizes),
    }
    return pages


if __name__ == "__main__":
    run(main, "benchmarks.results")
