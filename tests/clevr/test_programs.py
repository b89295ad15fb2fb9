import json

import pytest

from clevr_prep.clevr.programs import (
    QUESTION_TYPES,
    REFERRING_TYPES,
    ProgramError,
    execute,
    find_referent,
    hops,
    question_type,
)
from clevr_prep.clevr.scene_masks import SceneError, SceneMasks, members
from tests.helpers.paths import SHARED

GENUINE = SHARED / "real_clevr_dev"


def node(function, *inputs, values=()):
    return {"function": function, "inputs": list(inputs), "value_inputs": list(values)}


@pytest.fixture
def scene():
    """Three objects in a row from left to right, the later the nearer to the camera."""
    looks = [
        ("large", "red", "metal", "cube"),
        ("small", "red", "rubber", "sphere"),
        ("small", "blue", "metal", "cube"),
    ]
    keys = ("size", "color", "material", "shape")
    return {
        "objects": [dict(zip(keys, look, strict=True)) for look in looks],
        "relationships": {
            "left": [[], [0], [0, 1]],
            "right": [[1, 2], [2], []],
            "front": [[1, 2], [2], []],
            "behind": [[], [0], [0, 1]],
        },
    }


@pytest.mark.skipif(not GENUINE.is_dir(), reason="genuine CLEVR sample not present")
def test_all_genuine_answers():
    questions = json.loads((GENUINE / "questions/CLEVR_val_questions.json").read_text())
    scenes = json.loads((GENUINE / "scenes/CLEVR_val_scenes.json").read_text())
    masks = {s["image_filename"]: SceneMasks(s) for s in scenes["scenes"]}
    wrong = [
        question["question"]
        for question in questions["questions"]
        if execute(question["program"], masks[question["image_filename"]]) != question["answer"]
    ]
    assert len(questions["questions"]) == 890
    assert wrong == []


RED = [node("scene"), node("filter_color", 0, values=["red"])]
SPHERE = [node("scene"), node("filter_shape", 0, values=["sphere"]), node("unique", 1)]


@pytest.mark.parametrize(
    "program, answer, depth",
    [
        ([node("scene"), node("count", 0)], "3", 0),
        ([*RED, node("count", 1)], "2", 0),
        ([*RED, node("exist", 1)], "yes", 0),
        ([*SPHERE, node("query_size", 2)], "small", 0),
        ([*SPHERE, node("query_color", 2)], "red", 0),
        ([*SPHERE, node("query_material", 2)], "rubber", 0),
        ([*SPHERE, node("query_shape", 2)], "sphere", 0),
        ([*SPHERE, node("relate", 2, values=["left"]), node("count", 3)], "1", 1),
        ([*SPHERE, node("relate", 2, values=["front"]), node("unique", 3), node("query_shape", 4)], "cube", 1),  # noqa: E501
        ([*SPHERE, node("same_color", 2), node("unique", 3), node("query_size", 4)], "large", 1),
        ([*SPHERE, node("same_shape", 2), node("exist", 3)], "no", 1),
    ],
)  # fmt: skip
def test_answers(scene, program, answer, depth):
    assert execute(program, scene) == answer
    assert hops(program) == depth
    assert question_type(program) == program[-1]["function"]


@pytest.mark.parametrize(
    "function, answer",
    [("equal_integer", "no"), ("greater_than", "yes"), ("less_than", "no")],
)
def test_number_comparisons(scene, function, answer):
    rubber = [node("scene"), node("filter_material", 3, values=["rubber"]), node("count", 4)]
    program = [*RED, node("count", 1), *rubber, node(function, 2, 5)]
    assert execute(program, scene) == answer
    assert question_type(program) == function


@pytest.mark.parametrize(
    "attribute, answer", [("size", "no"), ("color", "yes"), ("material", "no"), ("shape", "no")]
)
def test_attribute_comparisons(scene, attribute, answer):
    program = [
        *SPHERE,
        node(f"query_{attribute}", 2),
        node("scene"),
        node("filter_size", 4, values=["large"]),
        node("unique", 5),
        node(f"query_{attribute}", 6),
        node(f"equal_{attribute}", 3, 7),
    ]
    assert execute(program, scene) == answer


@pytest.mark.parametrize("function, answer", [("union", "3"), ("intersect", "1")])
def test_set_operations(scene, function, answer):
    small = [node("scene"), node("filter_size", 2, values=["small"])]
    small[1]["inputs"] = [2]
    program = [*RED, *small, node(function, 1, 3), node("count", 4)]
    assert execute(program, scene) == answer


def test_any_order_and_other_key_names(scene):
    program = [
        {"type": "count", "inputs": [2]},
        {"type": "scene"},
        {"type": "filter_color", "inputs": [1], "side_inputs": ["red"]},
        {"type": "scene", "inputs": []},
    ]
    assert execute(program, scene) == "2"
    assert question_type(program) == "count"


@pytest.mark.parametrize(
    "program, message",
    [
        ([], "no nodes"),
        ([{"inputs": []}], "node 0 .*neither 'function' nor 'type'"),
        ([node("scene"), {"function": "count"}], "node 1 .count.: has no 'inputs'"),
        ([node("scene"), {"function": "count", "inputs": 0}], "node 1 .count.: .*not a list"),
        ([node("scene"), node("paint", 0)], "node 1 .paint.: unknown function"),
        ([node("scene"), node("count", 5)], "node 1 .count.: input 5 is not a node"),
        ([node("scene"), node("count")], "node 1 .count.: takes 1 inputs, got 0"),
        ([node("scene"), node("filter_color", 0), node("count", 1)], "node 1 .*one value input"),
        ([node("scene"), node("filter_color", 0, values=["pink"])], "node 1 .*value 'pink'"),
        ([node("scene"), node("count", 0, values=["red"])], "node 1 .*takes no value input"),
        ([node("scene"), node("query_size", 0)], "node 1 .*needs kind object, node 0 gives set"),
        ([node("scene"), node("count", 0), node("exist", 0)], "node 2 .exist.: a second end"),
        ([node("unique", 1), node("relate", 0, values=["left"])], "cycle"),
        ([node("union", 0, 1), node("scene"), node("count", 0)], "node 0 .union.: .*cycle"),
        ([*RED, node("unique", 1), node("query_size", 2)], "node 2 .unique.: .*got 2"),
        ([*RED], "node 1 .filter_color.: its result is not an answer"),
        (["scene"], "node 0 .*not a dictionary"),
    ],
)  # fmt: skip
def test_errors_name_the_node(scene, program, message):
    with pytest.raises(ProgramError, match=message):
        execute(program, scene)


def relations(count):
    """Program nodes from the sphere, each relation to the one object left of the one before."""
    program = list(SPHERE)
    for _ in range(count):
        program.append(node("relate", len(program) - 1, values=["left"]))
        program.append(node("unique", len(program) - 1))
    return program


@pytest.mark.parametrize(
    "program, kind, target",
    [
        (relations(0), "ref_attribute", 1),
        (relations(1), "ref_relate_1", 0),
        ([*SPHERE, node("same_color", 2), node("unique", 3)], "ref_same", 0),
        ([*SPHERE, node("relate", 2, values=["left"]), *RED[:1], node("intersect", 3, 4),
          node("unique", 5)], "ref_and", 0),
        ([*SPHERE, node("same_color", 2), node("scene"), node("filter_size", 4, values=["large"]),
          node("union", 3, 5), node("unique", 6)], "ref_or", 0),
    ],
)  # fmt: skip
def test_referring_expressions(scene, program, kind, target):
    assert question_type(program) == kind
    assert find_referent(program, scene) == target


def test_types_of_referring_expressions_by_relations():
    kinds = [question_type(relations(count)) for count in range(5)]
    assert kinds[1:] == ["ref_relate_1", "ref_relate_2", "ref_relate_3", "ref_relate_3"]
    assert len(set(REFERRING_TYPES) | set(QUESTION_TYPES)) == 20


def test_question_type_needs_a_question():
    with pytest.raises(ProgramError, match="node 1 .filter_color.: is not the last step"):
        question_type(RED)


def test_broken_scenes(scene):
    program = [node("scene"), node("count", 0)]
    with pytest.raises(SceneError, match="relationships"):
        execute(program, {"objects": scene["objects"]})
    with pytest.raises(SceneError, match="does not fit 3 objects"):
        broken = {**scene["relationships"], "left": [[7], [], []]}
        execute(program, {**scene, "relationships": broken})
    scene["objects"][1]["color"] = "pink"
    with pytest.raises(SceneError, match="object 1 has unknown color 'pink'"):
        execute(program, scene)


def test_empty_scene():
    empty = {
        "objects": [],
        "relationships": dict.fromkeys(("left", "right", "front", "behind"), []),
    }
    assert execute([node("scene"), node("count", 0)], empty) == "0"


def test_members():
    assert members(0) == []
    assert members(0b10110) == [1, 2, 4]


def test_thirteen_types():
    assert len(set(QUESTION_TYPES)) == 13
