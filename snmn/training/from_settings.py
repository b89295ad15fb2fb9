"""The training module and the trainer of an experiment, from nested settings with all keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from snmn.checkpoints.checkpoint import read_checkpoint, start_from
from snmn.checkpoints.published_settings import loss_arguments, model_arguments
from snmn.data.word_embedding import read_embedding
from snmn.network.own_modules import import_modules
from snmn.training.lightning_module import SNMNTraining
from snmn.training.logs.loggers import make_logger
from snmn.training.trainer import build_trainer
from snmn.training.trainer_options import naming_options


def build_training(
    settings: Mapping[str, Any],
    *,
    seed: int,
    question_types: Sequence[str],
    expression_types: Sequence[str],
) -> SNMNTraining:
    """The model with its losses and optimiser, begun with TRAIN.INIT_WEIGHTS_FILE if that is set.

    Imports the classes of MODEL.NMN.MODULES. Raises ConfigError, CheckpointError or OwnModuleError
    for files that the settings name.
    """
    model, train = model_arguments(settings), settings["TRAIN"]
    model["modules"] = import_modules(model.get("modules", {}))
    if settings["USE_FIXED_WORD_EMBED"]:
        model["fixed_embedding"] = read_embedding(
            settings["FIXED_WORD_EMBED_FILE"], dim=settings["MODEL"]["EMBED_DIM"]
        )
    solver = train["SOLVER"]
    training = SNMNTraining(
        model=model,
        loss=loss_arguments(settings),
        learning_rate=solver["LR"],
        schedule=solver["SCHEDULE"],
        warmup_steps=solver["WARMUP_ITER"],
        attention_lr_scale=solver["ATTENTION_LR_SCALE"],
        max_steps=train["MAX_ITER"],
        seed=seed,
        layout_search=tuple(train["LAYOUT_SEARCH"]) or None,
        question_types=question_types,
        expression_types=expression_types,
        config=settings,
    )
    if train["INIT_FROM_WEIGHTS"]:
        path = train["INIT_WEIGHTS_FILE"]
        start_from(training.model, path, read_checkpoint(path), settings)
    return training


def build_run_trainer(
    settings: Mapping[str, Any],
    directory: Path,
    *,
    name: str,
    updates: int,
    resumed: bool,
    callbacks: Sequence[pl.Callback],
    logger: str | None,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> tuple[pl.Trainer, list[str]]:
    """Lightning's trainer of a run with its logger, and notes on them.

    Args:
        settings: of the run.
        directory: for checkpoints and logs.
        name: of the run, for loggers.
        updates: of an iteration, one for each task.
        resumed: whether the run goes on from a checkpoint.
        callbacks: to add.
        logger: its kind, as for `make_logger`.
        options: devices, num_nodes, strategy, precision and accelerator.
        given: those of the options that the command line has, by their names there.

    Raises LoggerError, or TrainerError for options that cannot be.
    """
    train = settings["TRAIN"]
    made, note = make_logger(
        logger,
        directory,
        name=name,
        project=settings["WANDB_PROJECT_NAME"],
        config=settings,
        resumed=resumed,
    )
    notes = [note]
    with naming_options(given):
        trainer = build_trainer(
            directory,
            max_steps=train["MAX_ITER"],
            updates=updates,
            save_every=train["SNAPSHOT_INTERVAL"],
            log_every=train["LOG_INTERVAL"],
            clip_norm=train["GRAD_MAX_NORM"] if train["CLIP_GRADIENTS"] else None,
            ema_decay=train["EMA_DECAY"],
            logger=made,
            callbacks=callbacks,
            **options,
        )
    if trainer.world_size > 1:
        notes.append(
            f"note: {trainer.world_size} processes make batches of {trainer.world_size} x "
            f"{train['BATCH_SIZE']} questions; TRAIN.SOLVER.LR stays what it is"
        )
    return trainer, notes
