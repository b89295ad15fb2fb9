"""Which run a checkpoint is of: the settings and the seed that it was trained with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.checkpoints.published_settings import flatten

# How a run was begun, not which one it is.
_BEGINNING = ("LOAD", "CHECKPOINT_FILENAME", "TRAIN.START_ITER")


def run_settings(settings: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """What makes a run the run it is: the settings of its configuration by dotted key, and seed."""
    flat = {key: value for key, value in flatten(dict(settings)).items() if key not in _BEGINNING}
    return flat | {"-s": seed}


def settings_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a checkpoint's run."""
    hyper = checkpoint["hyper_parameters"]
    return run_settings(hyper.get("config") or {}, seed=hyper.get("seed", 0))


def another_run(folder: Path, settings: Mapping[str, Any]) -> str:
    """A note on a folder whose last checkpoint is of a run with other settings; empty if not."""
    try:
        found = settings_of(read_checkpoint(folder / "last.ckpt"))
    except CheckpointError:
        return ""
    for key in [*settings, *found]:
        if found.get(key) != settings.get(key):
            return (
                f"{folder}/last.ckpt is of a run with {key} {found.get(key)}, not "
                f"{settings.get(key)}: beginning anew"
            )
    return ""
