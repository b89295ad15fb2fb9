"""What edits of a run mean: the answer that the edited program gives."""

import pytest

from benchmarks.what_if.__main__ import PAGE, page
from benchmarks.what_if.cases import Case
from benchmarks.what_if.edits import MeantEdit, meant_edits
from clevr_prep.clevr.programs import execute
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.language.meaning import to_program
from snmn.network.edits import Edits

# From left to right: a big red rubber cube, small red metal balls, a small blue rubber cylinder.
THINGS = [
    ("large", "red", "rubber", "cube"),
    ("small", "red", "metal", "sphere"),
    ("small", "blue", "metal", "sphere"),
    ("small", "blue", "rubber", "cylinder"),
]
SCENE = {
    "objects": [
        dict(zip(("size", "color", "material", "shape"), thing, strict=True))
        | {"pixel_coords": [100 * place + 50, 100, 10]}
        for place, thing in enumerate(THINGS)
    ],
    "relationships": {
        "left": [list(range(place)) for place in range(4)],
        "right": [list(range(place + 1, 4)) for place in range(4)],
        "front": [[] for _ in range(4)],
        "behind": [[] for _ in range(4)],
    },
}
HEARD = [[0.5, 0.25, 0.25]] * 9


def edits_of(question):
    program = to_program(read(question)[0])
    return execute(program, SCENE), list(meant_edits(program, SCENE, HEARD, 9))


def answers(edits, kind):
    return [edit.answer for edit in edits if edit.kind == kind]


@pytest.mark.parametrize(
    "question, truth, kind, edited",
    [
        (
            "How many other things are the same material as the cube?",
            "1",
            "Remove Transform: shared attribute",
            [],  # one cube
        ),
        (
            "How many things are right of the cube?",
            "3",
            "Remove Transform: direction",
            ["1"],
        ),
        ("How many metal things are right of the cube?", "2", "Remove Filter", ["3"]),
        ("How many things are red things or metal things?", "3", "Or becomes And", ["1"]),
        ("Are there any large spheres?", "no", "Find becomes Scene", ["yes"]),
        (
            "Are there more spheres than cubes?",
            "yes",
            "Find listens elsewhere",
            ["no", "no"],
        ),
        # Of the four things three have another colour than the cube.
        ("What color is the cube?", "red", "Look at another object", ["blue", "blue"]),
        ("How many things are right of the cube?", "3", "Look at another object", ["2", "1", "0"]),
        (
            "How many things are left of the sphere that is right of the red sphere?",
            "2",
            "Transform listens elsewhere",
            ["1"],  # Left of the red sphere there is no sphere.
        ),
    ],
)
def test_what_an_edit_asks_for(question, truth, kind, edited):
    own, found = edits_of(question)
    assert own == truth
    assert sorted(answers(found, kind)) == sorted(edited)


def test_what_is_set():
    _, found = edits_of("How many things are right of the cube?")
    by_kind = {edit.kind: edit for edit in found}
    removed = by_kind["Remove Transform: direction"]
    assert removed.edits.layout == [None, "_NoOp", *[None] * 7]
    assert removed.said == "step 2, Transform, does nothing"
    looks = by_kind["Look at another object"]
    assert looks.edits.attention == [[323, 73, 54, 54]]
    assert looks.said == "step 1, Find, looks at the small blue rubber cylinder"
    _, found = edits_of("Are there more spheres than cubes?")
    heard = [edit.edits.words for edit in found if edit.kind == "Find listens elsewhere"]
    assert heard == [[{0: 0.5, 1: 0.25, 2: 0.25}], [None, {0: 0.5, 1: 0.25, 2: 0.25}]]


def case(kind, question, after, sure=0.9):
    edit = MeantEdit(kind, "step 2 does nothing", Edits(layout="_Find"), "2")
    return Case(question, "a.png", edit, ("1", 0.99), (after, sure))


def test_the_page_has_the_surest_case_of_each_kind_that_follows():
    found = [case("a", "A?", "2"), case("a", "B?", "2", 0.95), case("a", "C?", "3")]
    found += [case("b", f"{number}?", "2", number / 100) for number in range(20)]
    text = page(found)
    rows = text.split("<!-- CASES -->\n")[1].split("\n<!-- END")[0].splitlines()
    assert len(rows) == 10
    assert rows[0] == "| 1 | B? | step 2 does nothing | 1 (99%) | 2 (95%) | a.png |"
    asked = [row.split("|")[2].strip() for row in rows]
    assert asked == ["B?", "19?", "A?", "18?", "17?", "16?", "15?", "14?", "13?", "12?"]
    assert "| a | 3 | 100% | 67% (21% to 94%) |" in text


def test_the_page_that_is_there_has_ten():
    rows = PAGE.read_text().split("<!-- CASES -->\n")[1].split("\n<!-- END")[0].splitlines()
    assert len(rows) == 10
    assert len({row.split("|")[3].partition("looks at")[0] for row in rows}) >= 5
