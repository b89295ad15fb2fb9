"""Trains the runs of a series one after the other, each in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

from snmn.common.errors import Interrupted
from snmn.training.restarts.comparison import Run, collapse
from snmn.training.restarts.record_file import Series, ended_run
from snmn.training.resuming.checkpoint_writing import keep_checkpoint
from snmn.training.resuming.newest_checkpoint import newest_resumable

# Trains the run of a seed in a folder, from a checkpoint if there is one, and says what became
# of it, without a verdict.
TrainRun = Callable[[int, Path, Path | None], Run]


def train_seeds(
    series: Series, train: TrainRun, *, updates: int, max_steps: int, val_interval: int
) -> None:
    """Train all runs of a series that have not ended, and record what became of each.

    A run that has been begun goes on from where it was stopped. Ctrl-C ends in `Interrupted`; the
    same series can be gone on with.

    Args:
        series: new, or begun before.
        train: trains a single run.
        updates: of an iteration.
        max_steps: iterations of a run.
        val_interval: iterations between validations.
    """
    directory = series.path.parent
    for seed in series.unfinished:
        folder = directory / f"seed-{seed}"
        found = newest_resumable(folder, updates=updates, interval=val_interval)
        path, checkpoint = found or (None, {})
        if path is not None and checkpoint["global_step"] >= max_steps * updates:
            keep_checkpoint(path, folder / "last.ckpt")
            run = ended_run(seed, folder, checkpoint)
        else:
            try:
                run = train(seed, folder, path)
            except Interrupted as error:
                raise Interrupted("stopped; the same command goes on", error.status) from None
        run.collapsed = run.collapsed or collapse(
            run.scores, prior=series.prior, after=max_steps // 2
        )
        series.runs.append(run)
        series.write()
