"""Pickles written by hand in files of torch: they run nothing, crash nothing, fill no memory."""

import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile

import pytest

from snmn.storage.inert_pickle import LARGEST_PICKLE, Named
from snmn.storage.torch_file import TorchFileError, read_foreign_torch_file, read_torch_file
from tests.helpers.paths import ROOT

START = b"\x80\x02"
OLD_START = b"".join(
    pickle.dumps(part, protocol=2)
    for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
)
# What a tensor is made of: a storage of 4 numbers, offset, size, stride.
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu%btQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n(%bK\0%b%b\x89NtR"


def archive(pickled, *, storage=b"\0" * 16, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        target.writestr("archive/data.pkl", pickled)
        target.writestr("archive/data/0", storage)
    return file.getvalue()


def old(pickled):
    return OLD_START + pickled + pickle.dumps([], protocol=2)


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def tensor(count=4, size=(4,), stride=(1,)):
    size, stride = (b"(" + b"".join(number(n) for n in part) + b"t" for part in (size, stride))
    return START + REBUILD % (STORAGE % number(count), size, stride) + b"."


def hogs():
    """Files that would crash a reader, keep it busy for ever, or fill its memory."""
    depth = 100_000
    found = {
        "deep tuple as a key": START + b"})" + b"\x85" * depth + b"K\1s.",
        "deep tuple in a set": START
        + b"cbuiltins\nset\n(])" + b"\x85" * depth + b"atR.",
        "doubled tuples as a key": START + b"})" + b"q\0h\0\x86" * 100 + b"K\1s.",
        "huge place in the memo": START + b"}r\xff\xff\xff\xffcos\nsystem\n0]K\1K\1s.",
        "string longer than the file": START + b"X\xff\xff\xff\x7fabc.",
        "bytes longer than the file": START + b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
        "empty stack": START + b"0000.",
        "mark without an end": START + b"(" * 1000 + b".",
        "tuple of too few": START + b"K\1\x87.",
        "items of a number": START + b"K\1K\2a.",
        "call of a text": START + b"X\1\0\0\0a)R.",
        "call with a list": START + b"cos\nsystem\n]R.",
        "state of a table": START + b"}}b.",
        "text opcodes": b"(dp0\nS'a'\nI1\ns.",
        "extension": START + b"\x82\1.",
        "storage beyond its record": tensor(count=10**12),
        "negative storage": tensor(count=-1),
        "tensor beyond its storage": tensor(size=(5,)),
        "repeated number": tensor(size=(10**6, 10**6), stride=(0, 0)),
        "overflowing size": tensor(size=(2**32, 2**32), stride=(0, 0)),
        "negative stride": tensor(stride=(-1,)),
        "no stop": START + b"}",
    }  # fmt: skip
    files = {f"{name}, archive": archive(pickled) for name, pickled in found.items()}
    files |= {f"{name}, old": old(pickled) for name, pickled in found.items()}
    zeros = b"\0" * (64 << 20)
    files["packed"] = archive(tensor(), storage=zeros, compression=zipfile.ZIP_DEFLATED)
    files["endless pickle"] = archive(START + b"}" * (LARGEST_PICKLE + 1))
    files["two pickles"] = _twice(archive(START + b"}."))
    files["keys that are none, old"] = OLD_START + START + b"}." + START + b"]K\1a."
    files["magic alone"] = OLD_START[:14]
    return files


def _twice(data):
    file = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as target:
        warnings.simplefilter("ignore")
        target.writestr("archive/data.pkl", START + b"K\1.")
    return file.getvalue()


def test_a_good_file_of_the_same_making_is_read(tmp_path):
    path = tmp_path / "good"
    path.write_bytes(archive(tensor(), storage=struct.pack("<4f", 1, 2, 3, 4)))
    assert read_torch_file(path).tolist() == [1, 2, 3, 4]
    numbers = pickle.dumps(["0"], protocol=2) + struct.pack("<q4f", 4, 1, 2, 3, 4)
    path.write_bytes(OLD_START + tensor() + numbers)
    assert read_torch_file(path).tolist() == [1, 2, 3, 4]


@pytest.mark.slow
def test_hogs_are_refused_in_little_memory(tmp_path, reliability):
    row = reliability(
        "Hostile pickle",
        caused="nesting, sizes and opcodes that crash readers or fill memory, in both formats",
        sees="one sentence naming the file; no more memory than usual",
    )
    for number, data in enumerate(hogs().values()):
        (tmp_path / str(number)).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(tmp_path), str(len(hogs()))],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    said, grown = json.loads(done.stdout)
    for name, texts in zip(hogs(), said, strict=True):
        with row.attempt():
            text = max(texts, key=lambda text: text.startswith("read"))
            assert text.startswith("damaged") or "values: os.system" in text, (name, text)
    assert grown < 400 << 10  # KiB


_READ_ALL = """
import json, resource, sys
from snmn.storage.torch_file import TorchFileError, read_foreign_torch_file, read_torch_file
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def said(read, path):
    try:
        return "read " + str(type(read(path)))
    except TorchFileError as error:
        return str(error)
before, readers = peak(), (read_torch_file, read_foreign_torch_file)
paths = [sys.argv[1] + "/" + str(number) for number in range(int(sys.argv[2]))]
texts = [[said(read, path) for read in readers] for path in paths]
print(json.dumps([texts, peak() - before]))
"""


def test_what_a_pickle_makes_of_names_is_a_name(tmp_path):
    marker = tmp_path / "ran"
    command = pickle.dumps(f"touch {marker}", protocol=2)[2:-1]
    made = {
        "call": b"cos\nsystem\n(%btR" % command,
        "call of a call": b"cbuiltins\ngetattr\n(cos\nsystem\nX\1\0\0\0atR(%btR" % command,
        "new object": b"csubprocess\nPopen\n(%bt\x81" % command,
        "state": b"csnmn.network.model\nSNMN\n)\x81}X\1\0\0\0acos\nsystem\n(%btRsb" % command,
        "items": b"ccollections\ndeque\n)R(cos\nsystem\n(%btRe" % command,
        "entries": b"ccollections\ndefaultdict\n(cos\nsystem\ntR(K\1cos\nsystem\n(%btRu" % command,
        "name of a stack": b"X\2\0\0\0osX\6\0\0\0system\x93(%btR" % command,
    }
    for name, pickled in made.items():
        for data in (archive(START + pickled + b"."), old(START + pickled + b".")):
            (tmp_path / "file").write_bytes(data)
            assert type(read_foreign_torch_file(tmp_path / "file")) is Named, name
            with pytest.raises(TorchFileError, match="weights and plain values: "):
                read_torch_file(tmp_path / "file")
            assert not marker.exists(), name
