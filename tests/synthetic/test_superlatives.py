"""Relations that end in one object: counted by hand, and on questions about rendered scenes."""

import json

import numpy as np
import pytest

from benchmarks.questions import make_scene
from benchmarks.superlatives import count_superlatives, main
from clevr_prep.clevr.scene_masks import DIRECTIONS, SceneMasks
from clevr_prep.synthetic.sampling.questions import generate_questions
from tests.helpers.tiny.dataset import node

# From left to right: red cube, blue cube, red sphere, blue cube.
ROW = [("red", "cube"), ("blue", "cube"), ("red", "sphere"), ("blue", "cube")]


@pytest.fixture
def row():
    objects = [
        {"size": "large", "color": color, "material": "metal", "shape": shape}
        for color, shape in ROW
    ]
    related = {direction: [[] for _ in ROW] for direction in DIRECTIONS}
    related["left"] = [list(range(k)) for k in range(len(ROW))]
    return SceneMasks({"objects": objects, "relationships": related})


def chain(*ends):
    """The blue cube left of the sphere, and on."""
    start = [node("scene"), node("filter_shape", 0, value="sphere"), node("unique", 1)]
    start += [node("relate", 2, value="left"), node("filter_color", 3, value="blue")]
    return [*start, node("filter_shape", 4, value="cube"), *ends]


@pytest.mark.parametrize(
    ("ends", "counts"),
    [
        # Both blue cubes but one are right of the sphere, so it is the leftmost blue cube.
        ((node("unique", 5), node("query_size", 6)), (1, 1, 1, 1)),
        # How many there are depends on where the sphere is.
        ((node("count", 5),), (0, 0, 1, 0)),
        # The chain starts at the sphere; what is left of its end is counted.
        ((node("unique", 5), node("relate", 6, value="left"), node("count", 7)), (1, 1, 1, 1)),
    ],
)
def test_counts_by_hand(row, ends, counts):
    assert count_superlatives(chain(*ends), row) == counts


def test_an_object_that_is_not_the_outermost_is_counted_as_such(row):
    row.related["left"][2] = 1 << 1  # the sphere has the first blue cube on its left,
    row.related["left"][3] = 0  # which the second one has not
    program = chain(node("unique", 5), node("query_size", 6))
    assert count_superlatives(program, row) == (1, 0, 1, 1)


def test_of_a_dataset(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scenes, questions = [], []
    for image in range(4):
        scene = make_scene(rng, 6) | {"image_filename": f"{image}.png"}
        scenes.append(scene)
        asked = generate_questions(scene, 10, rng)
        questions += [q | {"image_filename": f"{image}.png"} for q in asked]
    for kind, content in (("scenes", scenes), ("questions", questions)):
        (tmp_path / kind).mkdir()
        path = tmp_path / kind / f"CLEVR_val_{kind}.json"
        path.write_text(json.dumps({kind: content}))
    main([str(tmp_path)])
    told = capsys.readouterr().out
    counts = [
        count_superlatives(q["program"], SceneMasks(scenes[i // 10]))
        for i, q in enumerate(questions)
    ]
    one, outermost, starts, needless = (sum(column) for column in zip(*counts, strict=True))
    assert 0 < outermost <= one and 0 < needless <= starts
    assert f"one object: {one}, the outermost of its description: {outermost}\n" in told
    assert f"start from: {starts}, not needed: {needless}\n" in told
