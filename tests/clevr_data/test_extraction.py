import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import functional as TF

from clevr_prep.data.extract_resnet101_c4 import main
from snmn.backbones import build_backbone
from snmn.data.feature_store import FeatureStore
from tests.helpers.image_kinds import ORIENTATION, grey_kinds, hidden, in_file, picture, unclear
from tests.helpers.killing import run_and_kill
from tests.helpers.paths import ROOT, SHARED
from tests.helpers.tiny.extraction import extract, write_images, write_weights

SCRIPT = ROOT / "clevr_prep" / "data" / "extract_resnet101_c4.py"
GENUINE = SHARED / "real_clevr_dev"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "cellnet.pt")


@pytest.fixture
def dataset(tmp_path):
    return write_images(tmp_path / "data")


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_split_is_extracted_in_order_of_names(dataset, weights, tmp_path, capsys):
    assert extract(dataset, weights, tmp_path / "out", "--dtype", "float32") == 0
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
    assert extract(dataset, weights, tmp_path / "whole") == 0
    out = tmp_path / "out"
    assert extract(dataset, weights, out, "--split", "train", "--limit", "8") == 0
    assert not (out / "val").exists()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.h5")}
    assert len(before) == 2
    assert extract(dataset, weights, out, "--workers", "1") == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert contents(out) == contents(tmp_path / "whole")


def test_unusable_images_are_named_and_the_others_kept(dataset, weights, tmp_path, capsys):
    train = dataset / "images" / "train"
    first, cut, text = (train / f"CLEVR_new_{i:06d}.png" for i in (0, 2, 5))
    good = cut.read_bytes()
    cut.write_bytes(good[: len(good) // 2])
    text.write_text("not an image")
    Image.new("RGB", (30, 21)).save(first)
    assert extract(dataset, weights, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"left out: {cut} cannot be read" in told
    assert f"left out: {text} cannot be read" in told
    assert f"left out: {first} is 30 x 21 pixels, others 30 x 20" in told
    assert "3 left out" in told
    store = FeatureStore(tmp_path / "out" / "train")
    assert len(store) == 8
    assert cut.name not in store.filenames
    assert len(FeatureStore(tmp_path / "out" / "val")) == 3

    cut.write_bytes(good)
    text.unlink()
    assert extract(dataset, weights, tmp_path / "out", "--any-size") == 0
    store = FeatureStore(tmp_path / "out" / "train")
    assert store.filenames[-2:] == [first.name, cut.name]
    backbone = build_backbone("cellnet", weights=weights)
    expected = backbone(backbone.preprocess([Image.open(cut)])).numpy()
    read = store.read([store.index(cut.name)])
    np.testing.assert_allclose(read, expected, rtol=0, atol=2e-3 * expected.max())


def features_of(root, weights, files, *options):
    """Features by name of an own dataset of image files, and what the command says."""
    folder = root / "data" / "images" / "val"
    folder.mkdir(parents=True)
    for name, file in files.items():
        (folder / f"{name}.png").write_bytes(file.getvalue())
    status = extract(root / "data", weights, root / "out", *options)
    store = FeatureStore(root / "out" / "val")
    return status, dict(zip(store.filenames, store.read(range(len(store))), strict=True))


def test_features_do_not_depend_on_the_kind_of_file(weights, tmp_path):
    status, grey = features_of(tmp_path / "grey", weights, grey_kinds(picture()))
    assert status == 0
    expected = grey.pop("8-bit PNG.png")
    assert len(grey) == 8 and all(np.array_equal(found, expected) for found in grey.values())
    kinds = hidden(picture())
    kinds["another secret"] = hidden(picture(), secret=(0, 0, 255))["RGBA PNG"]
    _, clear = features_of(tmp_path / "clear", weights, kinds)
    np.testing.assert_array_equal(clear["RGBA PNG.png"], clear["another secret.png"])


def test_unclear_images_are_left_out_by_name(weights, tmp_path, capsys):
    kinds = unclear(picture())
    files = {"good": grey_kinds(picture())["8-bit PNG"]}
    files |= {name: file for name, (file, _) in kinds.items()}
    status, found = features_of(tmp_path, weights, files)
    told = capsys.readouterr().err
    assert status == 1 and list(found) == ["good.png"]
    for name, (_, said) in kinds.items():
        assert re.search(rf"left out: .*{name}\.png (has|holds) .*{said}", told)


def test_images_are_turned_and_measured_as_their_camera_was_held(weights, tmp_path):
    image = picture()
    held = Image.Exif()
    held[ORIENTATION] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    files = {"a": in_file(image, "PNG"), "b": in_file(turned, "PNG", exif=held)}
    status, found = features_of(tmp_path, weights, files)
    assert status == 0
    np.testing.assert_array_equal(found["a.png"], found["b.png"])


def test_a_missing_split_does_not_keep_the_others_from_being_done(
    dataset, weights, tmp_path, capsys
):
    out = tmp_path / "out"
    assert extract(dataset, weights, out, "--split", "test", "val", "--split", "other") == 1
    told = capsys.readouterr().err
    assert "left out: no image folder" in told and "images/test" in told
    assert "2 left out" in told
    assert sorted(path.name for path in out.iterdir()) == ["val"]


def test_loc_takes_the_splits_of_clevr_ref(dataset, weights, tmp_path):
    shutil.copytree(dataset / "images" / "val", dataset / "images" / "loc_val")
    assert extract(dataset, weights, tmp_path / "loc", "--loc") == 0
    assert [path.name for path in (tmp_path / "loc").iterdir()] == ["loc_val"]
    assert extract(dataset, weights, tmp_path / "clevr") == 0
    assert sorted(path.name for path in (tmp_path / "clevr").iterdir()) == ["train", "val"]


def test_a_full_disk_keeps_what_is_whole(dataset, weights, tmp_path, capfd):
    out = tmp_path / "out"
    (dataset / "images" / "train" / "CLEVR_new_000000.png").write_text("not an image")
    assert extract(dataset, weights, out, "--split", "val") == 0
    kept = contents(out)

    def extract_with_little_room():
        # What does not fit fails the same way as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        assert extract(dataset, weights, out) == 2

    run_and_kill(extract_with_little_room)
    told = capfd.readouterr().err
    assert f"error: cannot write {out / 'train' / 'shard-00000.h5'}" in told
    assert "left out" in told and "CLEVR_new_000000.png" in told
    assert contents(out) == kept
    assert extract(dataset, weights, out) == 1
    assert len(FeatureStore(out / "train")) == 10


def test_too_little_disk_is_said_before_the_work(dataset, weights, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    need = 3 * 14 * 14 * 256 * 2
    for free in (need, need - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, f=free: usage._replace(free=f))
        out = tmp_path / str(free)
        assert extract(dataset, weights, out, "--split", "val") == 0
        assert ("warning: " in capsys.readouterr().err) == (free < need)


def test_compressed_and_bfloat16_features(dataset, weights, tmp_path):
    assert extract(dataset, weights, tmp_path / "plain", "--split", "val") == 0
    options = ["--split", "val", "--compression", "zstd"]
    assert extract(dataset, weights, tmp_path / "zstd", *options) == 0
    plain = FeatureStore(tmp_path / "plain" / "val").read(range(3)).astype(np.float32)
    compressed = FeatureStore(tmp_path / "zstd" / "val").read(range(3))
    np.testing.assert_array_equal(compressed, plain)
    assert (
        extract(dataset, weights, tmp_path / "b", "--split", "val", "--precision", "bfloat16") == 0
    )
    rough = FeatureStore(tmp_path / "b" / "val").read(range(3)).astype(np.float32)
    assert 0 < np.abs(rough - plain).max() < 0.05 * plain.max()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["made", "genuine"])
def test_extraction_equals_torchvision(source, resnet, tmp_path):
    if source == "genuine":
        if not GENUINE.is_dir():
            pytest.skip("the genuine images are not part of the project")
        data = GENUINE
    else:
        data = tmp_path / "data"
        folder = data / "images" / "val"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for i in range(2):
            coarse = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
            coarse.resize((480, 320)).save(folder / f"{i}.png")
    torch.save(resnet.state_dict(), tmp_path / "resnet101.pt")
    arguments = ["--data-dir", str(data), "--out", str(tmp_path / "out"), "--device", "cpu"]
    arguments += ["--weights", str(tmp_path / "resnet101.pt"), "--dtype", "float32"]
    assert main([*arguments, "--limit", "2", "--workers", "1"]) == 0
    store = FeatureStore(tmp_path / "out" / "val")
    assert (store.grid, store.dim, len(store)) == ((14, 14), 1024, 2)
    images = [Image.open(data / "images" / "val" / name).convert("RGB") for name in store.filenames]
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    inputs = torch.stack(
        [
            TF.normalize(TF.to_tensor(TF.resize(image, [224, 224])), mean, deviation)
            for image in images
        ]
    )
    with torch.no_grad():
        expected = create_feature_extractor(resnet, ["layer3"])(inputs)["layer3"]
    expected = expected.permute(0, 2, 3, 1).numpy()
    error = np.linalg.norm(store.read([0, 1]) - expected) / np.linalg.norm(expected)
    assert error < 1e-3


def test_errors_are_one_line_that_names_the_place(dataset, weights, tmp_path, capsys):
    def error(*arguments) -> str:
        assert extract(*arguments) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("error: ") and "\n" not in told
        return told

    out = tmp_path / "out"
    assert "nowhere" in error(tmp_path / "nowhere", weights, out)
    assert "images/test" in error(dataset, weights, out, "--split", "test")
    assert "none.pt" in error(dataset, tmp_path / "none.pt", out)
    assert "no preprocessing 'caffe'" in error(dataset, weights, out, "--preprocess", "caffe")
    assert "device 'nonsense'" in error(dataset, weights, out, "--device", "nonsense")
    assert "loc_<split>; --data-dir names it" in error(dataset, weights, out, "--loc")
    empty = tmp_path / "empty"
    (empty / "images" / "val").mkdir(parents=True)
    assert "no image in" in error(empty, weights, out)
    assert extract(dataset, weights, out, "--split", "val") == 0
    capsys.readouterr()
    assert "dtype" in error(dataset, weights, out, "--split", "val", "--dtype", "float32")


@pytest.mark.parametrize("options", [["--limit", "0"], ["--batch-size", "0"], ["--workers", "-1"]])
def test_nonsensical_options_are_refused(options):
    with pytest.raises(SystemExit):
        main(options)


@pytest.mark.slow
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
