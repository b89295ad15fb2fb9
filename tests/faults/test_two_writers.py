"""Two processes that would write the same: the second refuses, and nothing is damaged."""

import json
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import train
from clevr_prep.data import build_clevr_imdb, convert_legacy_imdb, get_ground_truth_layout
from clevr_prep.data.import_features import main as import_features
from clevr_prep.synthetic.__main__ import main as render
from snmn.common.commands import run as run_command
from snmn.data.feature_store import FeatureStore
from snmn.data.imdb import Imdb
from snmn.storage.locks import lock_file, lock_folder
from tests.helpers.killing import run_and_kill
from tests.helpers.paths import ROOT
from tests.helpers.tiny.dataset import feature_maps, question, write_questions
from tests.helpers.tiny.extraction import extract, write_images, write_weights

BUSY = "is being written by another process"


@pytest.mark.slow
def test_of_two_extractions_one_refuses_and_the_other_ends_right(tmp_path, capsys, reliability):
    row = reliability(
        "Two extractions into one folder",
        caused="the same command, started while the first is in the middle of its work",
        sees='the second: "... is being written by another process"; the first, nothing',
    )
    images, weights = write_images(tmp_path / "data"), write_weights(tmp_path / "cellnet.pt")
    assert extract(images, weights, tmp_path / "alone") == 0
    out = tmp_path / "out"

    def work():
        tqdm.set_lock(threading.RLock())
        sys.exit(extract(images, weights, out))

    with row.attempt():
        first = multiprocessing.get_context("fork").Process(target=work)
        first.start()
        while not (out / "train" / "shard-00000.h5").exists():
            assert first.is_alive()
        # It stands still in the middle, however fast the machine is.
        os.kill(first.pid, signal.SIGSTOP)
        capsys.readouterr()
        second, told = extract(images, weights, out), capsys.readouterr().err.strip()
        os.kill(first.pid, signal.SIGCONT)
        first.join()
        assert (second, told) == (2, f"error: {out / 'train'} {BUSY}")
        assert first.exitcode == 0
        for split in ("train", "val"):
            made = {path.name: path.read_bytes() for path in (out / split).glob("*.*")}
            alone = (tmp_path / "alone" / split).glob("*.*")
            assert made == {path.name: path.read_bytes() for path in alone}


@pytest.fixture
def dataset(tmp_path):
    write_questions(tmp_path, [question(image, image) for image in range(3)])
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "CLEVR_val_000000.npy", feature_maps([0]))
    entries = [{"question_str": "is it red?", "image_name": "CLEVR_val_000000", "answer": "yes"}]
    np.save(tmp_path / "imdb_old.npy", np.array(entries, dtype=object))
    return tmp_path


def writers(root: Path) -> dict:
    """Of each command: how to lock what it writes, how to run it, and what it then has written."""
    out = root / "out"
    data = ["--data-dir", str(root)]
    made, layouts = out / "imdb_tiny.h5", root / "questions" / "CLEVR_tiny_layouts.json"
    old = [str(root / "imdb_old.npy"), str(made), "--allow-pickle"]
    scenes = [str(out), "--train", "1", "--val", "0", "--test", "0", "--workers", "1"]
    scenes += ["--width", "32", "--height", "32", "--questions-per-image", "0"]
    return {
        "imdb": (
            lambda: lock_file(made),
            lambda: build_clevr_imdb.main([*data, "--out", str(out)]),
            lambda: Imdb(made),
        ),
        "layouts": (
            lambda: lock_file(layouts),
            lambda: get_ground_truth_layout.main(data),
            lambda: json.loads(layouts.read_text()),
        ),
        "old imdb": (
            lambda: lock_file(made),
            lambda: convert_legacy_imdb.main(old),
            lambda: Imdb(made),
        ),
        "import": (
            lambda: lock_folder(out / "npy"),
            lambda: import_features([str(root / "npy"), "--out", str(out)]),
            lambda: FeatureStore(out / "npy"),
        ),
        "scenes": (
            lambda: lock_folder(out),
            lambda: render(scenes),
            lambda: json.loads((out / "scenes" / "CLEVR_train_scenes.json").read_text()),
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", writers(Path()))
def test_what_another_process_writes_is_refused_until_it_dies(which, dataset, capsys, reliability):
    row = reliability(
        "Two writers of the same data",
        caused="each command that makes data, while another process has its output",
        sees='"... is being written by another process"; once that one has died, nothing',
    )
    lock, run, read = writers(dataset)[which]
    with row.attempt():
        with lock():
            assert run() == 2
        told = capsys.readouterr().err.strip()
        assert BUSY in told and "\n" not in told
        with pytest.raises((OSError, ValueError, RuntimeError)):
            read()  # Nothing was written.

        def die():
            with lock():
                for _ in range(10**6):
                    os.getpid()

        assert run_and_kill(die, at=2000) == 2000
        assert run() == 0
        read()


@pytest.mark.slow
def test_two_trainings_of_one_name(tmp_path, reliability):
    row = reliability(
        "Two trainings with the same checkpoints",
        caused="train.py, while another process has its folder",
        sees='"... is being written by another process"',
    )
    config = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
    folder = tmp_path / "run"
    settings = ["TRAIN.SNAPSHOT_DIR", f"{tmp_path}/%s", "EXP_NAME", folder.name]
    settings += ["IMDB_FILE", f"{tmp_path}/none_%s.h5"]  # It would not get far.
    with row.attempt(), lock_folder(folder):
        with pytest.raises(SystemExit, match=f"^train.py: {folder} {BUSY}$"):
            run_command(lambda: train.main([config, *settings]), "train.py")
        assert [path.name for path in folder.iterdir()] == [".writer.lock"]
