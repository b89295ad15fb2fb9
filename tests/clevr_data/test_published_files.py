"""Files as publications, generators, editors and file systems leave them, through the commands."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.extract_resnet101_c4 import main as extract_features
from clevr_prep.data.get_ground_truth_layout import main as write_layouts
from clevr_prep.data.import_features import main as import_features
from clevr_prep.pretraining.data import SceneDataError, find_scenes
from snmn.common.vocabulary import ANSWERS, MODULES
from snmn.data.data_module import CLEVRDataModule
from snmn.data.datasets import DataError
from snmn.data.feature_store import FeatureStore
from snmn.data.imdb import Imdb
from tests.helpers.tiny.dataset import image_name, question, write_questions, write_store
from tests.helpers.tiny.extraction import extract, write_images, write_weights


def as_generated(entry: dict, **changes) -> dict:
    """A question as CLEVR's generator writes it: `type` for `function`, results beside nodes."""
    program = [
        {"type": node["function"], "inputs": node["inputs"], "_output": [0, 1]}
        | {"value_inputs": node["value_inputs"]}
        for node in entry["program"]
    ]
    return entry | {"program": program} | changes


def make(root, *options):
    """Layouts and imdbs of a folder; returns the two exit codes."""
    given = ["--data-dir", str(root), *options]
    return write_layouts(given), build_imdb([*given, "--out", str(root / "imdb")])


def names(layout):
    return [MODULES[i] for i in layout if i]


def test_expressions_as_published(tmp_path):
    """Answers there are results of programs, which say nothing where a box is meant."""
    folder = tmp_path / "images" / "loc_val"
    folder.mkdir(parents=True)
    Image.new("RGB", (480, 320)).save(folder / "CLEVR_loc_val_000000.png")
    program = [
        {"type": "scene", "inputs": [], "value_inputs": []},
        {"type": "filter_shape", "inputs": [0], "value_inputs": ["cube"]},
        {"type": "unique", "inputs": [1], "value_inputs": []},
    ]
    entry = {
        "image_filename": "CLEVR_loc_val_000000.png",
        "question": "the cube",
        "program": program,
    }
    boxes = [[10, 10, 40, 40], [-0.5, 10, 40, 40], [450, 300, 30.5, 20]]
    answers = [0, 12, {"object": 3}]
    entries = [entry | {"answer": a, "bbox": b} for a, b in zip(answers, boxes, strict=True)]
    write_questions(tmp_path, entries, "loc_val")
    assert make(tmp_path, "--loc") == (0, 0)
    imdb = Imdb(tmp_path / "imdb" / "imdb_loc_val.h5")
    assert imdb.answer.tolist() == [-1] * 3
    assert imdb.box.tolist() == [[10, 10, 40, 40], [0, 10, 39.5, 40], [450, 300, 30, 20]]
    assert [names(layout) for layout in imdb.layout] == [["_Find"]] * 3


def test_answers_as_generated(tmp_path, capsys):
    answers = [0, 10, True, False, "red"]
    asked = [as_generated(question(n, n), answer=answer) for n, answer in enumerate(answers)]
    write_questions(tmp_path, asked)
    assert make(tmp_path) == (0, 0)
    imdb = Imdb(tmp_path / "imdb" / "imdb_tiny.h5")
    assert [ANSWERS[i] for i in imdb.answer] == ["0", "10", "yes", "no", "red"]
    write_questions(tmp_path, [*asked, question(7, 7) | {"answer": 11}])
    assert make(tmp_path) == (0, 2)
    assert "question 5 ('How many red" in (told := capsys.readouterr().err)
    assert "unknown answer 11" in told


def test_numbers_that_start_anew_as_closure_s(tmp_path, capsys):
    """Each family of CLOSURE's training questions is numbered from 0."""
    asked = [
        as_generated(question(n, n % 2, color, hops=n % 3), answer=n)
        for n, color in enumerate(("red", "blue", "green", "red"))
    ]
    write_questions(tmp_path, asked)
    assert make(tmp_path) == (0, 2)
    told = capsys.readouterr().err
    assert "question 2 (" in told and "question_index 0 is also that of question 0" in told
    assert "--number-by-place" in told
    options = ["--data-dir", str(tmp_path), "--out", str(tmp_path / "imdb"), "--number-by-place"]
    assert build_imdb(options) == 0
    imdb = Imdb(tmp_path / "imdb" / "imdb_tiny.h5")
    assert imdb.question_index.tolist() == [0, 1, 2, 3] and imdb.numbered_by_place
    assert imdb.hops.tolist() == [0, 1, 2, 0]
    # Names in place of numbers do not matter either.
    write_questions(tmp_path, [entry | {"question_index": "a-1"} for entry in asked])
    assert make(tmp_path) == (0, 2)
    assert "question_index 'a-1' is no whole number" in (told := capsys.readouterr().err)
    assert "--number-by-place" in told
    assert build_imdb(options) == 0
    # Numbered otherwise, the same file makes another imdb.
    write_questions(tmp_path, [entry | {"question_index": 9 - n} for n, entry in enumerate(asked)])
    assert make(tmp_path) == (0, 0)
    imdb = Imdb(tmp_path / "imdb" / "imdb_tiny.h5")
    assert imdb.question_index.tolist() == [9, 8, 7, 6] and not imdb.numbered_by_place


def test_split_given_again_adds_to_the_first(tmp_path, capsys):
    for split in ("train", "val", "other"):
        write_questions(tmp_path, [question(0, 0)], split)
    assert make(tmp_path, "--split", "train", "--split", "val", "train") == (0, 0)
    done = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert done == ["train", "val"] * 2
    found = sorted(path.name for path in (tmp_path / "imdb").glob("*.h5"))
    assert found == ["imdb_train.h5", "imdb_val.h5"]


def test_null_is_no_program(tmp_path, capsys):
    write_questions(tmp_path, [question(0, 0) | {"program": None}])
    assert make(tmp_path) == (0, 0)
    told = capsys.readouterr().out
    assert "its questions have no programs, so no layouts" in told
    assert "get_ground_truth_layout.py makes them" not in told
    assert Imdb(tmp_path / "imdb" / "imdb_tiny.h5").layout is None
    # Some with and some without are none that a model can be trained on.
    write_questions(tmp_path, [question(0, 0), question(0, 1) | {"program": None}])
    assert make(tmp_path)[0] == 2
    assert "question 1 has no program" in capsys.readouterr().err


def test_layouts_of_programs_do_not_go_with_questions_without(tmp_path, capsys):
    write_questions(tmp_path, [question(0, 0)])
    assert make(tmp_path) == (0, 0)
    write_questions(tmp_path, [question(0, 0) | {"program": None}])
    assert make(tmp_path) == (0, 2)
    assert "was made for other questions" in capsys.readouterr().err


def test_layouts_of_a_dataset_that_is_only_read(tmp_path, capsys):
    root, out = tmp_path / "dataset", tmp_path / "layouts"
    write_questions(root, [question(0, 0, hops=1)])
    before = sorted(root.rglob("*"))
    given = ["--data-dir", str(root)]
    assert write_layouts([*given, "--out", str(out)]) == 0
    assert f"--layouts {out}" in capsys.readouterr().out
    assert build_imdb([*given, "--out", str(tmp_path), "--layouts", str(out)]) == 0
    assert sorted(root.rglob("*")) == before
    imdb = Imdb(tmp_path / "imdb_tiny.h5")
    assert names(imdb.layout[0]) == ["_Find", "_Transform", "_Filter", "_DescribeOne"]
    assert build_imdb([*given, "--out", str(tmp_path), "--layouts", str(tmp_path / "none")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_where_layouts_cannot_be_written_out_is_named(tmp_path, capsys, monkeypatch):
    write_questions(tmp_path, [question(0, 0)])

    def read_only(path):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("clevr_prep.data.get_ground_truth_layout.lock_file", read_only)
    assert write_layouts(["--data-dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "Read-only file system" in told and "--out names another folder" in told


@pytest.mark.parametrize("command", ["layouts", "imdb"])
def test_json_as_editors_leave_it(tmp_path, capsys, command):
    path = write_questions(tmp_path, [question(0, 0)])
    run = {"layouts": write_layouts, "imdb": build_imdb}[command]
    given = ["--data-dir", str(tmp_path)] + (["--out", str(tmp_path)] if command == "imdb" else [])
    plain = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + plain)
    assert run(given) == 0
    path.write_text(json.dumps(json.loads(plain)["questions"]))
    assert run(given) == 2
    told = capsys.readouterr().err
    assert f"{path.name} holds a list" in told and '{"questions": [...]}' in told
    assert "valid JSON" not in told


def test_scenes_as_editors_leave_them(tmp_path):
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "scenes" / "CLEVR_train_scenes.json"
    scenes = {"scenes": [{"image_filename": "a.jpg"}]}
    path.write_text("\ufeff" + json.dumps(scenes), encoding="utf-8")
    assert find_scenes(tmp_path, "train") == [(folder / "a.jpg", scenes["scenes"][0])]
    path.write_text(json.dumps({"scenes": [{"image_filename": "a.png"}]}))
    with pytest.raises(SceneDataError, match="no image of .*, but a.jpg"):
        find_scenes(tmp_path, "train")


def test_a_home_folder_within_options(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_questions(tmp_path / "data", [question(0, 0)])
    assert write_layouts(["--data-dir=~/data", "--out=~/layouts"]) == 0
    assert build_imdb(["--data-dir=~/data", "--out=~/imdb", "--layouts=~/layouts"]) == 0
    assert Imdb(tmp_path / "imdb" / "imdb_tiny.h5").layout is not None
    weights = write_weights(tmp_path / "cellnet.pt")
    write_images(tmp_path / "data")
    small = ["--backbone", "cellnet", "--workers", "0", "--split", "val"]
    options = ["--data-dir=~/data", "--out=~/features", f"--weights=~/{weights.name}"]
    assert extract_features([*options, *small]) == 0
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", np.zeros((2, 3, 4), np.float32))
    assert import_features(["~/npy", "--out=~/features"]) == 0
    found = {path.name for path in (tmp_path / "features").iterdir()}
    assert found == {"val", "npy"}
    assert not os.path.lexists("~")


def test_hidden_names_are_neither_images_nor_features_nor_splits(tmp_path, capsys):
    weights = write_weights(tmp_path / "cellnet.pt")
    root = write_images(tmp_path / "data")
    for folder in (root / "images", root / "images" / "val", root / "questions"):
        (folder / ".ipynb_checkpoints").mkdir(parents=True)
        (folder / ".ipynb_checkpoints" / "a.png").write_bytes(b"x")
        (folder / "._a.png").write_bytes(b"x")
        (folder / "._CLEVR_val_questions.json").write_bytes(b"x")
    (root / "images" / "._val").write_bytes(b"x")
    for left_behind in (".hidden", "__MACOSX", "@eaDir"):
        (root / "images" / left_behind).mkdir()
        Image.new("RGB", (30, 20)).save(root / "images" / left_behind / "a.png")
    (root / "images" / "val" / "folder.png").mkdir()
    assert extract(root, weights, tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train", "val"]
    assert "3 of 3 images" in capsys.readouterr().out

    maps = tmp_path / "npy" / "val"
    maps.mkdir(parents=True)
    np.save(maps / "a.npy", np.zeros((2, 3, 4), np.float32))
    for hidden in (maps / "._a.npy", tmp_path / "npy" / ".ipynb_checkpoints" / "a.npy"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(b"x")
    assert FeatureStore(maps).filenames == ["a.png"]
    assert import_features([str(tmp_path / "npy"), "--out", str(tmp_path / "imported")]) == 0
    assert [path.name for path in (tmp_path / "imported").iterdir()] == ["val"]
    assert FeatureStore(tmp_path / "imported" / "val").filenames == ["a.png"]


def test_images_of_other_kinds_are_counted(tmp_path, capsys):
    weights = write_weights(tmp_path / "cellnet.pt")
    root = write_images(tmp_path / "data")
    folder = root / "images" / "val"
    for name in ("a.tif", "b.TIF", "c.webp", "d.heic", "notes.txt", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    assert extract(root, weights, tmp_path / "out") == 1
    told = capsys.readouterr()
    expected = f"{folder} has images of kinds that are not read (1 .heic, 2 .tif, 1 .webp)"
    assert expected in told.err and ".png" in told.err
    assert "3 of 3 images" in told.out
    for path in folder.glob("*.png"):
        path.unlink()
    assert extract(root, weights, tmp_path / "out", "--split", "val") == 2
    assert expected in capsys.readouterr().err


def test_names_that_end_otherwise_than_the_images(tmp_path, capsys):
    """JSON says .png, the files are .jpg."""
    write_questions(tmp_path, [question(0, 0)])
    assert make(tmp_path) == (0, 0)
    features = write_store(tmp_path / "features", [0])
    imdb = tmp_path / "imdb" / "imdb_tiny.h5"

    def setup(folder):
        data = CLEVRDataModule(
            test={"vqa": (folder, imdb)}, num_workers=0, grid=(2, 3), feature_dim=4
        )
        data.setup("test")
        data.test_dataloader()

    setup(features)
    write_questions(tmp_path, [question(0, 0) | {"image_filename": "CLEVR_tiny_000000.jpg"}])
    assert make(tmp_path) == (0, 0)
    with pytest.raises(DataError, match=f"it has {image_name(0)}, though: .*image_filename"):
        setup(features)

    folder = tmp_path / "images" / "loc_tiny"
    folder.mkdir(parents=True)
    Image.new("RGB", (48, 32)).save(folder / "CLEVR_tiny_000000.jpg")
    entry = {"question": "the cube", "image_filename": image_name(0), "bbox": [0, 0, 9, 9]}
    write_questions(tmp_path, [entry], "loc_tiny")
    assert make(tmp_path, "--loc")[1] == 2
    told = capsys.readouterr().err
    assert f"{image_name(0)}, but CLEVR_tiny_000000.jpg: image_filename must end" in told


def test_maps_with_channels_first_are_said(tmp_path, capsys):
    folder = tmp_path / "npy" / "val"
    folder.mkdir(parents=True)
    maps = np.random.default_rng(0).random((1, 8, 2, 3)).astype(np.float32)
    np.save(folder / "CLEVR_tiny_000000.npy", maps)
    assert import_features([str(folder), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "(8, 2, 3)" in told and "numpy.moveaxis(features, -3, -1)" in told
    assert not (tmp_path / "out").exists()
    write_questions(tmp_path, [question(0, 0)])
    assert make(tmp_path) == (0, 0)
    data = {"vqa": (folder, tmp_path / "imdb" / "imdb_tiny.h5")}
    with pytest.raises(DataError, match="channels seem to come first"):
        CLEVRDataModule(test=data, num_workers=0, grid=(2, 3), feature_dim=8).setup("test")
    # What is said to do is right.
    np.save(folder / "CLEVR_tiny_000000.npy", np.moveaxis(maps, -3, -1))
    CLEVRDataModule(test=data, num_workers=0, grid=(2, 3), feature_dim=8).setup("test")
