"""The checkpoint that a run begins from, as its command line or its configuration says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import check_model, check_resumable
from snmn.common.paths import visible_files
from snmn.data.data_module import CLEVRDataModule
from snmn.training.resuming.newest_checkpoint import newest_resumable
from snmn.training.resuming.run_identity import another_run, data_identity, run_identity


def named_checkpoint(settings: Mapping[str, Any], directory: Path) -> Path | None:
    """The checkpoint that nested settings name, to go on from; None if they name none.

    Raises CheckpointError for one that no training, or none of this model, can go on from: now,
    rather than after loading the data.
    """
    if settings["LOAD"]:
        path = Path(settings["CHECKPOINT_FILENAME"])
    elif settings["TRAIN"]["START_ITER"]:
        path = directory / f"step={settings['TRAIN']['START_ITER']:08d}.ckpt"
    else:
        return None
    checkpoint = read_checkpoint(path)
    check_resumable(path, checkpoint)
    check_model(path, checkpoint, dict(settings))
    return path


def own_checkpoint(
    settings: Mapping[str, Any], directory: Path, data: CLEVRDataModule, *, seed: int, updates: int
) -> tuple[Path | None, str]:
    """The newest checkpoint of the same run in its folder, and a note on it or on another run's.

    Args:
        settings: of the run, nested.
        directory: its folder.
        data: its data, which are set up for training to tell them from others.
        seed: of the run.
        updates: of an iteration.
    """
    if not visible_files(directory, "*.ckpt"):
        return None, ""
    data.setup("fit")
    identity = run_identity(settings, seed=seed, data=data_identity(data))
    interval = settings["TRAIN"]["VAL_INTERVAL"]
    found = newest_resumable(directory, updates=updates, interval=interval, identity=identity)
    if found:
        return found[0], f"going on from {found[0]}"
    return None, another_run(directory, identity)
