"""Train the CellNet backbone on rendered scenes, or measure it.

    python -m clevr_prep.train_cellnet DATASET... --out runs/cellnet --steps 6000
    python -m clevr_prep.train_cellnet --evaluate DATASET [--split val] [--weights FILE]

A DATASET is a CLEVR-format folder (images/<split>, scenes/CLEVR_<split>_scenes.json). A run writes
checkpoint.pt (to go on from when started again), log.csv, and at the end cellnet.pt (weights) and
cellnet.json (how they were made and how good they are).
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from clevr_prep.pretraining.data import find_scenes
from clevr_prep.pretraining.evaluate import evaluate, report
from clevr_prep.pretraining.export import export_weights, record
from clevr_prep.pretraining.run import TrainingRun
from snmn.backbones.cellnet import WEIGHTS, load_cellnet
from snmn.common.commands import sentence
from snmn.common.errors import INTERRUPTED, UserError
from snmn.common.paths import home_path


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line of this script."""
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.train_cellnet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("datasets", nargs="*", type=home_path, help="folders to train on")
    parser.add_argument(
        "--evaluate", type=home_path, metavar="DATASET", help="measure, do not train"
    )
    parser.add_argument("--split", help="split to use (train; val with --evaluate)")
    parser.add_argument("--weights", type=home_path, default=WEIGHTS, help="weights to measure")
    parser.add_argument(
        "--out", type=home_path, default=Path("runs/cellnet"), help="folder of the run"
    )
    parser.add_argument(
        "--validate",
        nargs="+",
        default=[],
        type=home_path,
        metavar="DATASET",
        help="measure on the val split of these as well; the first also during training",
    )
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps (default 6000)")
    parser.add_argument("--batch-size", type=int, default=32, help="images a step (default 32)")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.02, help="AdamW's (default 0.02)")
    parser.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    parser.add_argument("--no-mirror", dest="mirror", action="store_false", help="never flip")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="bfloat16",
        help="of convolutions; bfloat16 is twice as fast on CPUs that have it, and several times "
        "slower on others",
    )
    parser.add_argument("--workers", type=int, default=1, help="decoding processes (default 1)")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    args = parser.parse_args(argv)
    if bool(args.datasets) == bool(args.evaluate):
        parser.error("give either datasets to train on or --evaluate DATASET")
    for name in ("steps", "batch_size", "every"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return args


def train(args: argparse.Namespace) -> None:
    """Run the training to its end, continuing an interrupted one, and write the weights."""
    pairs = [pair for root in args.datasets for pair in find_scenes(root, args.split or "train")]
    validation = {root.name: find_scenes(root, "val") for root in args.validate}
    first = next(iter(validation.values()), [])[:200]
    args.out.mkdir(parents=True, exist_ok=True)
    run = TrainingRun(
        pairs,
        folder=args.out,
        steps=args.steps,
        batch_size=args.batch_size,
        lr=args.lr,
        weight_decay=args.weight_decay,
        seed=args.seed,
        mirror=args.mirror,
        bfloat16=args.precision == "bfloat16",
        workers=args.workers,
        every=args.every,
    )
    print(f"{len(pairs)} images, steps {run.step} to {args.steps}")
    started = time.monotonic()
    with tqdm(total=args.steps, initial=run.step, unit="step", dynamic_ncols=True) as bar:
        for losses in run:
            bar.update(1)
            bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in losses.items()), refresh=False)
            if first and run.step % args.every == 0 and run.step < args.steps:
                tqdm.write(report(f"step {run.step}", evaluate(run.average, first)))
    path = export_weights(run.average, pairs, args.out)
    record(
        path,
        command="python -m clevr_prep.train_cellnet " + " ".join(sys.argv[1:]),
        training={
            **run.settings,
            "images": len(pairs),
            "minutes": round((time.monotonic() - started) / 60, 1),
            "threads": torch.get_num_threads(),
        },
    )
    network = load_cellnet(path)
    measured = {name: evaluate(network, found) for name, found in validation.items()}
    for name, result in measured.items():
        print(report(name, result))
    record(path, validation=measured)
    print(f"weights: {path}, card: {path.with_suffix('.json')}")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    try:
        if args.evaluate:
            pairs = find_scenes(args.evaluate, args.split or "val")
            print(report(str(args.evaluate), evaluate(load_cellnet(args.weights), pairs)))
        else:
            train(args)
    except (UserError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
