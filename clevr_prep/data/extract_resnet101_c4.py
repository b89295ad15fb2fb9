"""Extract image features of a CLEVR-format dataset into feature stores, one folder per split.

Images are DATA_DIR/images/<split>/*.png. Features go to OUT/<split>/shard-*.h5. What a run has
finished is not done again: after an interruption, start the same command once more.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # This file is also run as a script, from its own folder.

from clevr_prep.backbones import BACKBONES, Backbone, BackboneError, build_backbone  # noqa: E402
from clevr_prep.backbones.base import resize_rgb  # noqa: E402
from snmn.feature_store import FeatureStoreError, FeatureWriter  # noqa: E402
from snmn.feature_writer import DEFAULT_SHARD_SIZE, DTYPES  # noqa: E402

DEFAULT_DATA = ROOT / "clevr_prep" / "clevr_dataset"
DEFAULT_OUT = ROOT / "clevr_prep" / "data" / "features"
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


class DatasetError(RuntimeError):
    """The dataset folder lacks something; the message is fit for a user."""


class ImageFiles(Dataset):
    """Item i is (file name, resized uint8 RGB [size, size, 3] or None, what went wrong or "")."""

    def __init__(self, paths: Sequence[Path], size: int):
        self.paths, self.size = list(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[str, np.ndarray | None, str]:
        path = self.paths[position]
        try:
            with Image.open(path) as image:
                return path.name, resize_rgb(image, self.size), ""
        except Exception as error:  # A damaged file can fail in any of a decoder's ways.
            return path.name, None, f"{type(error).__name__}: {error}"


def find_images(data: Path, split: str) -> list[Path]:
    """Image files of a split in the order of their names; DatasetError when there are none."""
    folder = data / "images" / split
    if not folder.is_dir():
        raise DatasetError(f"no image folder {folder}; --data-dir names the dataset")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise DatasetError(f"no image in {folder}")
    return images


def find_splits(data: Path) -> list[str]:
    """Names of a dataset's splits; DatasetError when there are none."""
    folder = data / "images"
    splits = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    if not splits:
        raise DatasetError(
            f"no dataset in {data}: there is no folder images/<split>; --data-dir names it"
        )
    return splits


def grouped(
    loader: DataLoader, writer: FeatureWriter, batch_size: int, failures: dict[str, str], bar: tqdm
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Batches (names, pixels) of the readable images; the others go to ``failures``.

    A batch never spans two shards, so that a shard's bytes do not depend on where a run began.
    """
    names: list[str] = []
    images: list[np.ndarray] = []
    for name, pixels, failure in loader:
        if pixels is None:
            failures[name] = failure
            bar.update(1)
            continue
        names.append(name)
        images.append(pixels)
        if len(names) == min(batch_size, writer.room):
            yield names, images
            names, images = [], []
    if names:
        yield names, images


def extract(
    backbone: Backbone,
    images: Sequence[Path],
    folder: Path,
    *,
    device: torch.device,
    batch_size: int = 32,
    workers: int = 1,
    dtype: str = "float16",
    shard_size: int = DEFAULT_SHARD_SIZE,
    title: str = "",
) -> dict[str, str]:
    """Add the features of images that a store lacks.

    Args:
        backbone: on ``device``.
        images: image files, in the order to store them.
        folder: feature store.
        device: where the backbone runs.
        batch_size: images at a time.
        workers: decoding processes; 0 decodes in this one.
        dtype: of the stored features.
        shard_size: images per shard.
        title: name on the progress bar.

    Returns:
        {file name: what went wrong} of unreadable images.

    Raises:
        FeatureStoreError: the folder cannot be written, or has features made otherwise.
    """
    failures: dict[str, str] = {}
    with FeatureWriter(
        folder, attributes=backbone.attributes, dtype=dtype, shard_size=shard_size
    ) as writer:
        missing = [path for path in images if path.name not in writer.done]
        loader = DataLoader(
            ImageFiles(missing, backbone.image_size),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 * batch_size if workers else None,
        )
        done = len(images) - len(missing)
        with tqdm(
            total=len(images), initial=done, desc=title, unit="image", dynamic_ncols=True
        ) as bar:
            for names, pixels in grouped(loader, writer, batch_size, failures, bar):
                inputs = backbone.normalise(torch.from_numpy(np.stack(pixels)).to(device))
                writer.add(names, backbone(inputs).cpu().numpy())
                bar.update(len(names))
    return failures


def pick_device(name: str) -> torch.device:
    """Device by name; auto is CUDA, Apple's MPS or the CPU, whichever is there first.

    BackboneError for a device that this machine or torch does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"device {name!r} cannot be used: {reason}") from error


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this script."""
    backbones = "; ".join(
        f"{entry.name}: {entry.about}, {entry.dim} x {entry.grid[0]} x {entry.grid[1]}"
        for entry in BACKBONES.values()
    )
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data-dir", type=Path, default=DEFAULT_DATA, help="dataset (default: %(default)s)")
    add("--out", type=Path, help=f"folder of the stores (default: {DEFAULT_OUT}/<backbone>)")
    add("--backbone", choices=BACKBONES, default="resnet101_c4", help=backbones)
    add("--weights", type=Path, help="file with the backbone's state dict")
    add("--preprocess", help="imagenet (default) or caffe (mean only) for ResNet")
    add("--split", action="append", help="only this split; may be repeated (default: all)")
    add("--limit", type=int, help="only the first so many images of each split")
    add("--batch-size", type=int, default=32, help="images at a time (default: %(default)s)")
    workers = max(1, min(8, (os.cpu_count() or 1) // 2))
    add("--workers", type=int, default=workers, help="decoding processes (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    add("--dtype", choices=DTYPES, default="float16", help="stored as (default: %(default)s)")
    add(
        "--shard-size",
        type=int,
        default=DEFAULT_SHARD_SIZE,
        help="images per file; an interruption costs at most so many (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    for name in ("limit", "batch_size", "shard_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.workers < 0:
        parser.error("--workers must not be negative")
    args.out = args.out or DEFAULT_OUT / args.backbone
    return args


def run(args: argparse.Namespace) -> dict[str, str]:
    """Extract every split asked for; {image path: what went wrong} of unreadable images."""
    splits = args.split or find_splits(args.data_dir)
    images = {split: find_images(args.data_dir, split)[: args.limit] for split in splits}
    backbone = build_backbone(args.backbone, weights=args.weights, preprocess=args.preprocess)
    device = pick_device(args.device)
    backbone.to(device)
    failures: dict[str, str] = {}
    for split, paths in images.items():
        failed = extract(
            backbone,
            paths,
            args.out / split,
            device=device,
            batch_size=args.batch_size,
            workers=args.workers,
            dtype=args.dtype,
            shard_size=args.shard_size,
            title=split,
        )
        failures |= {str(args.data_dir / "images" / split / n): f for n, f in failed.items()}
        print(f"{split}: {len(paths) - len(failed)} of {len(paths)} images in {args.out / split}")
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 1 when images were unreadable, 2 when all failed."""
    args = parse(argv)
    try:
        failures = run(args)
    except (DatasetError, BackboneError, FeatureStoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path, failure in failures.items():
        print(f"unreadable: {path} ({failure})", file=sys.stderr)
    if failures:
        print(f"{len(failures)} images left out; mend them and run again", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
