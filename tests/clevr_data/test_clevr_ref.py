"""CLEVR-Ref datasets: the command's --loc, boxes, and what is made of them."""

import json

import numpy as np
import pytest
from PIL import Image

from clevr_prep.clevr.programs import REFERRING_TYPES, find_referent, hops, question_type
from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as build_layouts
from clevr_prep.synthetic import chunks, dataset
from clevr_prep.synthetic.__main__ import main
from clevr_prep.synthetic.chunks import Settings
from clevr_prep.synthetic.dataset import build_dataset
from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.scenes.object_boxes import can_be_referred_to, mask_boxes, visible_targets
from snmn.common.vocabulary import MODULES, decode
from snmn.data.imdb import Imdb
from tests.synthetic.test_synthetic_dataset import contents, read

WIDTH, HEIGHT = 90, 60
SETTINGS = Settings(questions_per_image=4, width=WIDTH, height=HEIGHT, samples=1, loc=True)
COUNTS = {"train": 9, "val": 4}


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Several chunks per split without rendering hundreds of images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "CHUNK", 4)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    build_dataset(out, COUNTS, SETTINGS, progress=False)
    return out


def entries(out):
    """(split, scene, expression) of a whole dataset."""
    for split in ("loc_train", "loc_val"):
        scenes = read(out, "scenes", split)["scenes"]
        for entry in read(out, "questions", split)["questions"]:
            yield split, scenes[entry["image_index"]], entry


def test_layout_and_keys_are_those_of_clevr_ref(whole):
    assert {path.name for path in (whole / "images").iterdir()} == {"loc_train", "loc_val"}
    for split, count in (("loc_train", 9), ("loc_val", 4)):
        names = [f"CLEVR_{split}_{i:06d}.png" for i in range(count)]
        assert sorted(path.name for path in (whole / "images" / split).iterdir()) == names
        assert [s["image_filename"] for s in read(whole, "scenes", split)["scenes"]] == names
        expressions = read(whole, "questions", split)
        assert expressions["info"]["split"] == split
        assert len(expressions["questions"]) == 4 * count
    numbers = {"loc_train": 0, "loc_val": 0}
    for split, scene, entry in entries(whole):
        assert set(entry) == {
            "question_index", "image_index", "image_filename", "split", "question", "program",
            "question_family_index", "target_object", "bbox",
        }  # fmt: skip
        assert entry["question_index"] == numbers[split]
        numbers[split] += 1
        assert entry["split"] == split and entry["image_filename"] == scene["image_filename"]
        assert entry["program"][-1]["function"] == "unique"


def test_boxes_are_those_of_the_objects_denoted(whole):
    for _, scene, entry in entries(whole):
        assert find_referent(entry["program"], scene) == entry["target_object"]
        mask = render_scene(scene)[1] == entry["target_object"] + 1
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y, w, h = entry["bbox"]
        assert (x, y) == (columns[0], rows[0])
        assert (x + w - 1, y + h - 1) == (columns[-1], rows[-1])
        assert mask.sum() >= 200 * WIDTH * HEIGHT / (320 * 240)


def test_scenes_have_all_boxes(whole):
    for split in ("loc_train", "loc_val"):
        for scene in read(whole, "scenes", split)["scenes"]:
            mask = render_scene(scene)[1]
            seen = [(thing["bbox"], thing["visible_pixels"]) for thing in scene["objects"]]
            assert seen == mask_boxes(mask, len(seen))
            assert [n for _, n in seen] == np.bincount(mask.ravel(), minlength=99)[
                1 : len(seen) + 1
            ].tolist()


def test_images_are_those_of_the_scenes_and_none_of_clevr_s(whole):
    for scene in read(whole, "scenes", "loc_val")["scenes"]:
        with Image.open(whole / "images" / "loc_val" / scene["image_filename"]) as image:
            assert (np.asarray(image) == render_scene(scene)[0]).all()
    plain = chunks.make_scene(Settings(width=WIDTH, height=HEIGHT), "val", 0)
    assert plain["objects"] != read(whole, "scenes", "loc_val")["scenes"][0]["objects"]
    assert "bbox" not in plain["objects"][0]


@pytest.mark.slow
def test_workers_do_not_matter(whole, tmp_path):
    build_dataset(tmp_path, COUNTS, SETTINGS, progress=False, workers=2)
    assert contents(tmp_path) == contents(whole)


def test_interrupted_run_goes_on_and_a_split_grows(whole, tmp_path, monkeypatch):
    real, made = chunks.render_scene, []

    def failing(scene):
        if len(made) == 6:
            raise KeyboardInterrupt
        made.append(scene["image_filename"])
        return real(scene)

    monkeypatch.setattr(chunks, "render_scene", failing)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(tmp_path, {"train": 7}, SETTINGS, progress=False)
    monkeypatch.setattr(chunks, "render_scene", lambda s: made.append(1) or real(s))
    build_dataset(tmp_path, {"train": 7}, SETTINGS, progress=False)
    assert len(made) == 7
    monkeypatch.undo()
    monkeypatch.setattr(dataset, "CHUNK", 4)
    build_dataset(tmp_path, COUNTS, SETTINGS, progress=False)
    assert contents(tmp_path) == contents(whole)


def test_a_folder_has_one_kind_and_older_folders_are_known(whole, tmp_path):
    with pytest.raises(DatasetError, match="loc is True, not False"):
        build_dataset(whole, {"train": 9}, Settings(**vars(SETTINGS) | {"loc": False}))
    plain = Settings(questions_per_image=1, width=48, height=32, samples=1)
    build_dataset(tmp_path, {"val": 1}, plain, progress=False)
    stored = tmp_path / ".work" / "settings.json"
    settings = json.loads(stored.read_text())
    del settings["loc"]  # as it was before there was a choice
    stored.write_text(json.dumps(settings))
    build_dataset(tmp_path, {"val": 2}, plain, progress=False)
    assert len(read(tmp_path, "scenes", "val")["scenes"]) == 2


def test_command_writes_report_and_sheet(tmp_path, capsys):
    arguments = [
        str(tmp_path), "--loc", "--train", "3", "--val", "2", "--test", "1", "--width", "90",
        "--height", "60", "--samples", "1", "--workers", "1", "--max-hops", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "loc_train: 3 images, 30 questions" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())["loc_train"]
    assert sum(report["box place"].values()) == sum(report["question type"].values()) == 30
    assert "answer" not in report
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        # White frames stand out of images that are nowhere as bright.
        frames = (np.asarray(sheet.convert("L"))[:, 8:248] == 255).mean()
    assert frames > 0.01
    for entry in read(tmp_path, "questions", "loc_test")["questions"]:
        assert hops(entry["program"]) <= 1


def test_layouts_and_imdb_of_the_dataset(whole, tmp_path):
    build_layouts(["--loc", "--data-dir", str(whole)])
    assert build_imdb(["--loc", "--data-dir", str(whole), "--out", str(tmp_path)]) == 0
    found = {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"}
    assert found == {"imdb_loc_train.h5", "imdb_loc_val.h5"}
    imdb = Imdb(tmp_path / "imdb_loc_train.h5")
    assert imdb.question_types == REFERRING_TYPES
    assert imdb.image_size.tolist() == [[WIDTH, HEIGHT]] * 9
    found = read(whole, "questions", "loc_train")["questions"]
    assert imdb.box.tolist() == [entry["bbox"] for entry in found]
    for row, entry in enumerate(found):
        assert decode(imdb.question[row, : imdb.length[row]]).lower() == entry["question"]
        assert imdb.question_types[imdb.question_type[row]] == question_type(entry["program"])
        assert imdb.hops[row] == hops(entry["program"])
        assert MODULES[imdb.layout[row, 0]] in ("_Find", "_Scene")
    assert (imdb.answer == -1).all()


def test_no_constant_box_wins():
    """With expressions about many scenes the best single box finds hardly any target."""
    settings = Settings(loc=True)
    boxes = []
    for index in range(60):
        scene = chunks.make_scene(settings, "loc_train", index)
        rng = np.random.default_rng(index)
        drawn = chunks._make_questions(settings, scene, rng, None)
        boxes += [entry["bbox"] for entry in drawn]
    x, y, w, h = np.array(boxes, dtype=float).T
    right = np.minimum(x[:, None] + w[:, None], x + w) - np.maximum(x[:, None], x)
    down = np.minimum(y[:, None] + h[:, None], y + h) - np.maximum(y[:, None], y)
    shared = right.clip(0) * down.clip(0)
    iou = shared / ((w * h)[:, None] + w * h - shared)
    assert (iou >= 0.5).mean(axis=1).max() < 0.12


def test_boxes_of_a_mask():
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2], mask[3, 4], mask[0, 0] = 1, 1, 3
    assert mask_boxes(mask, 3) == [([2, 1, 3, 3], 2), (None, 0), ([0, 0, 1, 1], 1)]


def test_targets_show_enough_and_can_be_told_apart():
    look = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}
    pixels = (99, 100, 5000)
    scene = {
        "objects": [look | {"visible_pixels": n} for n in pixels],
        "render": {"width": 240, "height": 160},
    }
    assert visible_targets(scene) == [1, 2]
    assert not can_be_referred_to(scene, [1, 2])
    scene["objects"][0]["color"] = "blue"
    assert not can_be_referred_to(scene, [1, 2])
    scene["objects"][1]["color"] = "gray"
    assert can_be_referred_to(scene, [1, 2])
