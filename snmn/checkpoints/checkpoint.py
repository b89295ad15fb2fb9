"""Self-describing checkpoints: everything a model needs to be built again lies in its file.

A checkpoint is a Lightning ``.ckpt``: ``state_dict`` holds the raw weights with the prefix
"model.", ``ema_state_dict`` their moving average by parameter name (absent if there is none),
``hyper_parameters["model"]`` the arguments of `snmn.build_model`, and ``vocabularies`` the three
word lists. Those that training writes also have the whole configuration
(``hyper_parameters["config"]``), what the features were made with (``features``: backbone, hash of
its weights, preprocessing, image size) and by which commit of the code (``code_version``). A
checkpoint is read as weights and plain values alone: a stranger's file runs none of its code, and
of modules beside the nine it has names, and text that says what their classes were.
"""

import functools
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from snmn.checkpoints.bundled import check_file_of_card
from snmn.checkpoints.checks import (
    HEADS,
    PREFIX,
    CheckpointError,
    check_content,
    check_model,
    check_modules_known,
    check_state,
    naming,
)
from snmn.checkpoints.earlier_files import describe_earlier
from snmn.checkpoints.model_folder import read_folder
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.network.model import SNMN, build_model
from snmn.network.model_arguments import default_arguments
from snmn.network.modules import NeuralModule
from snmn.network.own_modules import class_path
from snmn.storage.torch_file import TorchFileError, read_torch_file, write_torch_file


def vocabularies(modules: Sequence[str] = MODULES) -> dict[str, list[str]]:
    """The word lists that give indices their meaning, for the checkpoint.

    ``modules`` are the names of a model's.
    """
    return {
        "question_words": list(QUESTION_WORDS),
        "answers": list(ANSWERS),
        "modules": list(modules),
    }


@functools.cache
def code_version() -> str:
    """The commit of this code, with "-dirty" if it was changed since; "unknown" outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read and check a checkpoint, or the folder of a model that `snmn.export` made of one.

    Raises `CheckpointError`, which names the file. One that lies beside a card with a sha256 must
    be the file that the card is about.
    """
    check_file_of_card(Path(path))
    try:
        folder = Path(path).is_dir()
        checkpoint = read_folder(Path(path)) if folder else read_torch_file(path)
    except (FileNotFoundError, TorchFileError) as error:
        _refuse_earlier(path)
        if isinstance(error, FileNotFoundError):
            raise CheckpointError(f"{path}: no such checkpoint") from None
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None
    hyper = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    known = isinstance(hyper, dict) and "model" in hyper
    if not known:
        _refuse_earlier(path)
        raise CheckpointError(
            f"{path}: not a checkpoint of this project; "
            "those of earlier codebases are converted with python -m snmn.convert"
        )
    with naming(path):
        check_content(checkpoint)
    expected = vocabularies(module_names(checkpoint))
    if checkpoint.get("vocabularies", expected) != expected:
        raise CheckpointError(f"{path}: made with other vocabularies than this version's")
    return checkpoint


def module_names(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules of a checkpoint's model: the nine, then its own."""
    return (*MODULES, *(checkpoint["hyper_parameters"]["model"].get("modules") or ()))


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `snmn.build_model` as a checkpoint holds them: classes are paths."""
    own = arguments.get("modules") or {}
    paths = {name: class_path(kind) for name, kind in own.items()}
    return {**arguments, "modules": paths} if paths else dict(arguments)


def arguments_with(
    path: str | Path, checkpoint: Mapping[str, Any], modules: Mapping[str, type[NeuralModule]]
) -> dict[str, Any]:
    """Arguments of `snmn.build_model` from a checkpoint, and ``modules`` for those that it names.

    Raises `CheckpointError` where one is not among them: what a file names is never imported.
    """
    arguments = checkpoint["hyper_parameters"]["model"]
    check_modules_known(path, arguments, modules)
    return arguments | {"modules": {name: modules[name] for name in arguments.get("modules") or ()}}


def _refuse_earlier(path: str | Path) -> None:
    """Raise CheckpointError, with the way out, for weights of the earlier codebases."""
    found = describe_earlier(path)
    if found:
        raise CheckpointError(
            f"{path} is {found}: make a checkpoint of this project of it with "
            f"python -m snmn.convert {shlex.quote(str(path))} CONFIG.yaml OUT.ckpt"
        )


def load_weights(
    model: SNMN,
    path: str | Path,
    checkpoint: dict[str, Any],
    *,
    ema: bool,
    kept: tuple[str, ...] = (),
) -> None:
    """Put the weights of a checkpoint into its model. Raises CheckpointError if they do not fit.

    Weights whose names begin with one of ``kept`` are the model's own, unless the checkpoint has
    them too.
    """
    own = {key: value for key, value in model.state_dict().items() if key.startswith(kept)}
    if model.module_names != module_names(checkpoint):
        raise CheckpointError(
            f"{path}: its model has the modules {' '.join(module_names(checkpoint))}, in this "
            f"order, the other {' '.join(model.module_names)}"
        )
    with naming(path):
        state = own | model_state(checkpoint, ema=ema)
        check_state(model, state)
        model.load_state_dict(state)


def start_from(
    model: SNMN, path: str | Path, checkpoint: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Begin a model of nested settings with a checkpoint's weights.

    Heads of a task that the checkpoint's model has not stay as they are, so that a joint model can
    begin with one task's. Raises `CheckpointError` for a model that differs in anything else.
    """
    check_model(path, checkpoint, settings, more_heads=True)
    built = default_arguments() | checkpoint["hyper_parameters"]["model"]
    new = tuple(head for task, heads in HEADS.items() if not built[task] for head in heads)
    load_weights(model, path, checkpoint, ema=False, kept=new)


def load_model(
    path: str | Path,
    *,
    ema: bool = True,
    modules: Mapping[str, type[NeuralModule]] | None = None,
) -> SNMN:
    """The model of a checkpoint, in evaluation mode, from the file alone.

    ``ema`` takes the moving average of the weights, which is what the published results test;
    a checkpoint without one gives its raw weights. ``modules`` are the classes of modules beside
    the nine, by name, whose code no checkpoint holds; those of other models do no harm. Raises
    CheckpointError.
    """
    checkpoint = read_checkpoint(path)
    arguments = arguments_with(path, checkpoint, modules or {})
    with naming(path):
        model = build_model(**arguments)
    load_weights(model, path, checkpoint, ema=ema)
    model.trained_on = checkpoint.get("features", {})
    return model.eval()


def model_state(checkpoint: dict[str, Any], *, ema: bool) -> dict[str, Tensor]:
    """The state dict of `SNMN` in a checkpoint: raw, or with averaged parameters."""
    state = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    if ema:
        state.update(checkpoint.get("ema_state_dict", {}))
    return state


def save_model(
    path: str | Path, model: SNMN, *, arguments: dict[str, Any], averaged: SNMN | None = None
) -> None:
    """Write a checkpoint outside of training; ``arguments`` are those of `build_model`."""
    checkpoint = {
        "state_dict": {PREFIX + name: value for name, value in model.state_dict().items()},
        "hyper_parameters": {"model": plain_arguments(arguments)},
        "vocabularies": vocabularies(model.module_names),
    }
    if averaged is not None:
        checkpoint["ema_state_dict"] = dict(averaged.named_parameters())
    write_torch_file(path, checkpoint)
