import json
import subprocess
import sys

import pytest

from clevr_prep.clevr.expert_layouts import LayoutError, expert_layout, pad_layout
from clevr_prep.clevr.programs import ProgramError
from tests.helpers.paths import ROOT, SHARED

SCRIPT = ROOT / "clevr_prep/data/get_ground_truth_layout.py"
GENUINE = SHARED / "real_clevr_dev"


def node(function, *inputs, values=()):
    return {"function": function, "inputs": list(inputs), "value_inputs": list(values)}


RED_CUBES = [
    node("scene"),
    node("filter_color", 0, values=["red"]),
    node("filter_shape", 1, values=["cube"]),
]
COUNT_RED_CUBES = [*RED_CUBES, node("count", 2)]


@pytest.mark.skipif(not GENUINE.is_dir(), reason="genuine CLEVR sample not present")
def test_all_genuine_layouts():
    questions = json.loads((GENUINE / "questions/CLEVR_val_questions.json").read_text())
    expected = json.loads((SHARED / "golden/dev_layouts.json").read_text())
    assert len(expected) == 890
    assert [expert_layout(q["program"]) for q in questions["questions"]] == expected


@pytest.mark.parametrize(
    "program, layout",
    [
        ([node("scene"), node("count", 0)], "_Scene _DescribeOne"),
        (COUNT_RED_CUBES, "_Find _DescribeOne"),
        ([*RED_CUBES, node("unique", 2), node("query_size", 3)], "_Find _DescribeOne"),
        (
            [*RED_CUBES, node("unique", 2), node("relate", 3, values=["left"]),
             node("filter_size", 4, values=["large"]), node("filter_shape", 5, values=["cube"]),
             node("exist", 6)],
            "_Find _Transform _Filter _DescribeOne",
        ),
        (
            [*COUNT_RED_CUBES, node("scene"), node("count", 4), node("greater_than", 3, 5)],
            "_Find _Scene _DescribeTwo",
        ),
        (
            [*RED_CUBES, node("unique", 2), node("query_size", 3), node("scene"),
             node("filter_color", 5, values=["blue"]), node("unique", 6), node("same_shape", 7),
             node("unique", 8), node("query_size", 9), node("equal_size", 4, 10)],
            "_Find _Find _Transform _DescribeTwo",
        ),
        ([*RED_CUBES, node("scene"), node("union", 2, 3), node("exist", 4)],
         "_Find _Scene _Or _DescribeOne"),
        ([*RED_CUBES, node("scene"), node("intersect", 2, 3), node("exist", 4)],
         "_Find _Scene _And _DescribeOne"),
        # A filter after a set operation stays, a dangling scene does not count.
        ([*RED_CUBES, node("scene"), node("union", 2, 3),
          node("filter_size", 4, values=["small"]), node("exist", 5), node("scene")],
         "_Find _Scene _Or _Filter _DescribeOne"),
    ],
)  # fmt: skip
def test_layouts(program, layout):
    assert expert_layout(program) == layout.split()


def test_order_and_key_names_do_not_matter():
    program = [
        {"type": "count", "inputs": [1]},
        {"type": "filter_color", "inputs": [2], "value_inputs": ["red"]},
        {"type": "scene", "inputs": []},
    ]
    assert expert_layout(program) == ["_Find", "_DescribeOne"]


def test_malformed_program():
    with pytest.raises(ProgramError, match="node 0"):
        expert_layout([node("paint")])


def test_padding():
    assert pad_layout(["_Find", "_DescribeOne"], 4) == ["_Find", "_DescribeOne", "_NoOp", "_NoOp"]
    assert pad_layout(["_Find"], 1) == ["_Find"]
    with pytest.raises(LayoutError, match="has 2 steps, but the model only 1: _Find _DescribeOne"):
        pad_layout(["_Find", "_DescribeOne"], 1)


def run(folder, *arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def write_questions(root, split, questions):
    folder = root / "questions"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"info": {}, "questions": questions})
    (folder / f"CLEVR_{split}_questions.json").write_text(text)


def test_script_writes_every_split_with_programs(tmp_path):
    write_questions(tmp_path, "train", [{"program": COUNT_RED_CUBES}, {"program": RED_CUBES}])
    write_questions(tmp_path, "test", [{"question": "How many things are there?"}])
    done = run(tmp_path, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test: its questions have no programs" in done.stdout
    written = json.loads((tmp_path / "questions/CLEVR_train_layouts.json").read_text())
    assert written["layouts"] == [["_Find", "_DescribeOne"], ["_Find"]]
    assert written["info"]["count"] == 2
    assert sorted(path.name for path in (tmp_path / "questions").glob("[!.]*")) == [
        "CLEVR_test_questions.json",
        "CLEVR_train_layouts.json",
        "CLEVR_train_questions.json",
    ]


@pytest.mark.parametrize(
    "questions, message",
    [
        ([{"program": COUNT_RED_CUBES}, {}], "question 1 has no program"),
        ([{}, {}, {"program": COUNT_RED_CUBES}], "question 0 has no program"),
        ([{"program": [node("paint")]}], "question 0: program node 0 (paint): unknown function"),
        (["what"], "question 0 is not an object"),
    ],
)
def test_script_names_the_question_at_fault(tmp_path, questions, message):
    write_questions(tmp_path, "val", questions)
    failed = run(tmp_path, "--data-dir", tmp_path, "--split", "val")
    assert failed.returncode == 2
    assert "CLEVR_val_questions.json" in failed.stderr
    assert message in failed.stderr
    assert [path.name for path in (tmp_path / "questions").glob("[!.]*")] == [
        "CLEVR_val_questions.json"
    ]


def test_script_takes_referring_expressions(tmp_path):
    expression = [*RED_CUBES, {"type": "unique", "inputs": [2]}]
    write_questions(tmp_path, "loc_train", [{"program": expression}])
    write_questions(tmp_path, "val", [{"program": COUNT_RED_CUBES}])
    done = run(tmp_path, "--loc", "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "loc_train: wrote" in done.stdout and "val: " not in done.stdout
    written = json.loads((tmp_path / "questions/CLEVR_loc_train_layouts.json").read_text())
    assert written["layouts"] == [["_Find"]]
    assert "val: wrote" in run(tmp_path, "--data-dir", tmp_path).stdout


@pytest.mark.slow
def test_script_says_which_kind_of_splits_there_are(tmp_path):
    write_questions(tmp_path, "val", [])
    failed = run(tmp_path, "--loc", "--data-dir", tmp_path)
    assert failed.returncode == 2
    assert "no CLEVR_loc_<split>_questions.json in" in failed.stderr
    assert "leave out --loc for val" in failed.stderr
    (tmp_path / "questions/CLEVR_val_questions.json").rename(
        tmp_path / "questions/CLEVR_loc_val_questions.json"
    )
    assert "--loc takes loc_val" in run(tmp_path, "--data-dir", tmp_path).stderr


def test_script_reads_the_folder_of_clevr_ref_by_default(tmp_path):
    failed = run(tmp_path, "--loc", "--split", "loc_none")
    assert failed.returncode == 2
    assert "clevr_prep/clevr_loc_dataset/questions/CLEVR_loc_none_questions.json" in failed.stderr


def test_script_names_a_damaged_file(tmp_path):
    write_questions(tmp_path, "val", [{"program": COUNT_RED_CUBES}] * 3)
    path = tmp_path / "questions/CLEVR_val_questions.json"
    path.write_text(path.read_text()[:-30])
    failed = run(tmp_path, "--data-dir", tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith(f"error: {path} is not valid JSON")


def test_script_without_dataset(tmp_path):
    failed = run(tmp_path, "--data-dir", tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no CLEVR_<split>_questions.json in")
    assert "no such file" in run(tmp_path, "--data-dir", tmp_path, "--split", "val").stderr
