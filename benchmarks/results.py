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
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.readme_table import readme_table
from benchmarks.results_tables import (
    Model,
    code,
    cogent_table,
    scores,
    seeds_table,
    shown,
    training,
)
from config import load_config, to_dict
from snmn.checkpoints.bundled import read_card
from snmn.common.commands import run
from snmn.common.errors import UserError
from snmn.common.paths import visible_files
from snmn.storage.checksums import file_sha256
from snmn.storage.typed_settings import ConfigError
from snmn.storage.whole_files import replacing

ROOT = Path(__file__).resolve().parents[1]


class ResultsError(UserError):
    """The tables cannot be made; the message is fit for a user."""


@dataclass
class Trial:
    """One call of test.py.

    ``about`` is "TASK SET"; ``stamp`` says in ``record`` what ``summary`` was made from.
    """

    about: str
    arguments: list[str]
    summary: Path
    record: Path
    stamp: dict

    @property
    def is_done(self) -> bool:
        """Whether the summary is there and made from the same."""
        found = self.record.is_file() and self.summary.is_file()
        return found and read_json(self.record) == self.stamp

    def run(self) -> None:
        """Call test.py."""
        self.record.unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "test.py"), *self.arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ResultsError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
        with replacing(self.record) as partial:
            partial.write_text(json.dumps(self.stamp, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """A JSON file. Raises ResultsError, which names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error})") from None


def sha256(path: Path) -> str:
    """Hash of a file. Raises ResultsError for one that is missing."""
    try:
        return file_sha256(path)
    except OSError:
        raise ResultsError(f"no {path}; README, section Data, says how it is made") from None


def build_trials(checkpoint: Path, given: argparse.Namespace) -> list[Trial]:
    """What to test a checkpoint on."""
    card = read_card(checkpoint)
    if "features" not in card:
        raise ResultsError(f"{checkpoint.with_suffix('.json')} names no features")
    config_file = given.configs / f"mini_{checkpoint.stem}.yaml"
    try:
        config = to_dict(load_config(config_file)[0])
    except ConfigError as error:
        raise ResultsError(f"{checkpoint}: {error}") from None
    tasks = [task for task in ("vqa", "loc") if config["MODEL"][f"BUILD_{task.upper()}"]]
    wanted = [(task, "test", given.data) for task in tasks]
    if given.genuine and "vqa" in tasks:
        wanted.append(("vqa", "genuine", given.genuine))
    trials = []
    for task, name, folder in wanted:
        split = "val" if name == "genuine" else "test"
        out = given.results / checkpoint.stem / ("genuine" if name == "genuine" else "rendered")
        arguments = [str(config_file), str(checkpoint), "--split", split]
        arguments += ["--explain", "--without-deletions", "--out", str(out)]
        if given.batches:
            arguments += ["--batches", str(given.batches)]
        if len(tasks) > 1:
            arguments += ["DATASET", task]
        data_key = {"vqa": "TEST.DATA_DIR", "loc": "TEST.DATA_DIR_LOC"}[task]
        data = given.data / {"vqa": "clevr", "loc": "clevr_loc"}[task]
        paths = {
            "IMDB_FILE": folder / "imdb" / "imdb_%s.h5",
            "FEATURE_DIR": folder / "features" / card["features"] / "%s",
            data_key: folder if name == "genuine" else data,
        }
        for key, path in paths.items():
            if Path(_setting(config, key)) != path:
                arguments += [key, str(path)]
        full_split = f"loc_{split}" if task == "loc" else split
        stamp = {}
        if not given.no_tests:
            stamp = {
                "arguments": arguments,
                "checkpoint": sha256(checkpoint),
                "configuration": hashlib.sha256(json.dumps(config).encode()).hexdigest(),
                "imdb": sha256(folder / "imdb" / f"imdb_{full_split}.h5"),
            }
        record = given.results / checkpoint.stem / f"{task}-{name}.json"
        summary = out / config_file.stem / full_split / "summary.json"
        trials.append(Trial(f"{task} {name}", arguments, summary, record, stamp))
    return trials


def _setting(config: dict, key: str) -> str:
    """A configuration's value by its dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def run_trials(trials: list[Trial], jobs: int) -> None:
    """Run what is not done yet, ``jobs`` at a time."""
    due = [trial for trial in trials if not trial.is_done]
    print(f"{len(trials) - len(due)} of {len(trials)} tests are done already", flush=True)

    def run(trial: Trial) -> None:
        print("python", shlex.join(["test.py", *trial.arguments]), flush=True)
        trial.run()

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, due))


def filled(path: Path, sections: Mapping[str, str]) -> str:
    """The text of a file with each section's content between its comments.

    Raises ResultsError for a missing file or missing comments.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from None
    for name, content in sections.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ResultsError(f"{path}: no line {start} with {end} after it")
        block = f"{start}\n\n{content.strip()}\n\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)
    return text


def fill(path: Path, sections: Mapping[str, str]) -> None:
    """Write each section's content between its comments in a file, as `filled` has it."""
    text = filled(path, sections)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def count(text: str) -> int:
    """A number above 0 on the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
