"""Speed and memory of imdbs at CLEVR's scale: `python benchmarks/imdb.py` from the repository.

Writes a questions file of CLEVR's form by repeating generated questions, runs the two commands
that make an imdb of it, and loads the imdb with worker processes while features are read too
(tiny ones). Memory is the whole of all processes: Pss counts a page that some share once, Rss
counts it for each. Linux alone tells these (/proc).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.questions import make_scene  # noqa: E402
from clevr_prep.synthetic.sampling.balance import AnswerBalance  # noqa: E402
from clevr_prep.synthetic.sampling.questions import generate_questions  # noqa: E402

PER_IMAGE = 10


def write_questions(root: Path, count: int, distinct: int) -> None:
    """ROOT/questions/CLEVR_train_questions.json: ``count`` questions, so many of them distinct."""
    rng, balance = np.random.default_rng(0), AnswerBalance()
    pool = []
    while len(pool) < distinct:
        scene = make_scene(rng, int(rng.integers(3, 11)))
        pool += generate_questions(scene, PER_IMAGE, rng, balance=balance)
    path = root / "questions" / "CLEVR_train_questions.json"
    path.parent.mkdir()
    with path.open("w") as file:
        file.write('{"info": {}, "questions": [')
        for number in range(count):
            image = number // PER_IMAGE
            question = {
                "image_index": image,
                "image_filename": f"CLEVR_train_{image:06d}.png",
                "question_index": number,
                "split": "train",
                **pool[number % len(pool)],
            }
            file.write((",\n" if number else "\n") + json.dumps(question))
        file.write("]}")


def load(imdb: str, features: str, workers: int, batches: int) -> None:
    """Open the imdb, and read random batches of it."""
    from snmn.data.data_module import CLEVRDataModule
    from snmn.data.feature_writer import FeatureWriter
    from snmn.data.imdb import Imdb

    start = time.perf_counter()
    opened = Imdb(imdb)
    print(f"opened in {1000 * (time.perf_counter() - start):.1f} ms: {len(opened)} questions")
    attributes = {"backbone": "", "weights_sha256": "", "preprocess": "", "image_size": 224}
    with FeatureWriter(features, attributes=attributes, shard_size=4096) as writer:
        for start in range(0, len(opened.filenames), 4096):
            names = opened.filenames[start : start + 4096]
            writer.add(names, np.zeros((len(names), 1, 1, 1)))
    module = CLEVRDataModule(
        train={"vqa": (features, imdb)},
        num_workers=workers,
        grid=(1, 1),
        feature_dim=1,
        epoch_steps=batches,
    )
    module.setup("fit")
    start = time.perf_counter()
    for _ in module.train_dataloader():
        pass
    print(f"{batches / (time.perf_counter() - start):.0f} batches of 64 questions a second")


def family_of(pid: int) -> list[int]:
    """A process and all processes it started, as far as they run."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except OSError:
                pass  # It has ended meanwhile.
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def peak_memory(pid: int, is_running) -> dict[str, float]:
    """Most MiB of a process and its children while it runs, by Pss and Rss."""
    peak = {"Pss": 0.0, "Rss": 0.0}
    while is_running():
        total = dict.fromkeys(peak, 0)
        for member in family_of(pid):
            try:
                lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                name, _, rest = line.partition(":")
                if name in total:
                    total[name] += int(rest.split()[0])
        peak = {name: max(peak[name], total[name] / 1024) for name in peak}
        time.sleep(0.1)
    return peak


def describe(peak: dict[str, float]) -> str:
    return f"at most {peak['Pss']:.0f} MiB (Pss; Rss {peak['Rss']:.0f} MiB)"


def run_command(script: str, root: Path, *options: str) -> tuple[dict[str, float], float]:
    """Run one of the data commands: peak memory, seconds of processor time."""
    before = os.times()
    process = subprocess.Popen(
        [sys.executable, ROOT / "clevr_prep" / "data" / script, "--data-dir", root, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = peak_memory(process.pid, lambda: process.poll() is None)
    if process.returncode:
        raise SystemExit(f"{script} failed")
    after = os.times()
    spent = after.children_user + after.children_system
    return peak, spent - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=700_000)
    parser.add_argument("--distinct", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batches", type=int, default=4000)
    parser.add_argument("--folder", type=Path, help="for the files (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        root = Path(scratch)
        write_questions(root, options.questions, options.distinct)
        size = (root / "questions" / "CLEVR_train_questions.json").stat().st_size
        print(f"{options.questions} questions, {size / 2**20:.0f} MiB of JSON")
        for script, more in (
            ("get_ground_truth_layout.py", ()),
            ("build_clevr_imdb.py", ("--out", root)),
        ):
            peak, seconds = run_command(script, root, *more)
            print(f"{script}: {options.questions / seconds:.0f} questions/s, {describe(peak)}")
        imdb = root / "imdb_train.h5"
        print(f"imdb: {imdb.stat().st_size / 2**20:.1f} MiB")
        # A process of its own, that starts its workers in this system's usual way.
        call = f"load(*{[str(imdb), str(root / 'features'), options.workers, options.batches]!r})"
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", f"from benchmarks.imdb import load; {call}"],
            cwd=ROOT,
        )
        peak = peak_memory(process.pid, lambda: process.poll() is None)
        print(f"loading with {options.workers} workers: {describe(peak)}")


if __name__ == "__main__":
    main()
