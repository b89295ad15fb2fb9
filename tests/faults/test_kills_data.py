"""Extraction, layouts and imdbs killed: the same commands end in the same files."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as write_layouts
from tests.helpers.killing import survive_kills
from tests.helpers.tiny.dataset import question, write_questions
from tests.helpers.tiny.extraction import extract, write_images, write_weights

CAUSED = (
    "SIGKILL at a random call or return, every second one around a change of files; up to 4 in a "
    "row"
)


def contents(folder: Path, suffix: str = "") -> dict[str, bytes]:
    """Every file whose name ends so, but for locks, which stay."""
    files = (p for p in folder.rglob(f"*{suffix}") if p.is_file() and p.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def quiet():
    sys.stdout = sys.stderr = open(os.devnull, "w")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_extraction_killed_at_any_call(workers, tmp_path, reliability):
    row = reliability(
        "Extraction of features killed",
        caused=CAUSED,
        sees="the same command extracts what is missing; every shard is that of an undisturbed run",
    )
    images, weights = write_images(tmp_path / "data"), write_weights(tmp_path / "cellnet.pt")
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert extract(images, weights, whole) == 0
    expected = contents(whole)
    assert len(expected) == 4

    def work():
        quiet()
        assert extract(images, weights, out, "--workers", workers) == 0

    def check():
        assert contents(out) == expected

    def check_killed():
        assert contents(out, ".h5").items() <= expected.items()

    survive_kills(
        work,
        row,
        kills=8,
        check=check,
        check_killed=check_killed,
        fresh=lambda: shutil.rmtree(out, ignore_errors=True),
        seed=int(workers),
    )


@pytest.mark.slow
@pytest.mark.parametrize("made", ["layouts", "imdb"])
def test_layouts_and_imdb_killed_at_any_call(made, tmp_path, reliability):
    row = reliability(
        "Building of layouts and imdbs killed",
        caused=CAUSED,
        sees="the older file, if there was one, until the same command has written the new one",
    )
    questions = [question(7, 0), question(7, 1, "blue", hops=1), question(3, 2, hops=2)]
    write_questions(
        tmp_path, [entry | {"question_index": n} for n, entry in enumerate(questions * 10)]
    )
    options = ["--data-dir", str(tmp_path), "--split", "tiny"]
    assert write_layouts(options) == 0
    target = tmp_path / "questions" / "CLEVR_tiny_layouts.json"
    if made == "imdb":
        target = tmp_path / "out" / "imdb_tiny.h5"
        assert build_imdb([*options, "--out", str(target.parent)]) == 0
    expected, old = contents(tmp_path), b"out of date"

    def work():
        quiet()
        if made == "imdb":
            assert build_imdb([*options, "--out", str(target.parent)]) == 0
        else:
            assert write_layouts(options) == 0

    def check():
        assert contents(tmp_path) == expected

    def check_killed():
        assert target.read_bytes() in (old, expected[str(target.relative_to(tmp_path))])

    survive_kills(
        work,
        row,
        kills=10,
        check=check,
        check_killed=check_killed,
        fresh=lambda: target.write_bytes(old),
    )
