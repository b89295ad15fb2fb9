"""Files made to do harm when they are opened.

What they run makes the file ``marker``, so that a test can see whether it ran.
"""

import functools
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch


class Bomb:
    """Unpickles by calling a function."""

    def __init__(self, function: Callable, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class LateBomb:
    """Unpickles as an instance of a harmless class, whose state is a bomb."""

    def __init__(self, bomb: Bomb):
        self._bomb = bomb

    def __reduce__(self):
        return SimpleNamespace, (), {"state": self._bomb}


def bombs(marker: Path) -> dict[str, object]:
    """Objects that make the marker when they are unpickled."""
    touch = f"touch {marker}"
    return {
        "os.system": Bomb(os.system, touch),
        "exec": Bomb(exec, f"open({str(marker)!r}, 'w').close()"),
        "subprocess": Bomb(subprocess.call, ["touch", str(marker)]),
        "in the state of an object": LateBomb(Bomb(os.system, touch)),
        "as a key": {Bomb(os.system, touch): 1},
        "under a class as key": {subprocess.Popen: Bomb(os.system, touch)},
        "eval": Bomb(eval, f"__import__('os').system({touch!r})"),
        "call of a made object": Bomb(functools.partial(os.system, touch)),
    }


def hostile_checkpoints(good: dict, marker: Path) -> dict[str, tuple[bytes, Callable]]:
    """Checkpoints with a bomb each: their bytes, and a loader that is fool enough to set it off.

    ``good`` is a checkpoint's content, beside which the bomb lies in most of them.
    """
    found = {}
    for name, bomb in bombs(marker).items():
        content = good | {"callbacks": bomb}
        found[f"torch file, {name}"] = _torch_bytes(content), _torch_load
        found[f"plain pickle, {name}"] = pickle.dumps(content), pickle.loads
    bomb = bombs(marker)["os.system"]
    content = good | {"callbacks": bomb}
    old = _torch_bytes(content, _use_new_zipfile_serialization=False)
    found["old torch file"] = old, _torch_load
    found["torch file of protocol 4"] = _torch_bytes(content, pickle_protocol=4), _torch_load
    found["text pickle"] = pickle.dumps(content, protocol=0), pickle.loads
    found["bomb before the weights"] = _torch_bytes({"a": bomb} | good), _torch_load
    found["bomb in the hyper-parameters"] = (
        _torch_bytes(good | {"hyper_parameters": {"model": bomb}}),
        _torch_load,
    )
    found["whole model"] = _torch_bytes(_Module(bomb)), _torch_load
    found["tar"] = _tar(pickle.dumps(bomb)), _tar_load
    first = _torch_bytes({"a": bomb})
    found["archive with two data.pkl"] = _twice(_torch_bytes(good), first)
    found["object array"] = _numpy_bytes(np.save, bomb), _numpy_load
    found["npz of object arrays"] = _numpy_bytes(np.savez, bomb), _npz_load
    return found


class _Module(torch.nn.Module):
    """A model as careless people save it, with more than weights in it."""

    def __init__(self, extra: object):
        super().__init__()
        self.extra = extra


def _torch_bytes(content: object, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def _torch_load(data: bytes) -> object:
    return torch.load(io.BytesIO(data), weights_only=False)


def _tar(data: bytes) -> bytes:
    """The format of torch before 0.2: a tar file of pickles, of which storages is read first."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _tar_load(data: bytes) -> object:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return pickle.load(archive.extractfile("storages"))


def _twice(good: bytes, hostile: bytes) -> tuple[bytes, Callable]:
    """An archive whose second data.pkl, the one that counts, is not the one a look finds first."""
    file = io.BytesIO(good)
    with zipfile.ZipFile(io.BytesIO(hostile)) as source, zipfile.ZipFile(file, "a") as target:
        (name,) = (name for name in source.namelist() if name.endswith("/data.pkl"))
        target.writestr(name, source.read(name))
    return file.getvalue(), _second_load


class _WithStorages(pickle.Unpickler):
    def persistent_load(self, storage: object) -> object:
        return torch.FloatStorage(1)


def _second_load(data: bytes) -> object:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name, _) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        # The weights cannot be rebuilt without their numbers, which come after the bomb.
        return _WithStorages(io.BytesIO(archive.read(name))).load()


def _numpy_bytes(save: Callable, bomb: object) -> bytes:
    file = io.BytesIO()
    save(file, np.array([bomb, {"question_str": "How many cubes are there?"}], dtype=object))
    return file.getvalue()


def _numpy_load(data: bytes) -> object:
    return np.load(io.BytesIO(data), allow_pickle=True)


def _npz_load(data: bytes) -> object:
    return np.load(io.BytesIO(data), allow_pickle=True)["arr_0"]
