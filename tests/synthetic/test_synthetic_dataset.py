"""The dataset command: formats, determinism, resuming, growing, errors, report, sheet."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clevr_prep.clevr.programs import execute
from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.synthetic import chunks, dataset
from clevr_prep.synthetic.__main__ import main
from clevr_prep.synthetic.chunks import Settings
from clevr_prep.synthetic.dataset import build_dataset
from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.report import Report, report_text
from snmn.storage.whole_files import PARTIAL_SUFFIX

SMALL = Settings(questions_per_image=2, width=60, height=40, samples=1)
COUNTS = {"train": 12, "val": 5}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several chunks per split without rendering hundreds of images."""
    monkeypatch.setattr(dataset, "CHUNK", 4)


def build(out, counts=COUNTS, settings=SMALL, **extra):
    return build_dataset(out, counts, settings, progress=False, **extra)


def contents(out):
    """Every file a user sees, by path; PNGs as pixels."""
    found = {}
    for path in sorted(Path(out).rglob("*.*")):
        if ".work" in path.parts or path.is_dir():
            continue
        if path.suffix == ".png":
            with Image.open(path) as image:
                found[str(path.relative_to(out))] = np.asarray(image).tobytes()
        else:
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    before, dataset.CHUNK = dataset.CHUNK, 4
    build(out)
    dataset.CHUNK = before
    return out


def read(out, kind, split):
    return json.loads((out / kind / f"CLEVR_{split}_{kind}.json").read_text())


def test_layout_and_formats(whole):
    for split, count in COUNTS.items():
        scenes, questions = read(whole, "scenes", split), read(whole, "questions", split)
        assert scenes["info"]["split"] == questions["info"]["split"] == split
        assert [s["image_index"] for s in scenes["scenes"]] == list(range(count))
        assert [q["question_index"] for q in questions["questions"]] == list(range(2 * count))
        names = [f"CLEVR_{split}_{i:06d}.png" for i in range(count)]
        assert [s["image_filename"] for s in scenes["scenes"]] == names
        assert sorted(p.name for p in (whole / "images" / split).iterdir()) == names
        for question in questions["questions"]:
            scene = scenes["scenes"][question["image_index"]]
            assert question["image_filename"] == scene["image_filename"]
            assert question["split"] == split
            assert execute(question["program"], scene) == question["answer"]
            assert all(
                set(n) == {"function", "inputs", "value_inputs"} for n in question["program"]
            )
            assert isinstance(question["question_family_index"], int)


def test_images_are_those_of_their_scenes(whole):
    for scene in read(whole, "scenes", "val")["scenes"]:
        with Image.open(whole / "images" / "val" / scene["image_filename"]) as image:
            assert image.size == (60, 40) and image.mode == "RGB"
            assert (np.asarray(image) == render_scene(scene)[0]).all()


def test_splits_and_images_differ(whole):
    scenes = [s["objects"] for k in COUNTS for s in read(whole, "scenes", k)["scenes"]]
    assert len({json.dumps(s) for s in scenes}) == sum(COUNTS.values())


@pytest.mark.slow
def test_workers_do_not_matter(whole, tmp_path):
    build(tmp_path, workers=2)
    assert contents(tmp_path) == contents(whole)


def test_interrupted_run_goes_on(whole, tmp_path, monkeypatch):
    real, made = chunks.render_scene, []

    def failing(scene):
        if len(made) == 7:
            raise KeyboardInterrupt
        made.append(scene["image_filename"])
        return real(scene)

    monkeypatch.setattr(chunks, "render_scene", failing)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 7
    assert not (tmp_path / "scenes" / "CLEVR_train_scenes.json").exists()
    monkeypatch.setattr(chunks, "render_scene", lambda s: made.append(1) or real(s))
    build(tmp_path)
    assert len(made) == sum(COUNTS.values())
    assert contents(tmp_path) == contents(whole)
    assert not list(tmp_path.rglob("*" + PARTIAL_SUFFIX))


@pytest.mark.slow
def test_failing_worker_is_reported(tmp_path):
    build(tmp_path, {"train": 5})
    folder = tmp_path / "images" / "train"
    (folder / "CLEVR_train_000001.png").unlink()
    # A folder where a worker's file belongs makes it fail, whoever runs the tests.
    chunk = tmp_path / ".work" / "train" / "000000-000004.json.gz"
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(DatasetError, match="worker process failed: IsADirectoryError"):
        build(tmp_path, {"train": 5}, workers=2)


def test_second_run_changes_nothing_and_missing_image_comes_back(whole, tmp_path):
    build(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    build(tmp_path)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    (tmp_path / "images" / "train" / "CLEVR_train_000005.png").unlink()
    (tmp_path / "questions" / "CLEVR_val_questions.json").unlink()
    build(tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_split_grows_and_keeps_what_it_has(whole, tmp_path):
    build(tmp_path, {"train": 6})
    first = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "images" / "train").iterdir()}
    assert not (tmp_path / "images" / "val").exists()
    build(tmp_path)
    second = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "images" / "train").iterdir()}
    assert first.items() <= second.items()
    assert contents(tmp_path) == contents(whole)
    with pytest.raises(DatasetError, match="12 train images, 3 asked for"):
        build(tmp_path, {"train": 3})


def test_other_settings_are_refused_by_name(tmp_path):
    build(tmp_path, {"val": 2})
    other = Settings(questions_per_image=2, width=90, height=40, samples=1, seed=4)
    with pytest.raises(DatasetError, match="seed is 0, not 4; width is 60, not 90"):
        build(tmp_path, {"val": 2}, other)
    (tmp_path / "foreign" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match="not made by this program"):
        build(tmp_path / "foreign")
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        build(tmp_path, {"dev": 3})


def test_damaged_chunk_is_named(tmp_path):
    build(tmp_path, {"val": 3})
    (tmp_path / "scenes" / "CLEVR_val_scenes.json").unlink()
    chunk = next((tmp_path / ".work" / "val").glob("*.json.gz"))
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(DatasetError, match=chunk.name):
        build(tmp_path, {"val": 3})


def test_without_questions(tmp_path):
    settings = Settings(questions_per_image=0, width=48, height=32, samples=1)
    reports = build(tmp_path, {"train": 3}, settings)
    assert not (tmp_path / "questions").exists()
    assert reports["train"]["questions"] == 0 and "answer" not in reports["train"]


def test_settings_reach_scenes_and_questions(tmp_path):
    settings = Settings(
        questions_per_image=4, width=48, height=32, samples=1, min_objects=4, max_objects=5,
        max_hops=0, cogent="A", seed=9,
    )  # fmt: skip
    build(tmp_path, {"val": 4}, settings)
    for scene in read(tmp_path, "scenes", "val")["scenes"]:
        assert 4 <= len(scene["objects"]) <= 5 and scene["render"]["width"] == 48
        for thing in scene["objects"]:
            allowed = ("gray", "blue", "brown", "yellow")
            assert thing["shape"] != "cube" or thing["color"] in allowed
    for question in read(tmp_path, "questions", "val")["questions"]:
        functions = {node["function"] for node in question["program"]}
        assert "relate" not in functions
        assert not any(name.startswith("same_") for name in functions)


@pytest.mark.parametrize(
    ("field", "value"),
    [("samples", 0), ("width", 5), ("max_objects", 11), ("cogent", "C"), ("max_hops", -1),
     ("questions_per_image", -1), ("seed", -1), ("without", ("pink", "cube"))],
)  # fmt: skip
def test_bad_settings_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        Settings(**{field: value})


def test_command_writes_report_and_sheet(tmp_path, capsys):
    arguments = [
        str(tmp_path), "--train", "5", "--val", "2", "--test", "0", "--width", "60", "--height",
        "40", "--samples", "1", "--questions-per-image", "3", "--workers", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "train: 5 images, 15 questions" in text and "val: 2 images, 6 questions" in text
    report = json.loads((tmp_path / "report.json").read_text())
    counts = report["train"]
    assert sum(counts["objects per image"].values()) == 5
    assert sum(counts["answer"].values()) == sum(counts["question type"].values()) == 15
    assert sum(counts["color"].values()) == sum(counts["shape"].values())
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width > 900 and np.asarray(sheet.convert("L")).std() > 20
    assert main([*arguments, "--seed", "3"]) == 2
    assert "error:" in capsys.readouterr().err
    assert main([str(tmp_path / "x"), "--workers", "0"]) == 2
    assert "workers" in capsys.readouterr().err


def test_a_held_out_pair_belongs_to_the_folder(tmp_path, capsys):
    sizes = ["--train", "0", "--val", "2", "--test", "0", "--width", "48", "--height", "32"]
    arguments = [str(tmp_path), *sizes, "--samples", "1", "--workers", "1"]
    held_out = [*arguments, "--without", "cyan", "cube"]
    assert main(held_out) == 0 and main(held_out) == 0
    things = [o for s in read(tmp_path, "scenes", "val")["scenes"] for o in s["objects"]]
    assert not any((o["color"], o["shape"]) == ("cyan", "cube") for o in things)
    assert main(arguments) == 2
    assert "without is ['cyan', 'cube'], not None" in capsys.readouterr().err


def test_report_counts_and_text():
    report = Report()
    thing = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}
    report.add([{"objects": [thing]}, {"objects": [thing, thing | {"color": "blue"}]}], [])
    summary = report.summary()
    assert summary["color"] == {"red": 2, "blue": 1}
    assert summary["objects per image"] == {"1": 1, "2": 1}
    text = report_text({"val": summary}, width=40)
    assert "red 66.7%" in text and max(map(len, text.splitlines())) <= 40


def test_negative_counts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train is -1"):
        build(tmp_path, {"train": -1})
    assert not os.listdir(tmp_path)
