"""Which run a checkpoint is of: its settings, its seed, and the data that it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.checkpoints.published_settings import flatten
from snmn.data.data_module import CLEVRDataModule

# How a run was begun, not which one it is.
_BEGINNING = ("LOAD", "CHECKPOINT_FILENAME", "TRAIN.START_ITER")


def data_identity(data: CLEVRDataModule) -> dict[str, Any]:
    """What checkpoints say of the data of a run, once it is set up: features and questions."""
    return {"features": data.feature_identity(), "questions": data.question_checksums()}


def run_identity(
    settings: Mapping[str, Any], *, seed: int, data: Mapping[str, Any]
) -> dict[str, Any]:
    """What makes a run the run it is, by name.

    Args:
        settings: of its configuration, nested.
        seed: of the run.
        data: its `data_identity`.
    """
    flat = {key: value for key, value in flatten(dict(settings)).items() if key not in _BEGINNING}
    return flat | {"-s": seed} | flatten(dict(data))


def saved_identity(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """That of a checkpoint's run."""
    hyper = checkpoint["hyper_parameters"]
    data = {name: checkpoint.get(name) or {} for name in ("features", "questions")}
    return run_identity(hyper.get("config") or {}, seed=hyper.get("seed", 0), data=data)


def another_run(folder: Path, identity: Mapping[str, Any]) -> str:
    """A note on a folder whose last checkpoint is of another run; empty if it is not."""
    try:
        found = saved_identity(read_checkpoint(folder / "last.ckpt"))
    except CheckpointError:
        return ""
    for key in [*identity, *found]:
        if found.get(key) != identity.get(key):
            what = f"{key} {found.get(key)}, not {identity.get(key)}"
            if key.startswith("questions."):
                what = f"other questions for {key.partition('.')[2]} than there are now"
            return f"{folder}/last.ckpt is of a run with {what}: beginning anew"
    return ""
