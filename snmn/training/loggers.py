"""Where training's numbers go: Weights & Biases, a CSV file, TensorBoard or nowhere."""

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from snmn.common.errors import UserError

LOGGERS = ("wandb", "csv", "tensorboard", "none")

_HOW = "`wandb login` or the environment variable WANDB_API_KEY changes that"


class LoggerError(UserError):
    """A logger cannot be had; the message is fit for a user."""


def wandb_credentials() -> bool:
    """Whether Weights & Biases knows who we are: by WANDB_API_KEY, or by what its login wrote."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def make_logger(
    kind: str | None,
    directory: Path,
    *,
    name: str,
    project: str,
    config: Mapping[str, Any],
    resumed: bool = False,
) -> tuple[Logger | bool, str]:
    """A logger, and a sentence on where it logs to.

    Args:
        kind: one of `LOGGERS`; None for wandb with credentials and csv without.
        directory: the run's folder. CSV and TensorBoard files go to "logs" there, or to a folder
            beside it for a run that goes on.
        name: of the run.
        project: the Weights & Biases project.
        config: kept with the run, by Weights & Biases.
        resumed: whether the run goes on from a checkpoint.

    Raises LoggerError for a package that is missing. Never asks for anything: without credentials
    Weights & Biases' log stays on this machine.
    """
    known = wandb_credentials()
    note = "" if kind else f"not on Weights & Biases; {_HOW}: "
    kind = kind or ("wandb" if known else "csv")
    if kind == "none":
        return False, "logging nothing"
    if kind == "wandb":
        # wandb makes up its mind on offline by this variable alone, and asks where it is not set.
        mode = os.environ.get("WANDB_MODE", "online" if known else "offline")
        directory.mkdir(parents=True, exist_ok=True)
        logger = WandbLogger(
            name=name, project=project, save_dir=directory, config=dict(config), mode=mode
        )
        if mode == "online":
            return logger, f"logging to the project {project} on Weights & Biases"
        why = "" if known else f" ({_HOW})"
        return logger, f"logging to {directory}/wandb{why}; `wandb sync` uploads a run from there"
    folder = _log_name(directory, resumed)
    note = f"{note}logging to {directory / folder}"
    if kind == "csv":
        return CSVLogger(directory, name="", version=folder), f"{note}/metrics.csv"
    try:
        return TensorBoardLogger(directory, name="", version=folder), note
    except ModuleNotFoundError:
        raise LoggerError("--logger tensorboard needs a package: pip install tensorboard") from None


def _log_name(directory: Path, resumed: bool) -> str:
    """The folder of the log: "logs", or a new one beside it for a run that goes on."""
    name, number = "logs", 1
    while resumed and (directory / name).exists():
        number += 1
        name = f"logs-{number}"
    return name


def upload_checkpoints(logger: WandbLogger, paths: Mapping[str, Path]) -> None:
    """Keep checkpoints as versions of one Weights & Biases artifact; ``paths`` by alias."""
    import wandb

    run = logger.experiment
    for alias, path in paths.items():
        artifact = wandb.Artifact(f"{run.name}-checkpoint".replace("/", "-"), type="model")
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=[alias])


def close_logger(logger: Logger | None) -> None:
    """End the run of a logger, so that another one can begin in this process."""
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()
