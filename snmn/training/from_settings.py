"""The training module of an experiment, from nested settings with all published keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from snmn.checkpoints.checkpoint import read_checkpoint, start_from
from snmn.checkpoints.published_settings import loss_arguments, model_arguments
from snmn.data.word_embedding import read_embedding
from snmn.network.own_modules import import_modules
from snmn.training.lightning_module import SNMNTraining


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
        question_types=question_types,
        expression_types=expression_types,
        config=settings,
    )
    if train["INIT_FROM_WEIGHTS"]:
        path = train["INIT_WEIGHTS_FILE"]
        start_from(training.model, path, read_checkpoint(path), settings)
    return training
