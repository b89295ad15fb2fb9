"""Files of weights that the two earlier codebases leave behind, known by what is in them.

Their names say little: a checkpoint of the PyTorch adaptation may be called .ckpt, .pt or .pth, and
so may a TensorFlow snapshot of the original, which is several files of one beginning.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snmn.common.errors import shown
from snmn.storage.torch_file import (
    TorchFileError,
    is_torch_file,
    read_foreign_torch_file,
    record_names,
)

# The adaptation keeps the model that it trains and the moving average of its weights.
ONLINE, OFFLINE = "online_model.", "offline_model."
_PART_OF_SNAPSHOT = re.compile(r"(.+)\.(?:index|meta|data-\d{5}-of-\d{5})")
# TensorFlow's tables end with this, in the first version of its format and in the second.
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
# Many times the size of the published model with its optimiser's state.
_LARGEST_NPZ = 1 << 30


def snapshot_prefix(path: Path) -> Path | None:
    """The beginning that the files of a TensorFlow snapshot share, if a path is, or names, one."""
    part = _PART_OF_SNAPSHOT.fullmatch(str(path))
    prefix = Path(part[1]) if part else path
    if Path(f"{prefix}.index").is_file():
        return prefix
    return path if path.is_file() and _is_table(path) else None


def _is_table(path: Path) -> bool:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - len(_TABLE_MAGIC), 0))
        return file.read() == _TABLE_MAGIC


def is_npz(path: Path) -> bool:
    """Whether a file is an archive of arrays."""
    names = record_names(path)
    return bool(names) and all(name.endswith(".npy") for name in names)


def describe_earlier(path: str | Path) -> str | None:
    """What a file of the earlier codebases is, in words; None for any other, or none."""
    path = Path(path)
    try:
        if snapshot_prefix(path):
            return "a TensorFlow snapshot"
        if is_npz(path):
            return "an .npz of arrays"
        if is_torch_file(path) and is_adaptation(read_foreign_torch_file(path)):
            return "a checkpoint of the PyTorch adaptation"
    except (OSError, TorchFileError):
        pass
    return None


def is_adaptation(content: Any) -> bool:
    """Whether the content of a torch file is a checkpoint of the adaptation, or its weights."""
    state = _state_dict(content)
    return isinstance(state, dict) and any(
        isinstance(name, str) and (name.startswith((ONLINE, OFFLINE)) or name == "q_embed.weight")
        for name in state
    )


def _state_dict(content: Any) -> Any:
    return content.get("state_dict", content) if isinstance(content, dict) else None


def read_adaptation(path: Path) -> dict[str, Tensor]:
    """All weights of a torch file, by name, as float tensors.

    Raises OSError; TorchFileError, or ValueError for a file that holds no such weights.
    """
    content = read_foreign_torch_file(path)
    if not is_adaptation(content):
        raise ValueError(f"it holds no weights of the adaptation, which are called {ONLINE}...")
    state = _state_dict(content)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{shown(name)} in its state_dict is no weight")
    return {name: value.float() for name, value in state.items()}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, by name without TensorFlow's ":0"."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_NPZ:
            raise ValueError(f"it unpacks to more than {_LARGEST_NPZ >> 30} GiB")
    with np.load(path, allow_pickle=False) as arrays:
        return {name.removesuffix(":0"): arrays[name] for name in arrays.files}


def read_snapshot(prefix: Path) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow snapshot, by name. Raises ValueError without TensorFlow."""
    try:
        import tensorflow as tf
    except ImportError:
        raise ValueError(
            "a TensorFlow snapshot, which needs the tensorflow package: install it, or save the "
            "variables as an .npz where it is installed"
        ) from None
    reader = tf.train.load_checkpoint(str(prefix))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)) for name in names}
