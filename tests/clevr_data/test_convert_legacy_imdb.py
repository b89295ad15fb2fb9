import os
from pathlib import Path

import numpy as np
import pytest

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.data.build_clevr_imdb import build_imdb
from clevr_prep.data.convert_legacy_imdb import main
from clevr_prep.data.get_ground_truth_layout import write_layouts
from snmn.common.vocabulary import ANSWERS, MODULES, tokenise
from snmn.data.imdb import Imdb
from tests.helpers.tiny.dataset import image_name, question, write_questions

QUESTIONS = [question(7, 0), question(7, 1, "blue", hops=1), question(3, 2, hops=2)]


def old_entry(entry: dict, **changes) -> dict:
    name = entry["image_filename"].removesuffix(".png")
    return {
        "image_name": name,
        "image_path": f"/home/somebody/clevr/images/tiny/{name}.png",
        "feature_path": f"/home/somebody/features/{name}.npy",
        "question_str": entry["question"],
        "question_tokens": tokenise(entry["question"]),
        "gt_layout_tokens": expert_layout(entry["program"]),
        "answer": entry["answer"],
        **changes,
    }


def write(path, entries):
    np.save(path, np.array(entries, dtype=object), allow_pickle=True)
    return str(path)


def test_the_same_questions_as_from_json(tmp_path):
    write_questions(tmp_path, QUESTIONS)
    write_layouts(tmp_path, "tiny")
    build_imdb(tmp_path, "tiny", tmp_path / "new.h5", progress=False)
    new = Imdb(tmp_path / "new.h5")
    short = [{**old_entry(q), "image_path": None, "question_str": None} for q in QUESTIONS]
    for number, entries in enumerate((list(map(old_entry, QUESTIONS)), short)):
        source, target = write(tmp_path / "old.npy", entries), tmp_path / f"{number}.h5"
        assert main([source, str(target), "--allow-pickle"]) == 0
        old = Imdb(target)
        assert old.filenames == new.filenames == [image_name(7), image_name(3)]
        for column in ("question", "length", "answer", "layout", "image", "question_index"):
            np.testing.assert_array_equal(getattr(old, column), getattr(new, column))
        assert set(old.question_type) == set(old.hops) == {255}
        assert old.box is None and old.image_size is None
        assert b"somebody" not in target.read_bytes()


def test_boxes_without_layouts_and_answers(tmp_path):
    boxes = [[10, 20, 30, 40], np.array([1.0, 2.0, 3.0, 4.0])]
    entries = [
        {**old_entry(q), "bbox": box, "gt_layout_tokens": None, "answer": None}
        for q, box in zip(QUESTIONS, boxes, strict=False)
    ]
    source = write(tmp_path / "old.npy", entries)
    assert main([source, str(tmp_path / "loc.h5"), "--allow-pickle"]) == 0
    imdb = Imdb(tmp_path / "loc.h5")
    np.testing.assert_array_equal(imdb.box, np.stack(boxes).astype(np.float32))
    assert imdb.image_size.tolist() == [[480, 320]]
    assert imdb.layout is None
    assert imdb.answer.tolist() == [-1, -1]


@pytest.mark.parametrize(
    "stored, kept",
    [
        ("_Find _Filter _DescribeOne", "_Find _DescribeOne"),
        (
            "_Find _Filter _Filter _Filter _Transform _Filter _Filter _DescribeOne",
            "_Find _Transform _Filter _DescribeOne",
        ),
        ("_Scene _Filter _DescribeOne", "_Scene _Filter _DescribeOne"),
        ("_Scene _DescribeOne", "_Scene _DescribeOne"),
        ("_Find _Filter _Find _Filter _And _Filter", "_Find _Find _And _Filter"),
    ],
)
def test_filters_are_merged_as_the_earlier_codebases_do(tmp_path, stored, kept):
    tokens = np.array(stored.split()) if "_And" in stored else stored.split()
    source = write(tmp_path / "old.npy", [old_entry(QUESTIONS[0], gt_layout_tokens=tokens)])
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 0
    (layout,) = Imdb(tmp_path / "new.h5").layout
    assert " ".join(MODULES[i] for i in layout if i) == kept


def test_layouts_are_measured_once_they_are_merged(tmp_path, capsys):
    """13 steps of a file are 9 for the model; more than that is more than it has."""
    long = ["_Find", "_Filter", "_Transform", "_Filter", "_Filter"] + ["_Transform", "_Filter"] * 2
    tokens = [*long, "_Filter", "_Filter", "_Transform", "_DescribeOne"]
    source = write(tmp_path / "old.npy", [old_entry(QUESTIONS[0], gt_layout_tokens=tokens)])
    assert len(tokens) == 13
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 0
    assert Imdb(tmp_path / "new.h5").layout.astype(bool).sum() == 9
    tokens.insert(-1, "_Transform")
    source = write(tmp_path / "old.npy", [old_entry(QUESTIONS[0], gt_layout_tokens=tokens)])
    arguments = [source, str(tmp_path / "long.h5"), "--allow-pickle"]
    assert main(arguments) == 2
    assert "layout of 10 steps, at most 9" in capsys.readouterr().err
    assert main([*arguments, "--max-steps", "10"]) == 0


def test_answers_of_other_types(tmp_path):
    answers = [0, True, False, np.int64(10), np.bool_(True), "cube", None]
    source = write(tmp_path / "old.npy", [old_entry(QUESTIONS[0], answer=a) for a in answers])
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 0
    found = Imdb(tmp_path / "new.h5").answer
    expected = ["0", "yes", "no", "10", "yes", "cube"]
    assert [ANSWERS[i] for i in found[:-1]] == expected and found[-1] == -1


def test_expressions_have_no_answer_whatever_they_hold(tmp_path, capsys):
    boxes = [(1, np.int64(2), np.float32(3), 4), [-0.5, 10, 481, 309.5], None]
    entries = [old_entry(QUESTIONS[0], answer=7, bbox=box) for box in boxes]
    source = write(tmp_path / "old.npy", entries)
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 0
    imdb = Imdb(tmp_path / "new.h5")
    assert imdb.answer.tolist() == [-1] * 3
    assert imdb.box[:2].tolist() == [[1, 2, 3, 4], [0, 10, 480, 309.5]]
    assert np.isnan(imdb.box[2]).all()
    source = write(tmp_path / "old.npy", [old_entry(QUESTIONS[0], bbox=[477, 0, 5, 5])])
    assert main([source, str(tmp_path / "far.h5"), "--allow-pickle"]) == 2
    assert "question 0" in (told := capsys.readouterr().err) and "is not within its image" in told


def test_expressions_without_any_box_are_known_by_the_name(tmp_path):
    source = write(tmp_path / "imdb_loc_test.npy", [old_entry(QUESTIONS[0], answer=7)])
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 0
    imdb = Imdb(tmp_path / "new.h5")
    assert imdb.answer.tolist() == [-1] and imdb.box is None
    assert imdb.image_size.tolist() == [[480, 320]]


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled_unless_allowed(tmp_path, capsys):
    source = write(tmp_path / "old.npy", [Bomb(tmp_path / "ran")])
    assert main([source, str(tmp_path / "new.h5")]) == 2
    told = capsys.readouterr().err
    assert "old.npy is a pickle" in told and "--allow-pickle" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    # With the flag, plain values alone are made of it.
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 2
    assert "it holds posix.mkdir, which no imdb has" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "new.h5").exists()


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"question_str": "Where is it?"}, "unknown word 'where'"),
        ({"answer": "maybe"}, "unknown answer 'maybe'"),
        ({"gt_layout_tokens": ["_Dance"]}, "unknown '_Dance'"),
        ({"gt_layout_tokens": ["_Find"] * 10}, "layout of 10 steps"),
        ({"answer": 11}, "unknown answer 11"),
        ({"answer": np.float64(1.0)}, "unknown answer 1.0"),
        ({"gt_layout_tokens": None}, "no layout"),
        ({"question_str": "cube " * 46}, "46 words"),
    ],
)
def test_errors_name_the_question(tmp_path, capsys, changes, reason):
    entries = [old_entry(QUESTIONS[0]), old_entry(QUESTIONS[1], **changes)]
    source = write(tmp_path / "old.npy", entries)
    assert main([source, str(tmp_path / "new.h5"), "--allow-pickle"]) == 2
    told = capsys.readouterr().err
    assert reason in told and "old.npy: question 1" in told
    assert not (tmp_path / "new.h5").exists()


def test_other_files_are_named(tmp_path, capsys):
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    incomplete = old_entry(QUESTIONS[0])
    del incomplete["image_path"], incomplete["image_name"]
    write(tmp_path / "incomplete.npy", [incomplete])
    for name, reason in (
        ("none.npy", "cannot be read"),
        ("text.npy", "cannot be read"),
        ("numbers.npy", "not a pickled imdb"),
        ("incomplete.npy", "question 0 has no 'image_name'"),
    ):
        assert main([str(tmp_path / name), str(tmp_path / "new.h5"), "--allow-pickle"]) == 2
        told = capsys.readouterr().err
        assert name in told and reason in told
