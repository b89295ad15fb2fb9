"""Makes a small checkpoint for sharing: averaged weights only, in float16.

    python -m snmn.export runs/vqa_gt_layout/last.ckpt vqa_gt_layout.ckpt
    python -m snmn.export --format safetensors runs/vqa_gt_layout/last.ckpt vqa_gt_layout

The second makes a folder as model hubs have them: model.safetensors, config.json and a card,
README.md; it takes the package safetensors. Both load like any other checkpoint, with
`snmn.load_model`, `snmn.Predictor`, snmn.predict and test.py, but training cannot be resumed from
them.
"""

import argparse
from pathlib import Path
from typing import Any

from snmn.checkpoints.bundled import read_card
from snmn.checkpoints.checkpoint import (
    model_state,
    module_names,
    read_checkpoint,
    vocabularies,
)
from snmn.checkpoints.checks import PREFIX
from snmn.checkpoints.hub_card import hub_card
from snmn.checkpoints.model_folder import WEIGHTS, write_folder
from snmn.common.commands import run
from snmn.common.paths import home_path
from snmn.storage.torch_file import write_torch_file

FORMATS = ("ckpt", "safetensors")


def export(checkpoint: Path, out: Path) -> int:
    """Write the small checkpoint; returns its size in bytes."""
    write_torch_file(out, _averaged(read_checkpoint(checkpoint)))
    return out.stat().st_size


def export_folder(checkpoint: Path, out: Path) -> int:
    """Write the folder; returns the size of its weights in bytes."""
    small, card = _averaged(read_checkpoint(checkpoint)), read_card(checkpoint)
    # A checkpoint that was exported before may say in its card alone what features it takes.
    if "features" not in small and isinstance(card.get("features"), str):
        small["features"] = {"backbone": card["features"]}
    write_folder(out, small, hub_card(out.resolve().name, small, card))
    return (out / WEIGHTS).stat().st_size


def _averaged(full: dict[str, Any]) -> dict[str, Any]:
    """The averaged weights of a checkpoint in float16, and what it takes to load them."""
    state = model_state(full, ema=True)
    small = {
        "state_dict": {PREFIX + name: value.half() for name, value in state.items()},
        "hyper_parameters": full["hyper_parameters"],
        "vocabularies": vocabularies(module_names(full)),
    }
    return small | {name: full[name] for name in ("features",) if name in full}


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m snmn.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=home_path, help="made by train.py or snmn.convert")
    parser.add_argument("out", type=home_path, help="checkpoint or folder to write")
    parser.add_argument(
        "--format", choices=FORMATS, default="ckpt", help="a checkpoint (default) or a folder"
    )
    given = parser.parse_args(arguments)
    run(lambda: _export(given.checkpoint, given.out, given.format), "snmn.export")


def _export(checkpoint: Path, out: Path, format: str) -> None:
    write = export if format == "ckpt" else export_folder
    print(f"{out}: {write(checkpoint, out) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
