"""Every command of docs/real_clevr.md, in order, on a few images in CLEVR's format.

The commands run as the page has them, in a copy of the project. Programs first in PATH stand for
what cannot be here: `wget` and `unzip` put small datasets in the place of downloads, `uvicorn`
ends once it has answered, and `python` adds settings that make training short and models narrow,
and has extraction use a CPU and weights that this test makes. ResNet-101 is the real one.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (h5py reads zstd with it)
import pytest
import torch
from torchvision.models import ResNet101_Weights

from snmn.checkpoints.checkpoint import read_checkpoint
from tests.helpers.paths import ROOT
from tests.helpers.small_clevr import add_renamed, render_small
from tests.helpers.working_copy import working_copy

PAGE = ROOT / "docs" / "real_clevr.md"
CLEVR = {"train": 4, "val": 3, "test": 2}
TASKS, LAYOUTS = ("vqa", "loc", "joint"), ("gt_layout", "scratch")
EXPERIMENTS = [f"{task}_{layouts}" for task in TASKS for layouts in LAYOUTS]

NARROW = """
    MODEL.EMBED_DIM 8 MODEL.LSTM_DIM 8 MODEL.PE_DIM 4 MODEL.KB_DIM 8 MODEL.VQA_OUTPUT_DIM 8
    MODEL.NMN.MEM_DIM 8 TEST.BATCH_SIZE 4 TRAIN.NUM_WORKERS 0
""".replace("\n", " ")
SHORT = """
    TRAIN.BATCH_SIZE 4 TRAIN.SNAPSHOT_INTERVAL 1 TRAIN.VAL_INTERVAL 2 TRAIN.LOG_INTERVAL 1
    --logger csv --accelerator cpu
""".replace("\n", " ")

PROGRAMS = {
    "pip": """#!/bin/bash
        [ "$1" = install ]""",
    "wget": """#!/bin/bash
        [ "$1" = -c ] && touch "$(basename "$2")" && echo "$2" >> "$SMALL/downloads" """,
    "unzip": """#!/bin/bash
        [ "$1" = -q ] && [ -e "$2" ] && cp -r "$SMALL/$(basename "$2" .zip)" . """,
    "python": rf"""#!/bin/bash
        set -e
        case "$1" in
            */extract_resnet101_c4.py)
                set -- "$@" --weights "$SMALL/resnet101.pth" --device cpu \
                    --precision float32 --workers 0 ;;
            train.py)
                steps=2
                for word in "$@"; do
                    case "$word" in
                        --resume) steps=3 ;;
                        --devices) set -- "$@" --devices 2 ;;
                    esac
                done
                set -- "$@" {NARROW} {SHORT} TRAIN.MAX_ITER $steps ;;
            test.py)
                set -- "$@" {NARROW} ;;
        esac
        exec {sys.executable} -S {ROOT}/tests/helpers/preloaded.py "$SMALL/socket" "$@" """,
    "uvicorn": f"""#!{sys.executable}
import json, os, socket, subprocess, sys, time, urllib.request
arguments = sys.argv[1:]
place = arguments.index("--port") + 1
with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    arguments[place] = str(found.getsockname()[1])
address = f"http://127.0.0.1:{{arguments[place]}}"
server = subprocess.Popen([sys.executable, "-m", "uvicorn", *arguments])
try:
    while True:
        if server.poll() is not None:
            sys.exit("the server ended")
        try:
            health = json.load(urllib.request.urlopen(f"{{address}}/healthz"))
        except OSError:
            health = {{"status": "starting"}}
        if health["status"] == "ok":
            break
        time.sleep(0.2)
    question = b"sample=scene-01&question=How+many+cubes+are+there%3F"
    reply = urllib.request.urlopen(f"{{address}}/api/predict", question).read()
    open(os.environ["SMALL"] + "/reply.json", "wb").write(reply)
finally:
    server.terminate()
    server.wait()
""",
}


def blocks() -> list[str]:
    """The page's fenced bash blocks."""
    return re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def write_programs(folder: Path) -> None:
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def small(tmp_path_factory, resnet):
    """Datasets in the place of downloads, and weights in the place of ImageNet's."""
    root = tmp_path_factory.mktemp("small")
    render_small(root / "CLEVR_v1.0", CLEVR)
    render_small(root / "clevr_loc_dataset", CLEVR, "--loc")
    for letter, counts in (("A", {"train": 4, "val": 2}), ("B", {"train": 0, "val": 2})):
        counts = counts | {"test": 1}
        rendered = render_small(root / f"cogent-{letter}", counts, "--cogent", letter)
        add_renamed(rendered, root / "CLEVR_CoGenT_v1.0", letter)
    torch.save(resnet.state_dict(), root / "resnet101.pth")
    # Where torchvision looks before it downloads.
    cache = root / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    name = ResNet101_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (cache / name).symlink_to(root / "resnet101.pth")
    return root


@pytest.fixture(scope="module")
def preloaded(small):
    """Serves what the `python` of the page runs."""
    command = f"from tests.helpers.preloaded import serve; serve({str(small / 'socket')!r})"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, env=environment) as process:
        while not (small / "socket").exists():
            assert process.poll() is None, "the serving process ended"
            time.sleep(0.1)
        yield
        process.kill()


@pytest.fixture(scope="module")
def done(small, preloaded, tmp_path_factory):
    """The copy in which all commands have run, and what each printed."""
    folder = tmp_path_factory.mktemp("page")
    copy = working_copy(folder / "snmn")
    write_programs(folder / "bin")
    # The page says: "Unpack it so that its folders are".
    shutil.copytree(small / "clevr_loc_dataset", copy / "clevr_prep" / "clevr_loc_dataset")
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SMALL": str(small),
        "TORCH_HOME": str(small / "torch"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    printed = {}
    for block in blocks():
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 0, f"{block}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
        printed[block] = ran.stdout
    return copy, printed


def rows(path: Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def prints(printed: dict[str, str], part: str) -> str:
    """What the one block with this part in it printed."""
    (found,) = [text for block, text in printed.items() if part in block]
    return found


@pytest.mark.slow
def test_every_command_of_the_page_leaves_what_it_promises(small, done):
    copy, printed = done
    # Downloads, and features of every image of every split.
    addresses = (small / "downloads").read_text().split()
    assert [address.rpartition("/")[2] for address in addresses] == [
        "CLEVR_v1.0.zip",
        "CLEVR_CoGenT_v1.0.zip",
    ]
    features = copy / "clevr_prep" / "data" / "features" / "resnet101_c4"
    cogent = {"trainA": 4, "valA": 2, "testA": 1, "valB": 2, "testB": 1}
    stored = CLEVR | {f"loc_{split}": count for split, count in CLEVR.items()} | cogent
    assert {path.name for path in features.iterdir()} == set(stored)
    for split, count in stored.items():
        with h5py.File(features / split / "shard-00000.h5") as shard:
            assert shard["features"].shape == (count, 14, 14, 1024)
            assert shard["features"].dtype == "float16" and shard["features"][:].any()

    # Six experiments; those without layouts from four seeds; one that went on; two processes.
    for experiment in EXPERIMENTS:
        run = copy / "runs" / experiment
        if experiment.endswith("scratch"):
            restarts = json.loads((run / "restarts.json").read_text())
            assert [one["seed"] for one in restarts["runs"]] == [0, 1, 2, 3]
            assert (run / "best.ckpt").is_file()
        else:
            updates = 2 if experiment.startswith("joint") else 1
            steps = 3 if experiment == "vqa_gt_layout" else 2
            assert read_checkpoint(run / "last.ckpt")["global_step"] == steps * updates
    assert "2 processes make batches of 2 x 4" in prints(printed, "--devices")

    # Tests: intervals, explanation with figures, answers to hand in, both tasks, both conditions.
    tested = prints(printed, "vqa_scratch/best")
    assert re.search(r"^all +9 +\d\.\d+ +\d\.\d+-\d\.\d+", tested, re.M)
    explained = copy / "results" / "explained" / "vqa_gt_layout" / "val"
    assert json.loads((explained / "summary.json").read_text())["explanation"]
    assert len(list((explained / "vis").rglob("*.png"))) == 9
    answers = copy / "results" / "vqa_gt_layout" / "test" / "CLEVR_test_answers.txt"
    assert len(answers.read_text().split()) == 3 * CLEVR["test"]
    for split, count in (("val", 9), ("loc_val", 9)):
        assert len(rows(copy / "results" / "joint_scratch" / split / "predictions.csv")) == count
    for split in ("valA", "valB"):
        predicted = rows(copy / "results" / "cogent" / split / "predictions.csv")
        assert [row["image"][:11] for row in predicted] == [f"CLEVR_{split}_"] * 6

    # Shared, asked and shown.
    small_model = (copy / "models" / "vqa_gt_layout.ckpt").stat().st_size
    assert 0 < small_model < (copy / "runs" / "vqa_gt_layout" / "last.ckpt").stat().st_size / 4
    assert "answer: " in prints(printed, "snmn.predict") and (copy / "steps.png").is_file()
    reply = json.loads((small / "reply.json").read_text())
    assert reply["model"] == "vqa_gt_layout" and reply["answer"]

    # The counts that the page's hours are made from.
    counted = re.sub(" +", " ", prints(printed, "benchmarks.flops"))
    for figure in ("27.5 M parameters", "13.98 GFLOP", "1.40 PFLOP", "72.6 GFLOP", "14.5 PFLOP"):
        assert figure in counted and figure in PAGE.read_text()
