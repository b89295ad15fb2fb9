"""``~`` in the paths that commands are given, where no shell has put the home folder in."""

import pytest

import snmn.convert
import snmn.export
import snmn.predict
import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.commands import run
from tests.commands.test_testing import test_command
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment
from tests.helpers.tiny.server import image_bytes, write_models

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "image.png").write_bytes(image_bytes())
    return tmp_path


def train_py(arguments):
    run(lambda: train.main(arguments), "train.py")


def test_py(arguments):
    run(lambda: test_command.main(arguments), "test.py")


test_py.__test__ = False


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (train_py, ["~/no"]),
        (train_py, [CONFIG, "--resume=~/no", "TRAIN.SNAPSHOT_DIR", "~/runs/%s"]),
        (test_py, ["~/no", "x.ckpt"]),
        (test_py, [CONFIG, "~/no"]),
        (snmn.predict.main, ["~/no", "Is it red?"]),
        (snmn.predict.main, ["~/image.png", "Is it red?", "--checkpoint=~/no"]),
        (snmn.convert.main, ["~/no", CONFIG, "~/out.ckpt"]),
        (snmn.convert.main, ["x.ckpt", "~/no", "~/out.ckpt"]),
        (snmn.export.main, ["~/no", "~/out.ckpt"]),
    ],
)
def test_a_missing_file_is_looked_for_at_home(home, command, arguments):
    with pytest.raises(SystemExit) as end:
        command(arguments)
    assert f"{home}/no" in str(end.value.code)


def test_what_is_written_is_written_at_home(home, capsys):
    write_models(home, ["vqa_gt_layout"])
    asked = ["~/image.png", "Is it red?", "--checkpoint=~/vqa_gt_layout.ckpt"]
    snmn.predict.main([*asked, "--figure=~/steps.png"])
    assert f"figure: {home}/steps.png" in capsys.readouterr().out
    assert (home / "steps.png").is_file()
    snmn.export.main(["~/vqa_gt_layout.ckpt", "~/small.ckpt"])
    assert read_checkpoint(home / "small.ckpt")["state_dict"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_results_are_written_at_home(home, capsys):
    tiny = write_experiment(home)
    train_py([CONFIG, *tiny, "EXP_NAME", "tiny", "--logger", "none", "TRAIN.MAX_ITER", "1"])
    test_py([CONFIG, "~/runs/tiny/last.ckpt", *tiny, "EXP_NAME", "tiny", "--out=~/told"])
    assert (home / "told" / "tiny" / "val" / "summary.json").is_file()
