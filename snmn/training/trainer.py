"""Lightning's trainer, with all that a run of training has around its model."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from snmn.training.ema import ExponentialMovingAverage
from snmn.training.logs.training_monitor import TrainingMonitor
from snmn.training.resuming.checkpoint_writing import WholeCheckpoints, checkpoint_callbacks
from snmn.training.trainer_options import device_count


def build_trainer(
    directory: Path,
    *,
    max_steps: int,
    updates: int,
    save_every: int,
    log_every: int,
    clip_norm: float | None,
    ema_decay: float,
    logger: Logger | bool,
    callbacks: Sequence[pl.Callback] = (),
    devices: str = "1",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: str = "32-true",
    accelerator: str = "auto",
) -> pl.Trainer:
    """Lightning's trainer with checkpoints, EMA and logs.

    Args:
        directory: for checkpoints.
        max_steps: iterations of the whole run.
        updates: of an iteration, one for each task; Lightning counts these.
        save_every: iterations between the checkpoints that are all kept.
        log_every: iterations between values for the logger.
        clip_norm: what gradients are clipped to; None clips nothing.
        ema_decay: of the moving average of the weights.
        logger: from `snmn.training.logs.loggers.make_logger`.
        callbacks: to add.
        devices: how many, or which, as on the command line.
        num_nodes, strategy, precision, accelerator: as Lightning's Trainer has them; the strategy
            "auto" is one of DDP if there are several processes.
    """
    if strategy == "auto" and (devices != "1" or num_nodes > 1):
        # A batch of one task leaves the other's head without gradients.
        strategy = "ddp_find_unused_parameters_true"
    return pl.Trainer(
        accelerator=accelerator,
        devices=device_count(devices),
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        use_distributed_sampler=False,  # The orders of `snmn.data.batch_orders` know their share.
        max_steps=max_steps * updates,
        gradient_clip_val=clip_norm,
        log_every_n_steps=log_every * updates,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        logger=logger,
        plugins=[WholeCheckpoints()],
        callbacks=[
            ExponentialMovingAverage(ema_decay),
            TrainingMonitor(),
            *callbacks,
            *checkpoint_callbacks(directory, every=save_every * updates),
        ],
    )
