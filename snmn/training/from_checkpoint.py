"""The training module of a checkpoint, for testing what was trained."""

from pathlib import Path
from typing import Any

from snmn.checkpoints.checkpoint import arguments_with, load_weights, read_checkpoint
from snmn.checkpoints.checks import WITHOUT_WEIGHTS, CheckpointError, check_features, check_model
from snmn.checkpoints.published_settings import (
    MODEL_ARGUMENTS,
    loss_arguments,
    model_arguments,
)
from snmn.data.data_module import CLEVRDataModule
from snmn.network.own_modules import import_modules
from snmn.training.lightning_module import SNMNTraining

_TESTED = ("model", "loss", "question_types", "expression_types")


def load_training(
    path: str | Path, data: CLEVRDataModule, settings: dict[str, Any], *, ema: bool
) -> tuple[SNMNTraining, list[str]]:
    """The training module of a checkpoint, with averaged or raw weights, for features like its.

    What changes no weight is as the settings have it. Returns notes about what differs, too.

    Args:
        path: of the checkpoint.
        data: what is tested on; it is set up for that.
        settings: nested settings with all published keys, whose model the checkpoint must have;
            modules beside the nine are imported as they say.
        ema: whether to take the moving average of the weights.

    Raises CheckpointError or OwnModuleError.
    """
    checkpoint = read_checkpoint(path)
    changed = check_model(path, checkpoint, settings, may_change=WITHOUT_WEIGHTS)
    data.setup("test")
    check_features(checkpoint, data.feature_identity())
    notes = [
        f"{key} is {value} in this test, in training it was not" for key, value in changed.items()
    ]
    modules = import_modules(model_arguments(settings).get("modules", {}))
    model = arguments_with(path, checkpoint, modules)
    model |= {MODEL_ARGUMENTS[key]: value for key, value in changed.items()}
    hyper = checkpoint["hyper_parameters"] | {"model": model}
    hyper.setdefault("loss", loss_arguments(settings))  # Converted checkpoints have none.
    # How it was trained, which older code may have done otherwise, changes no test.
    hyper = {key: value for key, value in hyper.items() if key in _TESTED}
    try:
        training = SNMNTraining(**hyper)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its hyper_parameters are not a training's ({error})"
        ) from None
    load_weights(training.model, path, checkpoint, ema=ema)
    return training, notes
