"""Builds a CLEVR-format dataset in parallel; a run that was killed is taken up again."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from .chunks import (
    CHUNK,
    SPLITS,
    Settings,
    chunk_path,
    image_name,
    make_chunk,
    make_scene,
    read_chunk,
    replace_file,
)
from .renderer import render_scene
from .report import Report

WORK = ".work"
VERSION = 1


class DatasetError(ValueError):
    """The folder holds something that this dataset cannot be built on."""


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
    work.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        if count:
            (out / "images" / split).mkdir(parents=True, exist_ok=True)
            (work / split).mkdir(exist_ok=True)
    for folder in ("scenes", "questions"):
        if folder == "scenes" or settings.questions_per_image:
            (out / folder).mkdir(exist_ok=True)
    if not path.exists():
        replace_file(path, lambda p: p.write_text(json.dumps(mine, indent=1)))
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
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        there = set(os.listdir(folder))
        for start, stop in _ranges(count):
            whole = all(image_name(split, i) in there for i in range(start, stop))
            if not (whole and chunk_path(work, split, start, stop).exists()):
                todo.append((split, start, stop))
    return todo


# A worker's view of the board it shares with its parent: place 0 tells it to stop, and its own
# place counts its images. The board has no lock, so that no process can die or be interrupted
# while it holds one.
_shared: dict = {}


def _enter_worker(board, arrivals) -> None:
    """Leave interrupts to the parent process, and end soon after it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with arrivals.get_lock():
        arrivals.value += 1
        _shared.update(board=board, place=arrivals.value)
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tick() -> None:
    board = _shared["board"]
    if board[0]:
        raise RuntimeError("stopped")
    board[_shared["place"]] += 1


def _run_chunk(*arguments) -> None:
    make_chunk(*arguments, _tick)


def _make_missing(out, work, settings, todo, workers: int, progress: bool) -> None:
    total = sum(stop - start for _, start, stop in todo)
    with tqdm(total=total, unit="image", disable=not progress, desc="rendering") as bar:
        if workers == 1:
            for chunk in todo:
                make_chunk(out, work, settings, *chunk, bar.update)
            return
        # Compile (or load) the kernels once here: the workers find them in the disk cache.
        split, start, _ = todo[0]
        render_scene(make_scene(settings, split, start))
        context = multiprocessing.get_context("spawn")
        board, arrivals = context.RawArray("q", workers + 1), context.Value("q", 0)
        pool = ProcessPoolExecutor(workers, context, _enter_worker, (board, arrivals))
        try:
            pending = {pool.submit(_run_chunk, out, work, settings, *chunk) for chunk in todo}
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                bar.update(sum(board) - bar.n)
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise DatasetError(
                "a worker process died; the same command goes on from here"
            ) from None
        finally:
            board[0] = 1
            pool.shutdown(wait=True, cancel_futures=True)


def _assemble(out: Path, work: Path, settings: Settings, split: str, count: int) -> dict:
    """Write a split's scenes and questions files from its chunks; returns its report."""
    report = Report()
    info = {"split": split, "version": "1.0", "generator": "clevr_prep.synthetic"}
    kinds = ["scenes", "questions"] if settings.questions_per_image else ["scenes"]
    with contextlib.ExitStack() as stack:
        files = {}
        for kind in kinds:
            target = out / kind / f"CLEVR_{split}_{kind}.json"
            temporary = work / f"{target.name}.tmp"
            files[kind] = (stack.enter_context(temporary.open("w")), temporary, target)
            files[kind][0].write(f'{{"info": {json.dumps(info)}, "{kind}": [')
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
                    files[kind][0].write((",\n" if written[kind] else "\n") + json.dumps(item))
                    written[kind] += 1
        for file, _, _ in files.values():
            file.write("\n]}\n")
    for _, temporary, target in files.values():
        os.replace(temporary, target)
    summary = report.summary()
    marker = json.dumps({"images": count, "report": summary})
    replace_file(work / f"{split}.json", lambda p: p.write_text(marker))
    for old in (work / split).glob("*.json.gz"):
        if old not in {chunk_path(work, split, *r) for r in _ranges(count)}:
            old.unlink()
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

    A split with count 0 is left alone. What the folder already holds is kept, so an interrupted
    run goes on and a split can be enlarged. Returns the report of each split in `counts`.
    Raises DatasetError when the folder belongs to other settings.
    """
    out = Path(out)
    unknown = sorted(set(counts) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}, must be one of {', '.join(SPLITS)}")
    counts = {split: counts.get(split, 0) for split in SPLITS}
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split} is {count}, must be at least 0")
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
