"""The calls of test.py that the tables are made from, each made once for the same things."""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from config import load_config, to_dict
from snmn.checkpoints.bundled import read_card
from snmn.common.errors import UserError
from snmn.storage.checksums import file_sha256
from snmn.storage.typed_settings import ConfigError
from snmn.storage.whole_files import replacing

ROOT = Path(__file__).resolve().parents[2]


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
