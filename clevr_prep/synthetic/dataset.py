"""Builds a CLEVR-format dataset in parallel; a run that was killed is taken up again."""

import contextlib
import functools
import json
import multiprocessing
import os
import sys
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path

from tqdm import tqdm

from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.synthetic.chunks import (
    CHUNK,
    SPLITS,
    Settings,
    chunk_path,
    image_name,
    make_chunk,
    make_scene,
    read_chunk,
)
from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.report import Report
from clevr_prep.workers import end_with_parent
from snmn.storage.locks import lock_folder
from snmn.storage.whole_files import remove_partials, replacing

WORK = ".work"
VERSION = 2


def _check_folder(out: Path, settings: Settings, counts: dict[str, int]) -> Path:
    """Claim the folder for these settings, or say why not. Returns the work folder."""
    work = out / WORK
    path = work / "settings.json"
    mine = {"version": VERSION, **asdict(settings)}
    if path.exists():
        stored = json.loads(path.read_text())
        if stored.pop("version", None) != VERSION:
            raise DatasetError(f"{out} was made by another version of the renderer")
        different = settings.differences(stored)
        if different:
            raise DatasetError(
                f"{out} was made with other settings ({'; '.join(different)}): "
                "repeat them or choose another folder"
            )
    elif (out / "images").exists():
        raise DatasetError(f"{out} holds a dataset that was not made by this program")
    for split, count in counts.items():
        done = _finished(work, split)
        if 0 < count < done:
            raise DatasetError(
                f"{out} has {done} {split} images, {count} asked for: a split can only grow"
            )
    if not path.exists():
        # First of all: whatever happens from here on, the folder is known to be ours.
        with replacing(path) as partial:
            partial.write_text(json.dumps(mine, indent=1))
    for split, count in counts.items():
        if count:
            (out / "images" / split).mkdir(parents=True, exist_ok=True)
            (work / split).mkdir(exist_ok=True)
    for folder in ("scenes", "questions"):
        if folder == "scenes" or settings.questions_per_image:
            (out / folder).mkdir(exist_ok=True)
    return work


def _finished(work: Path, split: str) -> int:
    path = work / f"{split}.json"
    return json.loads(path.read_text())["images"] if path.exists() else 0


def _ranges(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _missing(out: Path, work: Path, counts: dict[str, int]) -> list[tuple[str, int, int]]:
    """Chunks without their file or without one of their images."""
    todo = []
    for split, count in counts.items():
        if not count:
            continue
        folder = out / "images" / split
        for place in (folder, work / split):
            remove_partials(place)
        there = set(os.listdir(folder))
        for start, stop in _ranges(count):
            whole = all(image_name(split, i) in there for i in range(start, stop))
            if not (whole and chunk_path(work, split, start, stop).exists()):
                todo.append((split, start, stop))
    return todo


def _work(board, turns, place, errors, todo, make) -> None:
    """A worker process: takes one chunk after another until none is left.

    `board[place]` counts its images; nobody else writes there, so no lock is needed. `turns`
    counts the chunks given out.
    """
    end_with_parent()

    def tick():
        board[place] += 1

    try:
        while True:
            with turns.get_lock():
                turn, turns.value = turns.value, turns.value + 1
            if turn >= len(todo):
                return
            make(*todo[turn], tick)
    except Exception as error:
        errors.send(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _make_missing(out, work, settings, todo, workers: int, progress: bool) -> None:
    total = sum(stop - start for _, start, stop in todo)
    make = functools.partial(make_chunk, out, work, settings)
    with tqdm(total=total, unit="image", disable=not progress, desc="rendering") as bar:
        if workers == 1:
            for chunk in todo:
                make(*chunk, bar.update)
            return
        # Compile (or load) the kernels once here: the workers find them in the disk cache.
        split, start, _ = todo[0]
        render_scene(make_scene(settings, split, start))
        context = multiprocessing.get_context("spawn")
        board, turns = context.RawArray("q", workers), context.Value("q", 0)
        receiver, sender = context.Pipe(duplex=False)
        team = [
            context.Process(target=_work, args=(board, turns, k, sender, todo, make), daemon=True)
            for k in range(min(workers, len(todo)))
        ]
        try:
            for worker in team:
                worker.start()
            alive = team
            while alive:
                wait([worker.sentinel for worker in alive], timeout=0.5)
                alive = [worker for worker in team if worker.is_alive()]
                bar.update(sum(board) - bar.n)
                if any(worker.exitcode for worker in team):
                    why = receiver.recv() if receiver.poll() else "it was killed"
                    raise DatasetError(f"a worker process failed: {why}")
        finally:
            # Files are written whole or not at all, so a worker can be stopped at any moment.
            for worker in team:
                if worker.is_alive():
                    worker.terminate()


def _assemble(out: Path, work: Path, settings: Settings, split: str, count: int) -> dict:
    """Write a split's scenes and questions files from its chunks; returns its report."""
    report = Report()
    info = {"split": split, "version": "1.0", "generator": "clevr_prep.synthetic"}
    kinds = ["scenes", "questions"] if settings.questions_per_image else ["scenes"]
    with contextlib.ExitStack() as stack:
        files = {}
        for kind in kinds:
            target = out / kind / f"CLEVR_{split}_{kind}.json"
            partial = stack.enter_context(replacing(target))
            files[kind] = stack.enter_context(partial.open("w"))
            files[kind].write(f'{{"info": {json.dumps(info)}, "{kind}": [')
        written = dict.fromkeys(kinds, 0)
        for start, stop in _ranges(count):
            path = chunk_path(work, split, start, stop)
            try:
                chunk = read_chunk(path)
            except (OSError, EOFError, ValueError) as error:
                raise DatasetError(
                    f"{path} is damaged, delete it and start again: {error}"
                ) from None
            report.add(chunk["scenes"], chunk["questions"])
            for kind in kinds:
                for item in chunk[kind]:
                    if kind == "questions":
                        item = {"question_index": written[kind], **item}
                    files[kind].write((",\n" if written[kind] else "\n") + json.dumps(item))
                    written[kind] += 1
        for file in files.values():
            file.write("\n]}\n")
    for old in (work / split).glob("*.json.gz"):
        if old not in {chunk_path(work, split, *r) for r in _ranges(count)}:
            old.unlink()
    summary = report.summary()
    # Last, because it says that nothing is left to do.
    with replacing(work / f"{split}.json") as partial:
        partial.write_text(json.dumps({"images": count, "report": summary}))
    return summary


def build_dataset(
    out: Path | str,
    counts: dict[str, int],
    settings: Settings,
    *,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, dict]:
    """Make or complete a dataset with counts["train"], ["val"] and ["test"] images.

    With `settings.loc` one of CLEVR-Ref, whose splits are called loc_train, loc_val and loc_test.

    A split with count 0 is left alone. What the folder already holds is kept, so an interrupted
    run goes on and a split can be enlarged. Returns the report of each split in `counts`.
    Raises DatasetError when the folder belongs to other settings, LockedError when another process
    writes to it.
    """
    out = Path(out)
    unknown = sorted(set(counts) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}, must be one of {', '.join(SPLITS)}")
    counts = {settings.split_name(split): counts.get(split, 0) for split in SPLITS}
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split} is {count}, must be at least 0")
    with lock_folder(out):
        return _build(out, counts, settings, workers, progress)


def _build(out, counts, settings, workers: int, progress: bool) -> dict[str, dict]:
    work = _check_folder(out, settings, counts)
    todo = _missing(out, work, counts)
    if todo:
        _make_missing(out, work, settings, todo, workers, progress)
    reports = {}
    for split, count in counts.items():
        final = out / "scenes" / f"CLEVR_{split}_scenes.json"
        asked = out / "questions" / f"CLEVR_{split}_questions.json"
        whole = final.exists() and (asked.exists() or not settings.questions_per_image)
        if count and not (whole and _finished(work, split) == count):
            reports[split] = _assemble(out, work, settings, split, count)
        elif (work / f"{split}.json").exists():
            reports[split] = json.loads((work / f"{split}.json").read_text())["report"]
    return reports
