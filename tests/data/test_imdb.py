import json
import os
import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from clevr_prep.clevr.programs import REFERRING_TYPES, hops, question_type
from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.data.build_clevr_imdb import build_imdb, main
from clevr_prep.data.get_ground_truth_layout import write_layouts
from snmn.common.vocabulary import ANSWERS, MODULES, decode, encode
from snmn.data.imdb import Imdb, ImdbError
from snmn.data.question_sources import EncodedQuestions
from tests.helpers.paths import ROOT, SHARED
from tests.helpers.tiny.dataset import image_name, question, write_questions

SCRIPT = ROOT / "clevr_prep/data/build_clevr_imdb.py"
GENUINE = SHARED / "real_clevr_dev"
needs_genuine = pytest.mark.skipif(not GENUINE.is_dir(), reason="no genuine CLEVR sample")

QUESTIONS = [question(7, 0), question(7, 1, "blue", hops=1), question(3, 2, hops=2)]


def repeated(times):
    """The same questions many times, each under a number of its own."""
    return [entry | {"question_index": n} for n, entry in enumerate(QUESTIONS * times)]


def build(root, **options):
    target = root / "out" / "imdb_tiny.h5"
    message = build_imdb(root, "tiny", target, progress=False, **options)
    return target, message


def test_every_column_of_a_small_imdb(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    write_layouts(tmp_path, "tiny")
    imdb = Imdb(build(tmp_path)[0])

    assert len(imdb) == 3
    for row, entry in enumerate(QUESTIONS):
        words = imdb.question[row]
        assert words[: imdb.length[row]].tolist() == encode(entry["question"])
        assert not words[imdb.length[row] :].any()
        assert ANSWERS[imdb.answer[row]] == entry["answer"]
    assert imdb.question.shape == (3, imdb.length.max())
    assert imdb.filenames == [image_name(7), image_name(3)]
    assert imdb.image.tolist() == [0, 0, 1]
    assert imdb.question_index.tolist() == [0, 1, 2]
    assert imdb.hops.tolist() == [0, 1, 2]
    assert {imdb.question_types[i] for i in imdb.question_type} == {"count"}
    names = [[MODULES[i] for i in layout] for layout in imdb.layout]
    assert names[1] == ["_Find", "_Transform", "_Filter", "_DescribeOne", *["_NoOp"] * 5]


def test_take_gives_rows_in_the_order_asked_for(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    taken = Imdb(build(tmp_path)[0]).take([2, 0])
    assert taken.question_index.tolist() == [2, 0]
    assert taken.hops.tolist() == [2, 0]
    assert taken.layout is None
    assert [decode(q[:n]) for q, n in zip(taken.question, taken.length, strict=True)] == [
        QUESTIONS[2]["question"],
        QUESTIONS[0]["question"],
    ]


def test_pickling_carries_the_path_not_the_data(tmp_path):
    write_questions(tmp_path, repeated(200))
    imdb = Imdb(build(tmp_path)[0])
    pickled = pickle.dumps(imdb)
    assert len(pickled) < 1000
    assert np.array_equal(pickle.loads(pickled).question, imdb.question)


def test_the_file_holds_no_path_of_this_machine(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    target, _ = build(tmp_path)
    assert str(tmp_path).encode() not in target.read_bytes()


def test_questions_without_answer_or_program(tmp_path):
    bare = {key: QUESTIONS[0][key] for key in ("question", "image_filename", "question_index")}
    write_questions(tmp_path, [bare])
    imdb = Imdb(build(tmp_path)[0])
    assert imdb.answer.tolist() == [-1]
    assert imdb.question_type.tolist() == imdb.hops.tolist() == [255]


def test_absent_layouts_are_said_and_later_taken_up(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    target, message = build(tmp_path)
    assert "no layouts" in message
    assert Imdb(target).layout is None
    write_layouts(tmp_path, "tiny")
    assert "no layouts" not in build(tmp_path)[1]
    assert Imdb(target).layout.shape == (3, 9)


def test_up_to_date_until_something_changes(tmp_path):
    path = write_questions(tmp_path, QUESTIONS)
    target, _ = build(tmp_path)
    before = target.stat().st_mtime_ns
    assert "up to date" in build(tmp_path)[1]
    assert target.stat().st_mtime_ns == before
    assert "wrote" in build(tmp_path, max_words=44)[1]
    write_questions(tmp_path, QUESTIONS[:2])
    os.utime(path, ns=(0, 1))
    assert "wrote 2" in build(tmp_path, max_words=44)[1]
    target.write_bytes(b"not an imdb")
    assert "wrote 2" in build(tmp_path, max_words=44)[1]


@pytest.mark.parametrize(
    "change, options, reason",
    [
        ({"question": "How many purpel things are there?"}, {}, "did you mean 'purple'"),
        ({"question": ""}, {}, "0 words"),
        ({"answer": "11"}, {}, "unknown answer '11'"),
        ({}, {"max_words": 6}, "7 words, 1 to 6 are allowed"),
        ({"program": [{"function": "dance", "inputs": []}]}, {}, "dance"),
    ],
)
def test_errors_name_the_question(tmp_path, change, options, reason):
    bad = QUESTIONS[0] | change
    write_questions(tmp_path, [bad])
    with pytest.raises(DatasetError) as error:
        build(tmp_path, **options)
    assert reason in str(error.value)
    assert f"question 0 ({bad['question']!r})" in str(error.value)
    assert "CLEVR_tiny_questions.json" in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    bad = dict(QUESTIONS[1])
    del bad["image_filename"]
    write_questions(tmp_path, [QUESTIONS[0], bad])
    with pytest.raises(DatasetError, match="question 1 has no 'image_filename'"):
        build(tmp_path)


def test_layouts_longer_than_the_model_are_refused(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    write_layouts(tmp_path, "tiny")
    with pytest.raises(DatasetError, match=r"question 1 .*layout of 4 steps, at most 3"):
        build(tmp_path, max_steps=3)


@pytest.mark.parametrize("others", [QUESTIONS[:2], [*QUESTIONS, QUESTIONS[0]], QUESTIONS[::-1]])
def test_layouts_of_other_questions_are_refused(tmp_path, others):
    write_questions(tmp_path, others)
    write_layouts(tmp_path, "tiny")
    write_questions(tmp_path, QUESTIONS)
    with pytest.raises(DatasetError, match="made for other questions"):
        build(tmp_path)


def test_equal_questions_give_equal_bytes(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    target, _ = build(tmp_path)
    first = target.read_bytes()
    target.unlink()
    assert build(tmp_path)[0].read_bytes() == first


@pytest.mark.parametrize("made", ["layouts", "imdb"])
@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, made, room):
    write_questions(tmp_path, repeated(100))
    target = write_layouts(tmp_path, "tiny")
    script = SCRIPT.with_name("get_ground_truth_layout.py")
    options = ["--data-dir", str(tmp_path)]
    if made == "imdb":
        target, script = build(tmp_path)[0], SCRIPT
        options += ["--out", str(target.parent)]
    target.write_bytes(b"old")
    # What does not fit fails the same way with a limit on a file's size as on a full disk.
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({room},) * 2); "
    )
    code += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(script), *options], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert told.startswith("error: cannot ") and target.name in told
    assert "Traceback" not in done.stderr
    assert target.read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.partial"))


def test_script_from_another_folder(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    command = [sys.executable, str(SCRIPT), "--data-dir", str(tmp_path), "--out", "made"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "tiny: wrote 3 questions" in done.stdout
    assert len(Imdb(tmp_path / "made/imdb_tiny.h5")) == 3


def test_script_errors_are_one_line(tmp_path, capsys):
    assert main(["--data-dir", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--data-dir", str(tmp_path), "--split", "val"]) == 2
    assert "CLEVR_val_questions.json" in capsys.readouterr().err
    write_questions(tmp_path, [])
    assert main(["--data-dir", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no questions" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "other vocabulary", "column"])
def test_unusable_files_are_named(tmp_path, damage):
    write_questions(tmp_path, QUESTIONS)
    target, _ = build(tmp_path)
    if damage == "missing":
        target.unlink()
    elif damage == "truncated":
        target.write_bytes(target.read_bytes()[:-200])
    elif damage == "text":
        target.write_text("hello")
    else:
        with h5py.File(target, "r+") as file:
            if damage == "column":
                del file["hops"]
            else:
                file.attrs["vocabulary"] = "0"
    with pytest.raises(ImdbError, match=str(target)):
        Imdb(target)


REFERRING = [
    {"type": "scene", "inputs": []},
    {"type": "filter_color", "inputs": [0], "side_inputs": ["red"]},
    {"type": "unique", "inputs": [1]},
]
SIZES = {7: (48, 32), 3: (30, 20)}


def expression(image, number, box, program=REFERRING):
    entry = {
        "question": "the red thing",
        "image_filename": image_name(image),
        "question_index": number,
        "program": program,
        "bbox": box,
    }
    return {key: value for key, value in entry.items() if value is not None}


EXPRESSIONS = [
    expression(7, 10, [4, 5, 44, 27]),
    expression(3, 11, [0.5, 0, 29.5, 1.25]),
    expression(7, 12, [47, 31, 1, 1]),
]


def build_loc(root, expressions=EXPRESSIONS, split="loc_tiny"):
    """The imdb of a split of CLEVR-Ref with images of two sizes."""
    folder = root / "images" / split
    folder.mkdir(parents=True, exist_ok=True)
    for image, size in SIZES.items():
        Image.new("RGB", size).save(folder / image_name(image))
    write_questions(root, expressions, split)
    target = root / f"imdb_{split}.h5"
    build_imdb(root, split, target, progress=False)
    return Imdb(target)


def test_boxes_and_image_sizes(tmp_path):
    imdb = build_loc(tmp_path)
    assert imdb.box.dtype == np.float32
    assert imdb.box.tolist() == [entry["bbox"] for entry in EXPRESSIONS]
    assert imdb.image_size.tolist() == [[48, 32], [30, 20]]
    assert imdb.question_types == REFERRING_TYPES
    assert [imdb.question_types[kind] for kind in imdb.question_type] == ["ref_attribute"] * 3
    assert imdb.answer.tolist() == [-1, -1, -1]
    taken = imdb.take([1, 2, 0])
    assert taken.box.tolist() == [EXPRESSIONS[row]["bbox"] for row in (1, 2, 0)]
    assert taken.image_size.tolist() == [[30, 20], [48, 32], [48, 32]]
    both = EncodedQuestions.concatenate([taken, imdb.take([0])])
    assert both.box.shape == (4, 4) and both.image_size.shape == (4, 2)


def test_layouts_of_expressions(tmp_path):
    build_loc(tmp_path)
    write_layouts(tmp_path, "loc_tiny")
    layout = build_loc(tmp_path).layout
    assert [[MODULES[i] for i in row if i] for row in layout] == [["_Find"]] * 3


def test_expressions_without_box_or_program(tmp_path):
    some = build_loc(tmp_path, [EXPRESSIONS[0], expression(3, 5, None, None)])
    assert some.box[0].tolist() == EXPRESSIONS[0]["bbox"]
    assert np.isnan(some.box[1]).all()
    assert some.question_type.tolist() == [0, 255]
    none = build_loc(tmp_path, [expression(3, 5, None, None)], "loc_test")
    assert none.box is None and none.take([0]).box is None
    assert none.take([0]).image_size.tolist() == [[30, 20]]


def test_questions_have_no_boxes_whatever_they_hold(tmp_path):
    write_questions(tmp_path, [QUESTIONS[0] | {"bbox": [0, 0, 1, 1]}])
    imdb = Imdb(build(tmp_path)[0])
    assert imdb.box is None and imdb.image_size is None
    assert imdb.take([0]).box is None and imdb.take([0]).image_size is None


@pytest.mark.parametrize(
    "box, reason",
    [
        ([4, 5, 45, 27], "is not within its image of 48 x 32 pixels"),
        ([4, 6, 44, 27], "is not within its image of 48 x 32 pixels"),
        ([-1, 5, 4, 4], "is not within its image"),
        ([4, 5, 0, 4], "is not within its image"),
        ([4, 5, 4], "must be"),
        ([4, 5, 4, "4"], "must be"),
        ([4, 5, 4, True], "must be"),
        ([4, 5, 4, float("nan")], "must be"),
        ({"x": 4}, "must be"),
        ("4 5 4 4", "must be"),
    ],
)
def test_impossible_boxes_are_named(tmp_path, box, reason):
    with pytest.raises(DatasetError, match=reason) as error:
        build_loc(tmp_path, [EXPRESSIONS[0], expression(7, 1, box)])
    assert "question 1 ('the red thing')" in str(error.value)
    assert "CLEVR_loc_tiny_questions.json" in str(error.value)


def test_images_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(DatasetError, match=f"question 1 .*: no image .*{image_name(9)}"):
        build_loc(tmp_path, [EXPRESSIONS[0], expression(9, 1, None)])
    damaged = tmp_path / "images" / "loc_tiny" / image_name(9)
    damaged.write_text("not a picture")
    with pytest.raises(
        DatasetError, match=f"question 1 .*{damaged} cannot be read: it is no image"
    ):
        build_loc(tmp_path, [EXPRESSIONS[0], expression(9, 1, None)])


def test_questions_and_expressions_do_not_mix(tmp_path):
    with pytest.raises(DatasetError, match="question 0 .* is one of count"):
        build_loc(tmp_path, [QUESTIONS[0]])
    write_questions(tmp_path, [QUESTIONS[0], EXPRESSIONS[0]])
    with pytest.raises(DatasetError, match="question 1 .* is one of ref_attribute"):
        build(tmp_path)


def test_command_takes_expressions_only_with_loc(tmp_path, capsys):
    build_loc(tmp_path)
    write_questions(tmp_path, QUESTIONS)
    arguments = ["--data-dir", str(tmp_path), "--out", str(tmp_path / "made")]
    assert main([*arguments, "--loc"]) == 0
    assert [path.name for path in (tmp_path / "made").glob("[!.]*")] == ["imdb_loc_tiny.h5"]
    assert main(arguments) == 0
    assert Imdb(tmp_path / "made" / "imdb_tiny.h5").box is None
    assert "wrote 3 questions" in capsys.readouterr().out


def test_command_reads_the_folder_of_clevr_ref_from_anywhere(tmp_path):
    command = [sys.executable, str(SCRIPT), "--loc", "--split", "loc_none"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 2
    expected = "clevr_prep/clevr_loc_dataset/questions/CLEVR_loc_none_questions.json"
    assert expected in failed.stderr


@needs_genuine
def test_genuine_questions(tmp_path):
    source = GENUINE / "questions/CLEVR_val_questions.json"
    (tmp_path / "questions").mkdir()
    shutil.copy(source, tmp_path / "questions")
    write_layouts(tmp_path, "val")
    build_imdb(tmp_path, "val", tmp_path / "imdb.h5", progress=False)
    imdb = Imdb(tmp_path / "imdb.h5")
    questions = json.loads(source.read_text())["questions"]
    layouts = json.loads((SHARED / "golden/dev_layouts.json").read_text())
    assert len(imdb) == len(questions) == 890
    for row, (entry, layout) in enumerate(zip(questions, layouts, strict=True)):
        assert imdb.question[row, : imdb.length[row]].tolist() == encode(entry["question"])
        assert imdb.filenames[imdb.image[row]] == entry["image_filename"]
        assert ANSWERS[imdb.answer[row]] == entry["answer"]
        assert imdb.question_types[imdb.question_type[row]] == question_type(entry["program"])
        assert imdb.hops[row] == hops(entry["program"])
        assert [MODULES[i] for i in imdb.layout[row] if i] == layout
