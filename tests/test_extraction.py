import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clevr_prep.backbones import build_backbone
from clevr_prep.backbones.cellnet import CellNet
from clevr_prep.data.extract_resnet101_c4 import main
from snmn.feature_store import FeatureStore

SCRIPT = Path(__file__).resolve().parents[1] / "clevr_prep" / "data" / "extract_resnet101_c4.py"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    network = CellNet()
    network.fold()
    path = tmp_path_factory.mktemp("weights") / "cellnet.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 11), ("val", 3)):
        folder = tmp_path / "data" / "images" / split
        folder.mkdir(parents=True)
        for i in reversed(range(count)):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            # Genuine subsets have names that tell of another split.
            Image.fromarray(pixels).save(folder / f"CLEVR_new_{i:06d}.png")
    (tmp_path / "data" / "images" / "train" / "notes.txt").write_text("no image")
    return tmp_path / "data"


def run(dataset, weights, out, *options):
    return main(
        ["--data-dir", str(dataset), "--out", str(out), "--backbone", "cellnet"]
        + ["--weights", str(weights), "--device", "cpu", "--batch-size", "3", "--workers", "0"]
        + ["--shard-size", "4", *options]
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_split_is_extracted_in_order_of_names(dataset, weights, tmp_path, capsys):
    assert run(dataset, weights, tmp_path / "out", "--dtype", "float32") == 0
    assert "train: 11 of 11 images" in capsys.readouterr().out
    backbone = build_backbone("cellnet", weights=weights)
    for split, count in (("train", 11), ("val", 3)):
        store = FeatureStore(tmp_path / "out" / split)
        assert store.filenames == [f"CLEVR_new_{i:06d}.png" for i in range(count)]
        assert store.attributes == {**backbone.attributes, "dtype": "float32"}
        assert (store.grid, store.dim) == ((14, 14), 256)
        images = [Image.open(dataset / "images" / split / name) for name in store.filenames]
        expected = backbone(backbone.preprocess(images)).numpy()
        np.testing.assert_allclose(
            store.read(range(count)), expected, rtol=0, atol=1e-4 * expected.max()
        )


def test_second_run_does_only_what_is_missing(dataset, weights, tmp_path):
    assert run(dataset, weights, tmp_path / "whole") == 0
    out = tmp_path / "out"
    assert run(dataset, weights, out, "--split", "train", "--limit", "8") == 0
    assert not (out / "val").exists()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")}
    assert len(before) == 2
    assert run(dataset, weights, out, "--workers", "1") == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert contents(out) == contents(tmp_path / "whole")


def test_unreadable_images_are_named_and_the_others_kept(dataset, weights, tmp_path, capsys):
    train = dataset / "images" / "train"
    cut, text = train / "CLEVR_new_000002.png", train / "CLEVR_new_000005.png"
    good = cut.read_bytes()
    cut.write_bytes(good[: len(good) // 2])
    text.write_text("not an image")
    assert run(dataset, weights, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"unreadable: {cut}" in told
    assert f"unreadable: {text}" in told
    assert "2 images left out" in told
    store = FeatureStore(tmp_path / "out" / "train")
    assert len(store) == 9
    assert cut.name not in store.filenames
    assert len(FeatureStore(tmp_path / "out" / "val")) == 3

    cut.write_bytes(good)
    text.unlink()
    assert run(dataset, weights, tmp_path / "out") == 0
    store = FeatureStore(tmp_path / "out" / "train")
    assert store.filenames[-1] == cut.name
    backbone = build_backbone("cellnet", weights=weights)
    expected = backbone(backbone.preprocess([Image.open(cut)])).numpy()
    read = store.read([store.index(cut.name)])
    np.testing.assert_allclose(read, expected, rtol=0, atol=2e-3 * expected.max())


def test_errors_are_one_line_that_names_the_place(dataset, weights, tmp_path, capsys):
    def error(*arguments) -> str:
        assert run(*arguments) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("error: ") and "\n" not in told
        return told

    out = tmp_path / "out"
    assert "nowhere" in error(tmp_path / "nowhere", weights, out)
    assert "images/test" in error(dataset, weights, out, "--split", "test")
    assert "none.pt" in error(dataset, tmp_path / "none.pt", out)
    assert "no preprocessing 'caffe'" in error(dataset, weights, out, "--preprocess", "caffe")
    assert "device 'nonsense'" in error(dataset, weights, out, "--device", "nonsense")
    empty = tmp_path / "empty"
    (empty / "images" / "val").mkdir(parents=True)
    assert "no image in" in error(empty, weights, out)
    assert run(dataset, weights, out, "--split", "val") == 0
    capsys.readouterr()
    assert "dtype" in error(dataset, weights, out, "--split", "val", "--dtype", "float32")


@pytest.mark.parametrize("options", [["--limit", "0"], ["--batch-size", "0"], ["--workers", "-1"]])
def test_nonsensical_options_are_refused(options):
    with pytest.raises(SystemExit):
        main(options)


def test_runs_as_a_script_from_any_folder(dataset, weights, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--backbone", "cellnet", "--weights", str(weights)]
        + ["--data-dir", "data", "--out", "out", "--split", "val", "--workers", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(FeatureStore(tmp_path / "out" / "val")) == 3
