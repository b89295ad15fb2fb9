"""What extraction and training cost at full size: `python -m benchmarks.full_size`.

First a training step and an extraction step, in turns with a matrix product whose rate tells what
the processor can do: the utilisation, which `python -m benchmarks.flops` takes, is FLOP / (time x
rate). Time is one core's processor time, so that other load on the machine matters little. Then the
most memory that the commands take, each with all its processes, on a small dataset of images of
CLEVR's size, as Linux tells it (/proc). ResNet-101 has random weights, which cost what others do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import resnet101

from benchmarks.flops import extraction
from benchmarks.imdb import PER_IMAGE, ROOT, describe, peak_memory, write_questions
from benchmarks.step import CELLS, Step, medians, operations
from snmn.backbones import build_backbone
from snmn.common.freed_memory import keep_freed_memory

SIZE = (480, 320)  # of CLEVR's images
BATCH = 32  # images at a time, the extraction's default


def write_weights(path: Path) -> None:
    """ResNet-101 as it is before training."""
    torch.manual_seed(0)
    torch.save(resnet101(weights=None).state_dict(), path)


def write_dataset(root: Path, images: int) -> None:
    """Images of noise, and ten questions about each."""
    write_questions(root, images * PER_IMAGE, images * PER_IMAGE)
    rng, folder = np.random.default_rng(0), root / "images" / "train"
    folder.mkdir(parents=True)
    for image in range(images):
        pixels = rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"CLEVR_train_{image:06d}.png", compress_level=1)


def cost(weights: Path, repeats: int) -> None:
    """Print rate, times and utilisations."""
    left, right = torch.randn(64 * CELLS, 1024), torch.randn(1024, 512)
    step, backbone = Step(images=64, each=1), build_backbone("resnet101_c4", weights=weights)
    pixels = torch.zeros(BATCH, 224, 224, 3, dtype=torch.uint8)
    seconds = medians(
        repeats,
        time.process_time,
        product=lambda: torch.mm(left, right),
        train=step.train,
        extract=lambda: backbone(backbone.normalise(pixels)),
    )
    rate = 2 * len(left) * right.numel() / seconds["product"]
    print(f"a matrix product: {rate / 1e9:.0f} GFLOP/s of one core")
    work = {"train": operations(step.train), "extract": BATCH * extraction()[0]}
    for name, items, unit in (("train", len(step), "questions"), ("extract", BATCH, "images")):
        print(
            f"{name}: {1000 * seconds[name]:.0f} ms for {items} {unit}, "
            f"{items / seconds[name]:.1f} a second, "
            f"utilisation {work[name] / seconds[name] / rate:.2f}"
        )


def memory(root: Path, weights: Path, config: str, steps: int) -> None:
    """Print the peak memory of extraction, training and testing."""
    stores, imdb, runs = root / "features", root / "imdb", root / "runs"
    overrides = ["FEATURE_DIR", f"{stores}/%s", "IMDB_FILE", f"{imdb}/imdb_%s.h5"]
    overrides += ["TEST.SPLIT_VQA", "train", "EXP_NAME", "full"]
    commands = {
        "extraction": ["clevr_prep/data/extract_resnet101_c4.py", "--data-dir", root]
        + ["--out", stores, "--weights", weights],
        "layouts": ["clevr_prep/data/get_ground_truth_layout.py", "--data-dir", root],
        "imdb": ["clevr_prep/data/build_clevr_imdb.py", "--data-dir", root, "--out", imdb],
        "training": ["train.py", config, *overrides, "--logger", "none", "TRAIN.MAX_ITER", steps]
        + ["TRAIN.SNAPSHOT_DIR", f"{runs}/%s/"],
        "testing": ["test.py", config, runs / "full" / "last.ckpt", *overrides]
        + ["--out", root / "results"],
    }
    for name, command in commands.items():
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak = peak_memory(process.pid, lambda process=process: process.poll() is None)
        if process.returncode:
            sys.exit(f"{name} failed: {' '.join(process.args)}")
        print(f"{name}: {describe(peak)}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="rounds, of which the median")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="of the training that is looked at")
    parser.add_argument("--config", default="configs/vqa_gt_layout.yaml")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        weights = root / "resnet101.pth"
        write_weights(weights)
        cost(weights, options.repeats)
        write_dataset(root, options.images)
        memory(root, weights, options.config, options.steps)


if __name__ == "__main__":
    main()
