"""Files of torch, written whole or not at all, and read without trusting who made them.

When one is read no code runs, nothing is inflated, and no more memory is taken than the file is
large. Both formats of torch.save are read: archives, and the one before PyTorch 1.6.
"""

import io
import math
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snmn.common.errors import shown
from snmn.storage.inert_pickle import LARGEST_PICKLE, is_plain_key, read_pickle
from snmn.storage.whole_files import UnfailingFile, replacing

_ARCHIVE_MAGIC = b"PK\3\4"
# The pickled number that begins every file of the older format.
_OLD_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_OLD_VERSION = 1001
_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_MODULES_OF_STORAGES = ("torch", "torch.cuda")


class TorchFileError(ValueError):
    """A file cannot be read as weights and plain values; the message is why, in one line."""


class _UnknownName(ValueError):
    """A pickle names something that is neither weights nor plain values."""


def read_torch_file(path: str | Path) -> Any:
    """What a file holds. Raises FileNotFoundError, or TorchFileError, which does not name it."""
    return _read(path, _refuse_unknown)


def read_foreign_torch_file(path: str | Path) -> Any:
    """What a file of other code holds: like `read_torch_file`, with `inert_pickle.Named`
    for all else. What tables and lists of such a kind hold is dropped.
    """
    return _read(path, lambda name: None)


def is_torch_file(path: str | Path) -> bool:
    """Whether a file looks like one of torch, by its content. Raises OSError."""
    with open(path, "rb") as file:
        start = file.read(len(_OLD_MAGIC))
    if start == _OLD_MAGIC:
        return True
    return start.startswith(_ARCHIVE_MAGIC) and bool(_pickles(record_names(path)))


def record_names(path: str | Path) -> list[str]:
    """Names of the records of a zip archive; none of any other file. Raises OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError:
        raise
    except Exception:  # A damaged archive fails in many ways.
        return []


def _read(path: str | Path, check_name: Callable[[str], None]) -> Any:
    try:
        with open(path, "rb") as file:
            start = file.read(len(_OLD_MAGIC))
        if start == _OLD_MAGIC:
            return _read_old(Path(path).read_bytes(), check_name)
        if start.startswith(_ARCHIVE_MAGIC):
            return _read_archive(Path(path), check_name)
        raise ValueError("neither format of torch")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TorchFileError(f"{error.strerror or error}") from None
    except _UnknownName as error:
        reason = f"with more in it than weights and plain values: {shown(error)}"
        raise TorchFileError(reason) from None
    except Exception:  # A damaged file fails in any way.
        reason = "damaged, or with more in it than weights and plain values"
        raise TorchFileError(reason) from None


def _pickles(names: list[str]) -> list[str]:
    """Names of the records that hold a pickle of an archive's values; torch writes one."""
    return [name for name in names if name.endswith("/data.pkl")]


def _read_archive(path: Path, check_name: Callable[[str], None]) -> Any:
    with zipfile.ZipFile(path) as archive:
        # Torch packs nothing.
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("unpacks to more than it is")
        if archive.testzip() is not None:
            raise ValueError("a checksum is wrong")
        (name,) = _pickles(archive.namelist())
        if archive.getinfo(name).file_size > LARGEST_PICKLE:
            raise ValueError("too large a pickle")
        folder = name.removesuffix("data.pkl")
        storages: dict[str, Tensor] = {}

        def load_persistent(identity: Any) -> Tensor:
            dtype, key, count = _storage(identity)
            if key not in storages:
                data = bytearray(archive.read(f"{folder}data/{key}"))
                if len(data) != count * dtype.itemsize:
                    raise ValueError("a storage of another size than it says")
                storages[key] = torch.frombuffer(data, dtype=dtype) if data else _empty(0, dtype)
            return storages[key]

        pickled = io.BytesIO(archive.read(name))
        return read_pickle(
            pickled, known=_KNOWN, load_persistent=load_persistent, check_name=check_name
        )


def _read_old(content: bytes, check_name: Callable[[str], None]) -> Any:
    """Pickles of a magic number, version, machine, values and keys of storages; their numbers."""
    file = io.BytesIO(content)
    storages: dict[str, Tensor] = {}
    left = len(content)

    def load_persistent(identity: Any) -> Tensor:
        nonlocal left
        dtype, key, count = _storage(identity)
        if key not in storages:
            left -= count * dtype.itemsize
            if left < 0:
                raise ValueError("storages larger than the file")
            storages[key] = _empty(count, dtype)
        return storages[key]

    def refuse(identity: Any) -> None:
        raise ValueError("a storage before the values")

    plain = {"known": {}, "load_persistent": refuse}
    read_pickle(file, **plain)  # The magic number.
    if read_pickle(file, **plain) != _OLD_VERSION:
        raise ValueError("another version")
    if read_pickle(file, **plain).get("little_endian") is not True:
        raise ValueError("numbers of another machine")
    values = read_pickle(file, known=_KNOWN, load_persistent=load_persistent, check_name=check_name)
    for key in read_pickle(file, **plain):
        storage = storages.pop(key)
        (count,) = struct.unpack("<q", file.read(8))
        if count != len(storage):
            raise ValueError("a storage of another size than it says")
        if count:
            data = bytearray(file.read(storage.nbytes))
            storage.copy_(torch.frombuffer(data, dtype=storage.dtype, count=count))
    if storages:
        raise ValueError("storages without numbers")
    return values


def _empty(count: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(count, dtype=dtype)


def _storage(identity: Any) -> tuple[torch.dtype, str, int]:
    """Type, key and length of a storage that torch refers to."""
    what, kind, key, _, count, *view = identity
    if what != "storage" or view not in ([], [None]):
        raise ValueError("not a storage")
    if type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("not the key and length of a storage")
    return _DTYPES[kind.name.rpartition(".")[2]], key, count


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Tensor) or any(type(n) is not int for n in (offset, *size, *stride)):
        raise ValueError("not the parts of a tensor")
    if math.prod(size) > storage.numel():
        raise ValueError("one number repeated")
    return storage.as_strided(size, stride, offset)  # Refuses what lies beyond the storage.


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("not a parameter")
    return tensor


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError("not the bytes of a pickle")
    return text.encode("latin1")


def _set(items: list = ()) -> set:
    if not all(is_plain_key(item) for item in items):
        raise ValueError("not a set of plain values")
    return set(items)


def _ordered() -> OrderedDict:
    return OrderedDict()


def _size(size: tuple) -> torch.Size:
    return torch.Size(size)


_KNOWN = {
    "__builtin__.set": _set,
    "_codecs.encode": _bytes,
    "builtins.set": _set,
    "collections.OrderedDict": _ordered,
    "torch.Size": _size,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
}


def _refuse_unknown(name: str) -> None:
    module, _, last = name.rpartition(".")
    if name not in _KNOWN and not (module in _MODULES_OF_STORAGES and last in _DTYPES):
        raise _UnknownName(name)


def write_torch_file(path: str | Path, content: Any) -> None:
    """Write a file, whole or not at all. Raises OSError, which names it."""
    with replacing(path) as partial, UnfailingFile(partial) as file:
        torch.save(content, file)
        file.check()
