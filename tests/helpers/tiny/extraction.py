"""A few small images, weights of a backbone, and the extraction of the ones with the other."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clevr_prep.data.extract_resnet101_c4 import main
from snmn.backbones.cellnet import CellNet


def write_weights(path: Path) -> Path:
    """Untrained weights of CellNet; returns the path."""
    torch.manual_seed(1)
    network = CellNet()
    network.fold()
    torch.save(network.state_dict(), path)
    return path


def write_images(root: Path) -> Path:
    """11 images of train and 3 of val, and a file that is none; returns the dataset's folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 11), ("val", 3)):
        folder = root / "images" / split
        folder.mkdir(parents=True)
        for i in reversed(range(count)):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            # Genuine subsets have names that tell of another split.
            Image.fromarray(pixels).save(folder / f"CLEVR_new_{i:06d}.png")
    (root / "images" / "train" / "notes.txt").write_text("no image")
    return root


def extract(dataset: Path, weights: Path, out: Path, *options: str) -> int:
    """The command, in shards of 4 images; its exit status."""
    return main(
        ["--data-dir", str(dataset), "--out", str(out), "--backbone", "cellnet"]
        + ["--weights", str(weights), "--device", "cpu", "--batch-size", "3", "--workers", "0"]
        + ["--shard-size", "4", *options]
    )
