"""Ctrl-C: the first one ends training in good order after a step, a second one at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl

from snmn.common.errors import INTERRUPTED, Interrupted
from snmn.data.batch import Batch


class StopOnInterrupt(pl.Callback):
    """Saves ``path`` and raises `Interrupted` at the end of the step in which Ctrl-C was pressed.

    What is saved is what an unbroken run has after that step. A validation is finished first.
    """

    def __init__(self, path: Path):
        self.path = path
        self._pressed = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the context, Ctrl-C means this."""
        before = signal.signal(signal.SIGINT, self._press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _press(self, *_) -> None:
        if self._pressed:
            os._exit(INTERRUPTED)
        self._pressed = True
        note = "\nstopping after this step; Ctrl-C again leaves at once"
        print(note, file=sys.stderr, flush=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs, batch: Batch, index: int
    ) -> None:
        """Stop, if Ctrl-C was pressed in any of the processes."""
        pressed = self._pressed
        if trainer.world_size > 1:
            pressed = trainer.strategy.reduce_boolean_decision(pressed, all=False)
        if pressed:
            trainer.save_checkpoint(self.path)
            raise Interrupted(f"stopped; go on with --resume {self.path}")
