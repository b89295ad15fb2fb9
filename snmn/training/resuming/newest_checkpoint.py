"""Which checkpoint of a run's folder is the newest one: to name it, or to go on from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError, check_resumable
from snmn.common.paths import visible_files
from snmn.training.resuming.run_identity import saved_identity
from snmn.training.resuming.score_history import saved_scores


def newest_checkpoint(folder: Path | None) -> Path | None:
    """The checkpoint of a folder that was written last; none is read. None without any."""
    found = visible_files(folder, "*.ckpt") if folder else ()
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def newest_resumable(
    folder: Path, *, updates: int, interval: int, identity: Mapping[str, Any] | None = None
) -> tuple[Path, dict] | None:
    """The checkpoint of most steps that a run can go on from as if unbroken, and its content.

    Of an iteration in which a validation is due, only what was saved after it will do. Files that
    cannot be read or gone on from are passed over.

    Args:
        folder: of the run.
        updates: of an iteration.
        interval: iterations between validations.
        identity: of the run (`run_identity`), to pass over the checkpoints of others.
    """
    best, most = None, -1
    for path in visible_files(folder, "*.ckpt"):
        try:
            checkpoint = read_checkpoint(path)
            check_resumable(path, checkpoint)
        except CheckpointError:
            continue
        if identity is not None and saved_identity(checkpoint) != identity:
            continue
        done = checkpoint["global_step"]
        due = range(interval, done // updates + 1, interval)
        if done > most and set(due) <= set(saved_scores(checkpoint)):
            best, most = (path, checkpoint), done
    return best
