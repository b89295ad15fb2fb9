"""Where training's numbers go: Weights & Biases, a CSV file, TensorBoard or nowhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from snmn.training.logs.wandb_account import (
    CheckedWandbLogger,
    LoggerError,
    WandbAccount,
    has_key,
    wandb_account,
)

LOGGERS = ("wandb", "csv", "tensorboard", "none")

_HOW = "`wandb login` or the environment variable WANDB_API_KEY changes that"


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
        kind: one of `LOGGERS`; None for wandb with credentials, unless it is disabled, else csv.
        directory: the run's folder. CSV and TensorBoard files go to "logs" there, or to a folder
            beside it for a run that goes on.
        name: of the run.
        project: the Weights & Biases project.
        config: kept with the run, by Weights & Biases.
        resumed: whether the run goes on from a checkpoint.

    Never asks for anything: without credentials Weights & Biases' log stays on this machine. Raises
    LoggerError for a package that is missing, and for a Weights & Biases that cannot be used.
    """
    note = ""
    if kind == "wandb" or (kind is None and has_key()):
        account = wandb_account()
        if kind == "wandb" or (account.known and account.mode != "disabled"):
            return _wandb_logger(
                account, directory, name=name, project=project, config=dict(config)
            )
        if account.known:
            note = "not on Weights & Biases, which is disabled here: "
    if kind is None:
        note = note or f"not on Weights & Biases; {_HOW}: "
    if kind == "none":
        return False, "logging nothing"
    folder = _log_name(directory, resumed)
    note = f"{note}logging to {directory / folder}"
    if kind in ("csv", None):
        return CSVLogger(directory, name="", version=folder), f"{note}/metrics.csv"
    try:
        return TensorBoardLogger(directory, name="", version=folder), note
    except ModuleNotFoundError:
        raise LoggerError("--logger tensorboard needs a package: pip install tensorboard") from None


def _wandb_logger(
    account: WandbAccount, directory: Path, *, name: str, project: str, config: dict[str, Any]
) -> tuple[Logger, str]:
    """The logger of an account, and where it logs to."""
    given: dict[str, Any] = {"name": name, "project": project, "config": config}
    online = account.mode == "online" and account.known
    if account.mode == "online" and not account.known:
        given["mode"] = "offline"  # It would ask for a key.
    if online:
        account.check_server()
    directory.mkdir(parents=True, exist_ok=True)
    logger = CheckedWandbLogger(save_dir=directory, **given)
    if online:
        return logger, f"logging to the project {project} on Weights & Biases"
    if account.mode == "disabled":
        return logger, "logging nothing: Weights & Biases is disabled here (`wandb enabled`)"
    why = "" if account.known else f" ({_HOW})"
    return logger, f"logging to {directory}/wandb{why}; `wandb sync` uploads a run from there"


def _log_name(directory: Path, resumed: bool) -> str:
    """The folder of the log: "logs", or a new one beside it for a run that goes on."""
    name, number = "logs", 1
    while resumed and (directory / name).exists():
        number += 1
        name = f"logs-{number}"
    return name


def upload_checkpoints(logger: WandbLogger, paths: Mapping[str, Path]) -> None:
    """Keep checkpoints as versions of one Weights & Biases artifact.

    ``paths`` are given by alias; those that there are not are left out.
    """
    import wandb

    run = logger.experiment
    for alias, path in paths.items():
        if not path.is_file():
            continue
        artifact = wandb.Artifact(f"{run.name}-checkpoint".replace("/", "-"), type="model")
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=[alias])


def close_logger(logger: Logger | None) -> None:
    """End the run of a logger, so that another one can begin in this process."""
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()
