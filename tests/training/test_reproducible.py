"""The same seed gives the same bytes: data, training and test, in processes of their own.

Each process hashes text differently, and the second one works with another number of helpers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snmn.checkpoints.checkpoint import read_checkpoint
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

# Arguments: folder of results, number of helpers, overrides of the configuration.
WORK = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import torch
torch.set_num_threads(1)
import test, train
from clevr_prep.synthetic.__main__ import main as render

if __name__ == "__main__":  # Workers that render import this file.
    folder, helpers, *overrides = sys.argv[1:]
    common = ["--val", "2", "--test", "0", "--width", "60", "--height", "40", "--samples", "1"]
    for kind in ([], ["--loc"]):
        name = "loc" if kind else "vqa"
        made = [f"{{folder}}/{{name}}", "--train", "5", "--workers", helpers]
        assert render([*made, *common, *kind]) == 0
    config = {str(ROOT / "configs" / "mini_joint_scratch.yaml")!r}
    overrides += ["TRAIN.NUM_WORKERS", helpers, "EXP_NAME", "run", "TRAIN.MAX_ITER", "4"]
    overrides += ["TRAIN.DROPOUT_KEEP_PROB", "0.7", "TRAIN.SNAPSHOT_DIR", f"{{folder}}/runs/%s/"]
    train.main([config, *overrides, "-s", "7", "--logger", "none"])
    checkpoint = f"{{folder}}/runs/run/last.ckpt"
    test.main([config, checkpoint, "--out", f"{{folder}}/results", *overrides])
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("reproducible")
    overrides = write_experiment(root)
    script = root / "work.py"
    script.write_text(WORK)
    running = []
    for number in ("1", "2"):
        folder = root / number
        environment = os.environ | {"PYTHONHASHSEED": number, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script), str(folder), number, *map(str, overrides)]
        running.append(subprocess.Popen(command, env=environment, cwd=root))
    assert [process.wait(timeout=600) for process in running] == [0, 0]
    return root / "1", root / "2"


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vqa", "loc"])
def test_data(both, kind):
    first, second = (files(folder / kind) for folder in both)
    assert len([name for name in first if name.endswith(".png")]) >= 7
    assert first == second


@pytest.mark.slow
def test_training(both):
    first, second = (read_checkpoint(folder / "runs" / "run" / "last.ckpt") for folder in both)
    assert first["global_step"] == 8  # Two updates an iteration.
    for part in ("state_dict", "ema_state_dict", "optimizer_states"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)


@pytest.mark.slow
def test_testing(both):
    first, second = (files(folder / "results") for folder in both)
    assert {Path(name).name for name in first} >= {"predictions.csv", "summary.json"}
    for name, content in first.items():
        if name.endswith("summary.json"):
            # Both say which files they are about.
            one, other = json.loads(content), json.loads(second[name])
            for summary in (one, other):
                del summary["checkpoint"], summary["command"]
            assert one == other
        else:
            assert second[name] == content, name
    assert first.keys() == second.keys()
