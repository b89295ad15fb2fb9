"""Extract image features of a CLEVR-format dataset into feature stores, one folder per split.

    cd clevr_prep/data; python extract_resnet101_c4.py
    cd clevr_prep/data; python extract_resnet101_c4.py --loc

Images are ROOT/images/<split>/*.png or .jpg. Features go to OUT/<split>/shard-*.h5. What a run has
finished is not done again: after an interruption, start the same command once more. Images that
cannot be used are named at the end, and the others kept.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # This file is also run as a script, from its own folder.

from clevr_prep.clevr.question_files import CLEVR_REF_ROOT, CLEVR_ROOT, DatasetError  # noqa: E402
from clevr_prep.data.extraction import PRECISIONS, extract, pick_device  # noqa: E402
from clevr_prep.data.images import (  # noqa: E402
    find_images,
    find_splits,
    unread_images,
    usual_size,
)
from snmn.backbones import BACKBONES, build_backbone  # noqa: E402
from snmn.common.errors import UserError  # noqa: E402
from snmn.common.paths import home_path  # noqa: E402
from snmn.data.feature_shards import COMPRESSIONS  # noqa: E402
from snmn.data.feature_writer import DEFAULT_SHARD_SIZE, DTYPES  # noqa: E402

DEFAULT_OUT = ROOT / "clevr_prep" / "data" / "features"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this script."""
    backbones = "; ".join(
        f"{entry.name}: {entry.about}, {entry.dim} x {entry.grid[0]} x {entry.grid[1]}"
        for entry in BACKBONES.values()
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--loc", action="store_true", help="splits of CLEVR-Ref, images/loc_*, instead of CLEVR's")
    roots = f"(default: {CLEVR_ROOT}, with --loc {CLEVR_REF_ROOT})"
    add("--data-dir", type=home_path, metavar="ROOT", help=f"dataset root {roots}")
    add("--out", type=home_path, help=f"folder of the stores (default: {DEFAULT_OUT}/<backbone>)")
    add("--backbone", choices=BACKBONES, default="resnet101_c4", help=backbones)
    add(
        "--weights",
        type=home_path,
        help="file with torchvision's resnet101 state dict, or cellnet's (default: torchvision's "
        "ImageNet weights, downloaded once; those that come with cellnet)",
    )
    add(
        "--preprocess",
        help="for ResNet, imagenet (default) or caffe: subtract the mean only, to match features "
        "of the earlier codebases",
    )
    add("--split", nargs="+", action="extend", help="splits to do (default: all)")
    add("--limit", type=int, help="only the first so many images of each split")
    add("--any-size", action="store_true", help="also take images not as large as the others")
    add("--batch-size", type=int, default=32, help="images at a time (default: %(default)s)")
    workers = max(1, min(8, (os.cpu_count() or 1) // 2))
    add("--workers", type=int, default=workers, help="decoding processes (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="of the convolutions (default: bfloat16 with CUDA, else float32)",
    )
    add("--dtype", choices=DTYPES, default="float16", help="stored as (default: %(default)s)")
    add(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="zstd takes a third to two thirds of the disk but is read more slowly; it needs the "
        "package hdf5plugin (default: %(default)s)",
    )
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
    args.data_dir = args.data_dir or (CLEVR_REF_ROOT if args.loc else CLEVR_ROOT)
    args.out = args.out or DEFAULT_OUT / args.backbone
    return args


def run(args: argparse.Namespace, failures: list[str]) -> None:
    """Extract every split asked for; ``failures`` gets a sentence on all that is left out."""
    images: dict[str, list[Path]] = {}
    missing: list[str] = []
    for split in args.split or find_splits(args.data_dir, loc=args.loc):
        try:
            images[split] = find_images(args.data_dir, split)
            missing += filter(None, [unread_images(args.data_dir, split)])
        except DatasetError as error:
            missing.append(str(error))
    if not images:
        raise DatasetError("; ".join(missing))
    failures += missing
    for failure in missing:
        print(f"left out: {failure}", file=sys.stderr)  # Now already: the others may take hours.
    backbone = build_backbone(args.backbone, weights=args.weights, preprocess=args.preprocess)
    device = pick_device(args.device)
    backbone.to(device)
    for split, paths in images.items():
        before = len(failures)
        chosen = paths[: args.limit]
        extract(
            backbone,
            chosen,
            args.out / split,
            failures,
            device=device,
            precision=args.precision or ("bfloat16" if device.type == "cuda" else "float32"),
            size=None if args.any_size else usual_size(paths),
            batch_size=args.batch_size,
            workers=args.workers,
            dtype=args.dtype,
            compression=args.compression,
            shard_size=args.shard_size,
            title=split,
        )
        kept = len(chosen) - (len(failures) - before)
        print(f"{split}: {kept} of {len(chosen)} images in {args.out / split}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code.

    0; 1 when something was left out; 2 when an error, or an interruption, ended the run.
    """
    args = parse(argv)
    failures: list[str] = []
    ended = ""
    try:
        run(args, failures)
    except (UserError, OSError) as error:
        ended = f"error: {error}"
    except KeyboardInterrupt:
        ended = "interrupted; the same command goes on where it was"
    for failure in failures:
        print(f"left out: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} left out; mend them and run again", file=sys.stderr)
    if ended:
        print(ended, file=sys.stderr)
    return 2 if ended else int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
