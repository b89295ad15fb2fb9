"""The renderer killed: whatever was killed, the same command ends in the same files."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from clevr_prep.synthetic import dataset
from clevr_prep.synthetic.__main__ import main
from tests.helpers.killing import survive_kills
from tests.helpers.paths import ROOT

OPTIONS = ["--train", "5", "--val", "2", "--test", "0", "--width", "60", "--height", "40"]
OPTIONS += ["--samples", "1", "--questions-per-image", "2", "--max-objects", "4"]
SEES = "the same command renders what is missing; every file is that of an undisturbed run"


def contents(out: Path) -> dict[str, bytes]:
    """Every file that there is, but for the folder's lock."""
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("loc", [False, True], ids=["questions", "loc"])
def test_rendering_killed_at_any_call(loc, tmp_path, monkeypatch, reliability):
    monkeypatch.setattr(dataset, "CHUNK", 2)
    row = reliability(
        "Rendering of images, questions and referring expressions killed",
        caused="SIGKILL at a random call or return, every second one around a change of files; "
        "up to 4 in a row",
        sees=SEES,
    )
    command = [*OPTIONS, "--workers", "1", *(["--loc"] if loc else [])]
    out, whole = tmp_path / "out", tmp_path / "whole"

    def render(folder=out):
        sys.stdout = sys.stderr = open(os.devnull, "w")
        assert main([str(folder), *command]) == 0

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)
        patch.setattr(sys, "stderr", sys.stderr)
        render(whole)
    expected = contents(whole)
    assert len([name for name in expected if name.endswith(".png")]) == 5 + 2 + 1

    def check():
        assert contents(out) == expected

    def check_killed():
        # What has its name is whole; the rest goes by names that nobody reads.
        left = {k: v for k, v in contents(out).items() if not k.endswith(".partial")}
        assert left.items() <= expected.items()

    survive_kills(
        render,
        row,
        kills=10,
        check=check,
        check_killed=check_killed,
        fresh=lambda: shutil.rmtree(out, ignore_errors=True),
        seed=loc,
    )


@pytest.mark.slow
def test_a_command_killed_among_its_workers(tmp_path, reliability):
    row = reliability(
        "Rendering with several worker processes killed",
        caused="SIGKILL to the command while its workers render, 3 in a row",
        sees=SEES,
    )
    out, whole = tmp_path / "out", tmp_path / "whole"
    sizes = ["--train", "20", "--val", "20", "--width", "120", "--height", "80"]
    command = [sys.executable, "-m", "clevr_prep.synthetic", str(out), *OPTIONS, *sizes]
    command += ["--workers", "2"]
    assert main([str(whole), *OPTIONS, *sizes, "--workers", "1"]) == 0

    def images():
        return {p.name: p.stat().st_mtime_ns for p in out.glob("images/*/*.png")}

    with ExitStack() as attempts:
        for enough in (3, 10, 20):
            process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(images()) < enough:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            attempts.enter_context(row.attempt())
            kept = images()
            assert len(kept) >= enough
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        assert kept.items() <= images().items()  # What is there is not rendered again.
        assert contents(out) == contents(whole)
