"""Questions that are not what they should be: one sentence with file and question."""

import json

import pytest
from PIL import Image

from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as write_layouts
from tests.helpers.tiny.dataset import image_name, node, question, write_questions

NAN = float("nan")
GOOD = [question(7, 0), question(7, 1, "blue")]
SCENE = node("scene")
RED = node("filter_color", 0, value="red")


def count(*nodes):
    """A program of nodes and, at the end, the number of the last one's objects."""
    return [*nodes, node("count", len(nodes) - 1)]


def filter_with(values):
    return count(SCENE, {"function": "filter_color", "inputs": [0], "value_inputs": values})


FIELDS = {
    "question": [5, None, [], {}, NAN, True, "", "\ud800", "how " * 300, "x" * 10**5],
    "answer": [11, -1, 10**30, [], {}, NAN, 1.5, 1.0, "", "maybe", "True"],
    "image_filename": [5, None, [], {}, NAN, "", "..", "../x.png", "/etc/passwd", "a/b.png"]
    + ["a\\b.png", "a\0b.png", "\ud800.png", "x" * 300],
    "question_index": ["0", None, [], {}, NAN, 1.5, True, -1, 2**31, 10**30, 0],
}
PROGRAMS = {
    "a number": 5,
    "text": "count",
    "an object": {"a": 1},
    "no nodes": [],
    "a number for a node": [5],
    "null for a node": [None],
    "a list for a node": [[]],
    "no function": [{"inputs": []}],
    "a list for a function": [{"function": [], "inputs": []}],
    "an object for a function": [{"function": {}, "inputs": []}],
    "a number for a function": [{"function": NAN, "inputs": []}],
    "an unknown function": count(SCENE, node("dance", 0)),
    "no inputs": [SCENE, {"function": "count"}],
    "text for inputs": [SCENE, {"function": "count", "inputs": "0"}],
    "an object for inputs": [SCENE, {"function": "count", "inputs": {"0": 0}}],
    "a list for an input": [SCENE, node("count", [0])],
    "too many inputs": [SCENE, node("count", 0, 0)],
    "too few inputs": [SCENE, node("union", 0), node("count", 1)],
    "a truth value for an input": [SCENE, RED, node("count", True)],
    "a fraction for an input": [SCENE, node("count", 0.0)],
    "NaN for an input": [SCENE, node("count", NAN)],
    "a negative input": [SCENE, node("count", -1)],
    "an input that is no node": [SCENE, node("count", 7)],
    "an enormous input": [SCENE, node("count", 10**30)],
    "itself": [SCENE, node("count", 1)],
    "itself, first": [node("count", 0)],
    "a cycle below the end": [node("union", 0, 1), SCENE, node("count", 0)],
    "a cycle beside the end": [SCENE, node("unique", 2), node("relate", 1, value="left"), RED]
    + [node("count", 3)],
    "two ends": [*count(SCENE), node("exist", 0)],
    "the wrong kind": [SCENE, node("query_size", 0)],
    "a number for values": filter_with(5),
    "text for values": filter_with("red"),
    "an object for values": filter_with({"red": 1}),
    "a list for a value": filter_with([[]]),
    "an unknown value": filter_with(["pink"]),
    "two values": filter_with(["red", "blue"]),
    "a value too many": [SCENE, node("count", 0, value="red")],
    "very many nodes": count(SCENE, *(node("filter_color", n, value="red") for n in range(5000))),
}
# Node i takes node i - 1 twice: 60 nodes stand for 2**58 steps.
EXPONENTIAL = count(SCENE, *(node("union", n, n) for n in range(58)))

FILES = {
    "empty": b"",
    "space": b" \n",
    "no JSON": b"hello",
    "binary": bytes(range(256)),
    "zeros": bytes(1000),
    "cut off": json.dumps({"questions": GOOD}).encode()[:-90],
    "not UTF-8": b'{"questions": ["\xff"]}',
    "UTF-16": json.dumps({"questions": GOOD}).encode("utf-16"),
    "a list": b"[]",
    "null": b"null",
    "no questions": b'{"info": {}}',
    "an object for questions": b'{"questions": {}}',
    "an endless list": b'{"questions": [' + b"[" * 10**5,
    "endless objects": b'{"info": ' + b'{"a":' * 10**5,
    "a number of many digits": b'{"questions": [' + b"9" * 10**4 + b"]}",
    **{f"a question that is {item}": b'{"questions": [%s]}' % item.encode() for item in
       ("5", "null", '"text"', "[]", "NaN", "true")},
}  # fmt: skip


class Commands:
    """A dataset folder, older results in it, and the commands that would renew them."""

    def __init__(self, root, capsys):
        self.root, self.capsys = root, capsys
        write_questions(root, GOOD)
        assert self.layouts() == 0 and self.imdb() == 0
        self.layouts_file = root / "questions" / "CLEVR_tiny_layouts.json"
        files = (root / "imdb_tiny.h5", self.layouts_file)
        self.results = {path: path.read_bytes() for path in files}

    def layouts(self):
        return write_layouts(["--data-dir", str(self.root)])

    def imdb(self):
        return build_imdb(["--data-dir", str(self.root), "--out", str(self.root)])

    def forget_layouts(self):
        self.layouts_file.unlink()
        del self.results[self.layouts_file]

    def refuse(self, commands, *named):
        """Each command tells of what is named in one line, and leaves the older results."""
        for command in commands:
            self.capsys.readouterr()
            assert command() == 2
            told = self.capsys.readouterr().err.split("\r")[-1].strip().splitlines()
            told = [line for line in told if "it/s" not in line and "B/s" not in line]
            assert len(told) == 1 and told[0].startswith("error: "), told
            assert len(told[0]) < 1000
            for name in named:
                assert name in told[0]
            for path, content in self.results.items():
                assert path.read_bytes() == content
            assert not list(self.root.rglob("*.partial"))


@pytest.fixture
def commands(tmp_path, capsys):
    return Commands(tmp_path, capsys)


SEES = "one line with file and question; older files stay"


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_wrong_types_and_values(commands, reliability, field):
    row = reliability("Questions with wrong fields", caused="fields of a question", sees=SEES)
    for value in FIELDS[field]:
        path = write_questions(commands.root, [GOOD[0], GOOD[1] | {field: value}])
        with row.attempt():
            commands.refuse([commands.imdb], path.name, "question 1 (")


@pytest.mark.parametrize("field", ["question", "image_filename"])
def test_missing_fields(commands, field):
    path = write_questions(commands.root, [GOOD[0], {k: GOOD[1][k] for k in GOOD[1] if k != field}])
    commands.refuse([commands.imdb], path.name, f"question 1 has no '{field}'")


def test_programs_that_are_none(commands, reliability):
    row = reliability("Malformed programs", caused="cycles, inputs, functions, values", sees=SEES)
    for kind, program in PROGRAMS.items():
        path = write_questions(commands.root, [GOOD[0], GOOD[1] | {"program": program}])
        with row.attempt():
            commands.refuse([commands.imdb, commands.layouts], path.name, "question 1"), kind


def test_a_known_form_with_an_unknown_value_is_noticed(commands):
    """Facts about programs are remembered by their form, in which values do not count."""
    bad = question(7, 2, "pink") | {"question": GOOD[1]["question"]}
    write_questions(commands.root, [*GOOD, bad])
    commands.refuse([commands.layouts], "question 2", "unknown value 'pink'")
    commands.forget_layouts()
    commands.refuse([commands.imdb], "question 2", "unknown value 'pink'")


def test_a_few_nodes_that_stand_for_billions_of_steps(commands):
    path = write_questions(commands.root, [GOOD[0], GOOD[1] | {"program": EXPONENTIAL}])
    commands.refuse([commands.layouts], path.name, "question 1: its layout has more than")


def test_files_that_are_no_questions(commands, reliability):
    row = reliability("Questions file that is none", caused="damage to the JSON", sees=SEES)
    path = commands.root / "questions" / "CLEVR_tiny_questions.json"
    for content in FILES.values():
        path.write_bytes(content)
        with row.attempt():
            commands.refuse([commands.imdb, commands.layouts], path.name)


def test_the_same_question_index_twice(commands):
    commands.forget_layouts()
    write_questions(commands.root, [*GOOD, GOOD[0]])
    commands.refuse([commands.imdb], "question 2", "question_index 0 is also that of question 0")


def test_layouts_that_are_none(commands):
    path = commands.layouts_file
    write_questions(commands.root, GOOD[::-1])
    for layouts in ([5, 5], [None, None], [["_Find"], [5]], [["_Find"], {"_Find": 1}], [["_Fly"]]):
        path.write_text(json.dumps({"layouts": layouts}))
        commands.results[path] = path.read_bytes()
        commands.refuse([commands.imdb], "layout")


@pytest.mark.parametrize(
    "box",
    [[-1, 0, 4, 4], [0, -1, 4, 4], [0, 0, 49, 4], [0, 0, 4, 33], [47, 0, 2, 2], [0, 0, 0, 4]]
    + [[0, 0, 4, -4], [NAN, 0, 4, 4], [0, 0, float("inf"), 4], [0, 0, 10**400, 4], [True, 0, 4, 4]]
    + [["0", 0, 4, 4], [0, 0, 4], [[0, 0, 4, 4]], {"x": 0}, "0 0 4 4", 5],
)
def test_boxes_that_are_none(tmp_path, capsys, box):
    images = tmp_path / "images" / "loc_tiny"
    images.mkdir(parents=True)
    Image.new("RGB", (48, 32)).save(images / image_name(7))
    program = [SCENE, RED, node("unique", 1)]
    good = GOOD[0] | {"question": "the red thing", "program": program, "bbox": [0, 0, 48, 32]}
    del good["answer"]
    path = write_questions(tmp_path, [good, good | {"question_index": 1}], "loc_tiny")
    arguments = ["--loc", "--data-dir", str(tmp_path), "--out", str(tmp_path)]
    assert build_imdb(arguments) == 0
    before = (tmp_path / "imdb_loc_tiny.h5").read_bytes()
    write_questions(tmp_path, [good, good | {"question_index": 1, "bbox": box}], "loc_tiny")
    capsys.readouterr()
    assert build_imdb(arguments) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert path.name in told and "question 1 ('the red thing')" in told and "bbox" in told
    assert (tmp_path / "imdb_loc_tiny.h5").read_bytes() == before
