"""Ctrl-C and SIGTERM: the first one ends training in good order after a step, and a test at once.

A second Ctrl-C ends it at once. SIGTERM is how schedulers stop a run, and they may send it to each
process and more than once.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from snmn.common.errors import INTERRUPTED, TERMINATED, Interrupted
from snmn.data.batch import Batch


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Within the context, SIGTERM raises `Interrupted`, for work that leaves nothing to save."""

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Schedulers may send it again.
        if rank_zero_only.rank:
            sys.exit(TERMINATED)  # One sentence is enough.
        raise Interrupted("stopped by SIGTERM", TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopOnInterrupt(pl.Callback):
    """Saves ``path`` and raises `Interrupted` at the end of the step in which it was told to stop.

    What is saved is what an unbroken run has after that step. A validation is finished first.
    """

    def __init__(self, path: Path):
        self.path = path
        self._status = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the context, Ctrl-C and SIGTERM mean this."""
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGINT, self._press),
                (signal.SIGTERM, self._terminate),
            )
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take SIGTERM back from Lightning, which takes it after setup.

        It would leave without saving, and of several processes each would broadcast at once, from
        within whatever they are about to tell each other: they would wait for ever.
        """
        signal.signal(signal.SIGTERM, self._terminate)

    def _press(self, *_) -> None:
        if self._status == INTERRUPTED:
            os._exit(INTERRUPTED)
        self._status = INTERRUPTED
        note = "\nstopping after this step; Ctrl-C again leaves at once"
        print(note, file=sys.stderr, flush=True)

    def _terminate(self, *_) -> None:
        self._status = self._status or TERMINATED

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs, batch: Batch, index: int
    ) -> None:
        """Stop, if any of the processes was told to."""
        status = self._status
        if trainer.world_size > 1:
            if not trainer.strategy.reduce_boolean_decision(bool(status), all=False):
                return
            if trainer.strategy.reduce_boolean_decision(status == INTERRUPTED, all=False):
                status = INTERRUPTED
            else:
                status = TERMINATED
        if status:
            trainer.save_checkpoint(self.path)
            if not trainer.is_global_zero:
                sys.exit(status)  # One sentence is enough.
            by = " by SIGTERM" if status == TERMINATED else ""
            raise Interrupted(f"stopped{by}; go on with --resume {self.path}", status)
