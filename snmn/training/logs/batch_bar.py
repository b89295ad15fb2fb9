"""How far a test is, in one bar over all of its data."""

from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm


class BatchBar(pl.Callback):
    """A bar in place of Lightning's, which shows itself empty twice before it knows how long it is.

    A log keeps every state that a bar was shown in.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, empty."""
        total = sum(trainer.num_test_batches)
        self._bar = tqdm(total=total, desc="testing", unit="batch", dynamic_ncols=True)

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """One batch further."""
        self._bar.update(1)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the full bar behind."""
        self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, _: Any) -> None:
        """Leave it as it is, so that what went wrong has a line of its own."""
        if hasattr(self, "_bar"):
            self._bar.close()
