"""Which checkpoints training keeps, and how they are written."""

import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only

from snmn.checkpoints.checks import CheckpointError
from snmn.storage.torch_file import write_torch_file
from snmn.storage.whole_files import remove_partials, replacing
from snmn.training.resuming.newest_checkpoint import newest_checkpoint


class WholeCheckpoints(TorchCheckpointIO):
    """Writes Lightning's checkpoints whole or not at all; see `snmn.storage.whole_files`."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint. Raises `CheckpointError` where there is no room for it."""
        try:
            write_torch_file(path, checkpoint)
        except OSError as error:
            newest = newest_checkpoint(Path(path).parent)
            advice = f"go on with --resume {newest}" if newest else "start again"
            raise CheckpointError(
                f"cannot write {path} ({error.strerror or error}): make room, then {advice}"
            ) from error


def checkpoint_callbacks(directory: Path, *, every: int) -> list[ModelCheckpoint]:
    """The best checkpoint on validation, the last one, and one ``every`` so many updates."""
    best = ModelCheckpoint(
        dirpath=directory, filename="best-{step:08d}", monitor="val/score", mode="max"
    )
    # Lightning's own save_last follows only those checkpoints that were worth keeping.
    last = ModelCheckpoint(dirpath=directory, filename="last", enable_version_counter=False)
    regular = ModelCheckpoint(
        dirpath=directory, filename="{step:08d}", every_n_train_steps=every, save_top_k=-1
    )
    return [best, last, regular]


@rank_zero_only
def keep_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint, if it is not there already."""
    if source.resolve() != target.resolve():
        with replacing(target) as partial:
            shutil.copyfile(source, partial)


@rank_zero_only
def remove_remains(directory: Path) -> None:
    """Remove what killed runs had begun to write, --restarts in folders of their own."""
    for folder in (directory, *directory.glob("seed-*")):
        remove_partials(folder)
