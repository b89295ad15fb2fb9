import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from snmn.data.feature_shards import FeatureStoreError
from snmn.data.feature_store import FeatureStore
from snmn.data.feature_writer import FeatureWriter
from tests.helpers.paths import ROOT

ATTRIBUTES = {
    "backbone": "tiny",
    "weights_sha256": "ab" * 32,
    "preprocess": "imagenet",
    "image_size": 224,
}


def make_features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 4, 5)).astype(np.float32)


def make_names(count: int, start: int = 0) -> list[str]:
    return [f"CLEVR_val_{i:06d}.png" for i in range(start, start + count)]


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def fill(folder: Path, features: np.ndarray, *, shard_size: int = 4, **options) -> None:
    with FeatureWriter(folder, attributes=ATTRIBUTES, shard_size=shard_size, **options) as writer:
        for name, image in zip(make_names(len(features)), features, strict=True):
            writer.add([name], image[None])


def test_round_trip_across_shards(tmp_path):
    features = make_features(10)
    fill(tmp_path / "val", features, dtype="float32")
    store = FeatureStore(tmp_path / "val")
    assert shards(store.folder) == [f"shard-0000{i}.h5" for i in range(3)]
    assert len(store) == 10
    assert store.grid == (3, 4)
    assert store.dim == 5
    assert store.filenames == make_names(10)
    assert store.attributes == {**ATTRIBUTES, "dtype": "float32"}
    order = [9, 0, 4, 3, 3, 8]
    read = store.read(order)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, features[order])
    assert store.read([]).shape == (0, 3, 4, 5)
    assert store.index("CLEVR_val_000007.png") == 7
    with h5py.File(tmp_path / "val" / "shard-00002.h5") as file:
        assert file["features"].shape == (2, 3, 4, 5)
        assert file["features"].chunks == (1, 3, 4, 5)


def test_float16_is_the_default(tmp_path):
    features = make_features(3)
    fill(tmp_path, features)
    read = FeatureStore(tmp_path).read([2, 1])
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, features[[2, 1]].astype(np.float16))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_compressed_features_are_the_same_and_smaller(tmp_path, dtype):
    features = np.maximum(make_features(10) - 1, 0).repeat(20, axis=3)
    for compression in ("none", "zstd"):
        fill(tmp_path / compression, features, dtype=dtype, compression=compression)
    read = FeatureStore(tmp_path / "zstd").read([7, 0, 2])
    np.testing.assert_array_equal(read, features[[7, 0, 2]].astype(dtype))
    size = {p.parent.name: p.stat().st_size for p in tmp_path.glob("*/shard-00000.h5")}
    assert size["zstd"] < 0.7 * size["none"]


def test_other_compression_and_byte_order_are_read_too(tmp_path):
    features = make_features(10).astype(np.float16)
    fill(tmp_path, features)
    for number, options in enumerate([{"compression": "gzip"}, {"dtype": ">f2"}, {"chunks": None}]):
        with h5py.File(tmp_path / f"shard-0000{number}.h5", "r+") as file:
            stored = file["features"][:]
            del file["features"]
            file.create_dataset("features", data=stored, **options)
    np.testing.assert_array_equal(FeatureStore(tmp_path).read([9, 5, 1]), features[[9, 5, 1]])


def test_a_missing_package_for_compression_is_named(tmp_path, monkeypatch):
    fill(tmp_path, make_features(2), compression="zstd")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(FeatureStoreError, match=r"shard-00000\.h5 .*: pip install hdf5plugin"):
        FeatureStore(tmp_path).read([0])
    with pytest.raises(FeatureStoreError, match="pip install hdf5plugin"):
        FeatureWriter(tmp_path / "new", attributes=ATTRIBUTES, compression="zstd")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_map_that_is_damaged_inside_its_shard_is_named(tmp_path, compression):
    fill(tmp_path, make_features(3), compression=compression)
    path = tmp_path / "shard-00000.h5"
    with h5py.File(path, "r") as file:
        chunk = file["features"].id.get_chunk_info_by_coord((2, 0, 0, 0))
        other = file["features"].id.get_chunk_info_by_coord((1, 0, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    assert chunk.byte_offset != other.byte_offset
    store = FeatureStore(tmp_path)
    wrong = "cannot be read" if compression == "zstd" else "is damaged, they are not what was"
    with pytest.raises(FeatureStoreError, match=rf"_000002\.png: .*shard-00000\.h5 {wrong}"):
        store.read([2])
    store.read([1])


@pytest.mark.parametrize("bad", [[-1], [10], [0, 10]])
def test_index_out_of_range(tmp_path, bad):
    fill(tmp_path, make_features(10))
    with pytest.raises(IndexError, match="10 images"):
        FeatureStore(tmp_path).read(bad)


def test_unknown_file_name_is_named(tmp_path):
    fill(tmp_path, make_features(2))
    with pytest.raises(FeatureStoreError, match=r"CLEVR_val_000099\.png"):
        FeatureStore(tmp_path).index("CLEVR_val_000099.png")


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FeatureStoreError, match="nowhere"):
        FeatureStore(tmp_path / "nowhere")
    with pytest.raises(FeatureStoreError, match=r"no shard-\*\.h5"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "text", "no names", "no attribute"])
def test_damaged_shard_is_named(tmp_path, damage):
    fill(tmp_path, make_features(6))
    shard = tmp_path / "shard-00001.h5"
    if damage == "truncate":
        shard.write_bytes(shard.read_bytes()[:-200])
    elif damage == "text":
        shard.write_text("not a shard")
    else:
        with h5py.File(shard, "r+") as file:
            if damage == "no names":
                del file["filenames"]
            else:
                del file.attrs["backbone"]
    with pytest.raises(FeatureStoreError, match=r"shard-00001\.h5"):
        FeatureStore(tmp_path)


def test_a_shard_of_the_older_format_is_refused(tmp_path):
    fill(tmp_path, make_features(6))
    with h5py.File(tmp_path / "shard-00001.h5", "r+") as file:
        del file.attrs["format"]
    with pytest.raises(FeatureStoreError, match=r"shard-00001\.h5 .* older format, without check"):
        FeatureStore(tmp_path)


def test_shards_that_do_not_belong_together(tmp_path):
    fill(tmp_path, make_features(6))
    with h5py.File(tmp_path / "shard-00001.h5", "r+") as file:
        file.attrs["preprocess"] = "caffe"
    with pytest.raises(FeatureStoreError, match="preprocess 'caffe' instead of 'imagenet'"):
        FeatureStore(tmp_path)


def test_image_stored_twice_is_named(tmp_path):
    for _ in range(2):
        with FeatureWriter(tmp_path, attributes=ATTRIBUTES) as writer:
            writer.add(["a.png", "b.png"], make_features(2))
    with pytest.raises(FeatureStoreError, match=r"a\.png more than once"):
        FeatureStore(tmp_path)


def test_interruption_leaves_whole_shards_and_resuming_gives_the_same_bytes(tmp_path):
    features = make_features(11)
    fill(tmp_path / "whole", features)

    with pytest.raises(KeyboardInterrupt):
        with FeatureWriter(tmp_path / "cut", attributes=ATTRIBUTES, shard_size=4) as writer:
            writer.add(make_names(4), features[:4])
            writer.add(make_names(2, 4), features[4:6])
            raise KeyboardInterrupt
    assert shards(tmp_path / "cut") == ["shard-00000.h5"]
    # A kill leaves the temporary file behind as well.
    (tmp_path / "cut" / "shard-00001.h5.partial").write_bytes(b"half")

    with FeatureWriter(tmp_path / "cut", attributes=ATTRIBUTES, shard_size=4) as writer:
        assert writer.done == set(make_names(4))
        for i in range(4, 11):
            writer.add([make_names(1, i)[0]], features[i : i + 1])
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()} == whole


def test_writer_refuses_a_folder_of_other_features(tmp_path):
    fill(tmp_path, make_features(2))
    with pytest.raises(FeatureStoreError, match="backbone 'tiny' instead of 'other'"):
        FeatureWriter(tmp_path, attributes={**ATTRIBUTES, "backbone": "other"})
    with pytest.raises(FeatureStoreError, match="dtype"):
        FeatureWriter(tmp_path, attributes=ATTRIBUTES, dtype="float32")
    with FeatureWriter(tmp_path, attributes=ATTRIBUTES) as writer:
        with pytest.raises(FeatureStoreError, match=r"\(3, 4, 5\), not \(3, 4, 6\)"):
            writer.add(["other.png"], np.zeros((1, 3, 4, 6)))


def test_writer_reports_what_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureStoreError, match="cannot write to"):
        FeatureWriter(tmp_path / "file" / "val", attributes=ATTRIBUTES)
    writer = FeatureWriter(tmp_path / "val", attributes=ATTRIBUTES)
    shutil.rmtree(tmp_path / "val")
    with pytest.raises(FeatureStoreError, match=r"cannot write .*shard-00000\.h5"):
        writer.add(make_names(1), make_features(1))


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 20_000])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_full_disk_is_reported_and_whole_shards_stay(tmp_path, room, compression):
    features = np.random.default_rng(0).standard_normal((40, 3, 4, 50))
    fill(tmp_path / "val", features[:8], compression=compression)
    whole = {p.name: p.read_bytes() for p in (tmp_path / "val").iterdir()}
    # In a process of its own, which must end as processes do. What does not fit fails the same
    # way with a limit on a file's size as on a full disk.
    code = (
        "import resource, sys; from tests.data.test_feature_store import *; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); "
        "writer = FeatureWriter(sys.argv[1], attributes=ATTRIBUTES, shard_size=40, "
        f"compression={compression!r}); "
        "features = np.random.default_rng(0).standard_normal((40, 3, 4, 50)); "
        "writer.add(make_names(20, 8), features[:20]); "
        "writer.add(make_names(20, 28), features[20:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "val")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert "FeatureStoreError: cannot write" in lines[-1] and "shard-00002.h5" in lines[-1]
    assert "Exception ignored" not in done.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "val").iterdir()} == whole


def test_writer_checks_its_arguments(tmp_path):
    with pytest.raises(ValueError, match="float16, float32"):
        FeatureWriter(tmp_path, attributes=ATTRIBUTES, dtype="int8")
    with pytest.raises(ValueError, match="none, zstd"):
        FeatureWriter(tmp_path, attributes=ATTRIBUTES, compression="lzf")
    with pytest.raises(ValueError, match="shard_size"):
        FeatureWriter(tmp_path, attributes=ATTRIBUTES, shard_size=0)
    with pytest.raises(ValueError, match="attributes must be"):
        FeatureWriter(tmp_path, attributes={"backbone": "tiny"})
    with FeatureWriter(tmp_path, attributes=ATTRIBUTES, shard_size=2) as writer:
        with pytest.raises(ValueError, match="room for 2"):
            writer.add(make_names(3), make_features(3))


class Rows:
    def __init__(self, store: FeatureStore):
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.store.read([i])[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dataloader_workers_read_what_the_parent_reads(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform has no {method}")
    features = make_features(10).astype(np.float16)
    fill(tmp_path, features)
    store = FeatureStore(tmp_path)
    store.read([0, 9])  # The parent's own handles are open when the workers start.
    loader = DataLoader(
        Rows(store), batch_size=5, num_workers=2, multiprocessing_context=method, shuffle=False
    )
    np.testing.assert_array_equal(np.concatenate([b.numpy() for b in loader]), features)
    np.testing.assert_array_equal(store.read([3]), features[[3]])


def test_pickle_and_close(tmp_path):
    features = make_features(5).astype(np.float16)
    fill(tmp_path, features)
    store = FeatureStore(tmp_path)
    store.read([0, 4])
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.read([4]), features[[4]])
    store.close()
    np.testing.assert_array_equal(store.read([1]), features[[1]])
