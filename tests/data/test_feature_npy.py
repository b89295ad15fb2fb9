import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from clevr_prep.data.build_clevr_imdb import build_imdb
from clevr_prep.data.import_features import main
from snmn.data.data_module import CLEVRDataModule
from snmn.data.feature_shards import FeatureStoreError
from snmn.data.feature_store import FeatureStore
from tests.helpers.tiny.dataset import image_name, question, write_questions

GRID, DIM = (2, 3), 4


def write_npy(folder, images, *, lead=(), dtype=np.float32):
    """Maps as the original (lead = (1,)) or the adaptation (lead = ()) kept them."""
    folder.mkdir(parents=True, exist_ok=True)
    maps = {}
    for image in images:
        maps[image] = np.random.default_rng(image).standard_normal((*GRID, DIM)).astype(dtype)
        path = folder / image_name(image).replace(".png", ".npy")
        np.save(path, maps[image].reshape(*lead, *GRID, DIM))
    return maps


@pytest.mark.parametrize("lead", [(), (1,)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_read_as_a_store(tmp_path, lead, dtype):
    maps = write_npy(tmp_path / "val", [7, 3, 12], lead=lead, dtype=dtype)
    store = FeatureStore(tmp_path / "val")
    assert store.filenames == [image_name(image) for image in (3, 7, 12)]
    assert (store.grid, store.dim, len(store)) == (GRID, DIM, 3)
    assert store.attributes["dtype"] == dtype
    assert store.attributes["weights_sha256"] == "unknown"
    read = store.read([2, 0])
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, np.stack([maps[12], maps[3]]))
    assert store.index(image_name(12)) == 2
    store.close()


@pytest.mark.parametrize("lead", [(), (1,)])
def test_three_ways_give_identical_batches(tmp_path, lead):
    maps = write_npy(tmp_path / "npy" / "train", range(9), lead=lead)
    imported = tmp_path / "imported"
    assert main([str(tmp_path / "npy"), "--out", str(imported), "--shard-size", "4"]) == 0
    write_questions(tmp_path, [question(i, 2 * i + k) for i in range(9) for k in range(2)])
    build_imdb(tmp_path, "tiny", tmp_path / "imdb.h5", progress=False)

    def batches(folder):
        data = {"vqa": (folder, tmp_path / "imdb.h5")}
        module = CLEVRDataModule(
            train=data,
            val=data,
            batch_size=4,
            num_workers=1,
            grid=GRID,
            feature_dim=DIM,
        )
        module.setup("fit")
        return [*module.train_dataloader(), *module.val_dataloader()]

    direct, stored = batches(tmp_path / "npy" / "train"), batches(imported / "train")
    assert len(direct) == len(stored) > 4
    for one, other in zip(direct, stored, strict=True):
        assert one.image_features.dtype == other.image_features.dtype == torch.float32
        assert torch.equal(one.image_features, other.image_features)
        assert torch.equal(one.question_index, other.question_index)
        images = one.image[:: len(one) // len(one.image_features)].tolist()
        np.testing.assert_array_equal(one.image_features, np.stack([maps[i] for i in images]))


def test_import_is_as_exact_as_asked_for(tmp_path, capsys):
    maps = write_npy(tmp_path / "val", range(5))
    assert main([str(tmp_path / "val"), "--out", str(tmp_path / "a")]) == 0
    assert "val: 5 of 5" in capsys.readouterr().out
    store = FeatureStore(tmp_path / "a" / "val")
    assert store.attributes == FeatureStore(tmp_path / "val").attributes
    np.testing.assert_array_equal(store.read(range(5)), np.stack(list(maps.values())))
    options = ["--out", str(tmp_path / "b"), "--dtype", "float16", "--compression", "zstd"]
    assert main([str(tmp_path / "val"), *options]) == 0
    store = FeatureStore(tmp_path / "b" / "val")
    halved = np.stack(list(maps.values())).astype(np.float16)
    np.testing.assert_array_equal(store.read(range(5)), halved)


def test_import_goes_on_where_it_was(tmp_path):
    write_npy(tmp_path / "npy" / "train", range(6))
    out = tmp_path / "out"
    arguments = [str(tmp_path / "npy"), "--out", str(out), "--shard-size", "2"]
    assert main(arguments) == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")}
    write_npy(tmp_path / "npy" / "train", range(6, 9))
    write_npy(tmp_path / "npy" / "val", range(2))
    assert main(arguments) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(FeatureStore(out / "train")) == 9
    assert len(FeatureStore(out / "val")) == 2


def test_import_names_what_it_leaves_out(tmp_path, capsys):
    folder = tmp_path / "npy" / "train"
    write_npy(folder, range(6))
    names = [image_name(image).replace(".png", ".npy") for image in range(6)]
    np.save(folder / names[0], np.zeros((*GRID, DIM + 1), np.float32))
    (folder / names[2]).write_bytes((folder / names[2]).read_bytes()[:-5])
    np.save(folder / names[4], np.array({"code": print}), allow_pickle=True)
    assert main([str(tmp_path / "npy"), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert all(names[i] in told for i in (0, 2, 4))
    assert not any(names[i] in told for i in (1, 3, 5))
    assert "3 files left out" in told
    store = FeatureStore(tmp_path / "out" / "train")
    assert store.filenames == [image_name(image) for image in (1, 3, 5)]


def test_import_errors_are_one_line(tmp_path, capsys):
    def error(*arguments):
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("error: ") and "\n" not in told
        return told

    assert "nowhere" in error(str(tmp_path / "nowhere"))
    (tmp_path / "empty" / "train").mkdir(parents=True)
    assert "no .npy" in error(str(tmp_path / "empty"))
    write_npy(tmp_path / "npy" / "train", range(2))
    assert main([str(tmp_path / "npy"), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert "dtype" in error(str(tmp_path / "npy"), "--dtype", "float16")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"not numpy", "readable"),
        (np.array([{"a": 1}], dtype=object), "readable"),
        (np.zeros((2, *GRID, DIM), np.float32), r"\(2, 2, 3, 4\)"),
        (np.zeros((*GRID, DIM), np.int32), "int32"),
        (np.zeros((*GRID, DIM + 1), np.float32), r"\(2, 3, 5\)"),
        (np.zeros((*GRID, DIM), np.float16), "float16"),
    ],
)
def test_files_that_are_no_features_are_named(tmp_path, content, reason):
    write_npy(tmp_path, [1, 2])
    bad = tmp_path / image_name(2).replace(".png", ".npy")
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        np.save(bad, content, allow_pickle=True)
    store = FeatureStore(tmp_path)
    store.read([0])
    with pytest.raises(FeatureStoreError, match=rf"000002\.npy.*{reason}"):
        store.read([1])


@pytest.mark.slow
def test_worker_processes_read_the_files(tmp_path):
    maps = write_npy(tmp_path, range(6))
    store = FeatureStore(tmp_path)
    loader = DataLoader(
        list(range(6)),
        batch_size=2,
        num_workers=2,
        collate_fn=store.read,
        multiprocessing_context="spawn",
    )
    np.testing.assert_array_equal(np.concatenate(list(loader)), np.stack(list(maps.values())))
