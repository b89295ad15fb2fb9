"""Makes a small checkpoint for sharing: averaged weights only, in float16.

    python -m snmn.export runs/vqa_gt_layout/last.ckpt vqa_gt_layout.ckpt

The result loads like any other checkpoint, with `snmn.load_model` and test.py, but training cannot
be resumed from it.
"""

import argparse
from pathlib import Path

from snmn.checkpoints.checkpoint import (
    model_state,
    module_names,
    read_checkpoint,
    vocabularies,
)
from snmn.checkpoints.checks import PREFIX
from snmn.common.commands import run
from snmn.common.paths import home_path
from snmn.storage.torch_file import write_torch_file


def export(checkpoint: Path, out: Path) -> int:
    """Write the small checkpoint; returns its size in bytes."""
    full = read_checkpoint(checkpoint)
    state = model_state(full, ema=True)
    small = {
        "state_dict": {PREFIX + name: value.half() for name, value in state.items()},
        "hyper_parameters": full["hyper_parameters"],
        "vocabularies": vocabularies(module_names(full)),
    }
    write_torch_file(out, small)
    return out.stat().st_size


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m snmn.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=home_path, help="made by train.py or snmn.convert")
    parser.add_argument("out", type=home_path, help="checkpoint to write")
    given = parser.parse_args(arguments)
    run(lambda: _export(given.checkpoint, given.out), "snmn.export")


def _export(checkpoint: Path, out: Path) -> None:
    print(f"{out}: {export(checkpoint, out) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
