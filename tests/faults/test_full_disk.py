"""Full disks: one sentence with the file's name, what was whole stays, and work goes on."""

import pytest

import train as train_py
from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as write_layouts
from clevr_prep.synthetic.__main__ import main as render
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.commands import run
from snmn.storage.whole_files import PARTIAL_SUFFIX
from snmn.training.resuming.newest_checkpoint import newest_checkpoint
from tests.faults.test_kills_data import contents
from tests.helpers.full_disk import fill, small_disk
from tests.helpers.paths import ROOT
from tests.helpers.tiny.dataset import question, write_questions
from tests.helpers.tiny.experiment import same_weights, write_experiment
from tests.helpers.tiny.extraction import extract, write_images, write_weights

CAUSED = "a small disk with less room than the files need"
SEES = "one sentence that names the file; what was whole stays, and the same command goes on"


def run_out(command, disk, capsys, *, leave, name):
    """Fails with one line about the file, keeps what was there; goes on once there is room."""
    before = contents(disk)
    ballast = fill(disk, leave=leave)
    capsys.readouterr()
    assert command() == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(told) == 1 and name in told[0] and "No space left on device" in told[0]
    ballast.unlink()
    after = contents(disk)
    assert before.items() <= after.items()
    assert not [path for path in after if path.endswith(PARTIAL_SUFFIX)]
    assert command() == 0
    return after.keys() - before.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leave", "workers", "name"),
    [(0, "1", "settings.json"), (16384, "1", ".png"), (65536, "1", "CLEVR_val_")]
    + [(24576, "2", ".png")],
)
def test_rendering(leave, workers, name, tmp_path, capsys, reliability):
    row = reliability("Disk full while rendering", caused=CAUSED, sees=SEES)
    options = ["--train", "0", "--val", "5", "--test", "0", "--width", "120", "--height", "80"]
    options += ["--samples", "1", "--max-objects", "4", "--workers", workers]
    assert render([str(tmp_path / "whole"), *options]) == 0
    with small_disk(tmp_path / "disk", 4) as disk, row.attempt():
        command = lambda: render([str(disk / "out"), *options])  # noqa: E731
        run_out(command, disk, capsys, leave=leave, name=name)
        assert contents(disk / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_extraction(tmp_path, capsys, reliability):
    row = reliability("Disk full during extraction", caused=CAUSED, sees=SEES)
    images, weights = write_images(tmp_path / "data"), write_weights(tmp_path / "cellnet.pt")
    assert extract(images, weights, tmp_path / "whole") == 0
    shard = (tmp_path / "whole" / "train" / "shard-00000.h5").stat().st_size
    for room in (0, 1, 2):
        with small_disk(tmp_path / f"disk-{room}", 8) as disk, row.attempt():
            new = run_out(
                lambda disk=disk: extract(images, weights, disk),
                disk,
                capsys,
                leave=int((room + 0.5) * shard),
                name=f"shard-{room:05d}.h5",
            )
            assert len([path for path in new if path.endswith(".h5")]) == room
            assert contents(disk) == contents(tmp_path / "whole")


@pytest.mark.parametrize("leave", [0, 8192])
def test_layouts_and_imdb(leave, tmp_path, capsys, reliability):
    row = reliability("Disk full while layouts or imdbs are built", caused=CAUSED, sees=SEES)
    questions = [question(7, n, hops=n % 3) for n in range(300)]
    with small_disk(tmp_path / "disk", 4) as disk:
        write_questions(disk, questions)
        options = ["--data-dir", str(disk), "--split", "tiny"]
        with row.attempt():
            name = "CLEVR_tiny_layouts.json"
            run_out(lambda: write_layouts(options), disk, capsys, leave=leave, name=name)
        options += ["--out", str(disk / "imdb")]
        with row.attempt():
            name = "imdb_tiny.h5"
            run_out(lambda: build_imdb(options), disk, capsys, leave=leave, name=name)


def train(arguments) -> str | None:
    """train.py; what it ends with instead of success, if it does."""
    try:
        run(lambda: train_py.main([str(argument) for argument in arguments]), "train.py")
    except SystemExit as end:
        return end.code


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_training(tmp_path, reliability):
    row = reliability(
        "Disk full while a checkpoint is written",
        caused=CAUSED,
        sees="one sentence that names the checkpoint and the one to go on from, which is whole",
    )
    settings = [*write_experiment(tmp_path), "TRAIN.MAX_ITER", "4", "TRAIN.VAL_INTERVAL", "10"]
    settings += ["TRAIN.SNAPSHOT_INTERVAL", "1", "EXP_NAME", "run", "-s", "3", "--logger", "none"]
    config = ROOT / "configs" / "mini_vqa_gt_layout.yaml"
    whole = tmp_path / "whole" / "run"
    assert train([config, *settings, "TRAIN.SNAPSHOT_DIR", f"{whole.parent}/%s/"]) is None
    size = (whole / "last.ckpt").stat().st_size
    # Room for none, for some of the four, and for all of them but not the last.
    for room in (0, 2, 4):
        with small_disk(tmp_path / f"disk-{room}", 64) as disk, row.attempt():
            ballast = fill(disk, leave=int((room + 0.5) * size))
            command = [config, *settings, "TRAIN.SNAPSHOT_DIR", f"{disk}/%s/"]
            told = train(command)
            folder = disk / "run"
            file = folder / ("last.ckpt" if room == 4 else f"step={room + 1:08d}.ckpt")
            newest = newest_checkpoint(folder)
            advice = f"go on with --resume {newest}" if newest else "start again"
            why = "No space left on device"
            assert told == f"train.py: cannot write {file} ({why}): make room, then {advice}"
            kept = {path.name for path in folder.glob("[!.]*")}
            assert kept == {f"step={step + 1:08d}.ckpt" for step in range(room)}
            for name in kept:
                read_checkpoint(folder / name)
            ballast.unlink()
            assert train([*command, *(["--resume", newest] if newest else [])]) is None
            for path in whole.glob("*.ckpt"):
                same_weights(folder / path.name, path)
