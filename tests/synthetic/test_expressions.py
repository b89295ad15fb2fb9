"""Referring expressions: each denotes one object, in words that say no less and nothing idle."""

from collections import Counter

import numpy as np
import pytest

from clevr_prep.clevr.expert_layouts import expert_layout, pad_layout
from clevr_prep.clevr.programs import (
    REFERRING_TYPES,
    ProgramError,
    execute,
    find_referent,
    hops,
    question_type,
)
from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneError
from clevr_prep.synthetic.language.families import EXPRESSION_FAMILIES, family_index
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from clevr_prep.synthetic.sampling.questions import MAX_WORDS
from snmn.common.vocabulary import MODULES, encode
from tests.synthetic.test_questions import closure, filters_below, make_scene

SET_STEPS = ("relate", "same", "intersect", "union")
# Attention maps a module takes from the stack and puts there.
TAKES = {"_Transform": 1, "_Filter": 1, "_And": 2, "_Or": 2}


@pytest.fixture(scope="module")
def stream():
    """(scene, expression) of 300 scenes with 10 expressions each."""
    rng, pairs = np.random.default_rng(0), []
    for _ in range(300):
        scene = make_scene(rng, int(rng.integers(3, 11)))
        targets = range(len(scene["objects"]))
        try:
            drawn = generate_expressions(scene, targets, 10, rng)
        except SceneError:
            continue
        assert len(drawn) == 10
        pairs += [(scene, expression) for expression in drawn]
    assert len(pairs) > 2900
    return pairs


def test_every_expression_denotes_its_target_alone(stream):
    for scene, entry in stream:
        assert find_referent(entry["program"], scene) == entry["target_object"]
        assert entry["program"][-1]["function"] == "unique"


def test_programs_with_types_mean_the_same(stream):
    for scene, entry in stream[:300]:
        old = [
            {"type": n["function"], "inputs": n["inputs"], "side_inputs": n["value_inputs"]}
            for n in entry["program"]
        ]
        assert find_referent(old, scene) == entry["target_object"]
        assert question_type(old) == question_type(entry["program"])
        assert expert_layout(old) == expert_layout(entry["program"])


def test_text_is_a_noun_phrase_that_means_the_program(stream):
    for _, entry in stream:
        text = entry["question"]
        assert text.startswith("the ") and "?" not in text and ";" not in text
        assert 0 < len(encode(text)) <= MAX_WORDS
    for _, entry in stream[:600]:
        meaning = read(entry["question"])
        assert [to_program(m) for m in meaning] == [entry["program"]]
        assert [family_index(m) for m in meaning] == [entry["question_family_index"]]


def test_layouts_fit_the_model_and_its_stack(stream):
    for _, entry in stream:
        layout = expert_layout(entry["program"])
        assert len(pad_layout(layout, 9)) == 9
        assert set(layout) <= set(MODULES)
        height = 0
        for module in layout:
            height -= TAKES.get(module, 0)
            assert height >= 0, layout
            height += 1
        assert height == 1, layout


def test_types_are_even_and_all_families_occur(stream):
    kinds = Counter(question_type(entry["program"]) for _, entry in stream)
    assert set(kinds) == set(REFERRING_TYPES)
    for kind, count in kinds.items():
        assert 0.09 < count / len(stream) < 0.2, kind
    families = {entry["question_family_index"] for _, entry in stream}
    assert families == set(range(len(EXPRESSION_FAMILIES)))
    for _, entry in stream:
        family = EXPRESSION_FAMILIES[entry["question_family_index"]]
        assert hops(entry["program"]) == family.hops
        assert not question_type(entry["program"]).startswith("ref_relate") or (
            question_type(entry["program"]) == f"ref_relate_{family.hops}"
        )


def referents(scene, program, index):
    """How many objects the set at a node has, with whatever it needs and nothing else."""
    count = {"function": "count", "inputs": [index], "value_inputs": []}
    return int(execute([*closure(program, index), count], scene))


def test_no_clause_is_idle(stream):
    """Without its relation, union or intersection a description fits more than its object."""
    checked = 0
    for scene, entry in stream:
        program = entry["program"]
        for index, node in enumerate(program):
            if node["function"] != "unique":
                continue
            _, source = filters_below(program, node["inputs"][0])
            if not program[source]["function"].startswith(SET_STEPS):
                continue
            loose = [*program[:source], {"function": "scene", "inputs": [], "value_inputs": []}]
            loose += program[source + 1 : index + 1]
            assert referents(scene, program, node["inputs"][0]) == 1
            assert referents(scene, loose, node["inputs"][0]) > 1, entry["question"]
            checked += 1
    assert checked > 2000


def test_both_sides_of_a_conjunction_matter(stream):
    checked = 0
    for scene, entry in stream:
        program = entry["program"]
        for index, node in enumerate(program):
            for side in node["inputs"] if node["function"] == "intersect" else ():
                alone = {"function": "union", "inputs": [side, side], "value_inputs": []}
                loose = [*program[:index], alone, *program[index + 1 :]]
                assert referents(scene, loose, program[-1]["inputs"][0]) > 1, entry["question"]
                checked += 1
    assert checked > 400


def test_both_sides_of_a_union_have_members_of_their_own(stream):
    checked = 0
    for scene, entry in stream:
        for index, node in enumerate(entry["program"]):
            if node["function"] == "union":
                sides = [referents(scene, entry["program"], side) for side in node["inputs"]]
                assert referents(scene, entry["program"], index) > max(sides)
                assert min(sides) > 0
                checked += 1
    assert checked > 200


def test_nothing_is_described_by_its_relation_to_itself(stream):
    for scene, entry in stream:
        program = entry["program"]
        for index, node in enumerate(program[:-1]):
            if node["function"] == "unique":
                assert find_referent(closure(program, index), scene) != entry["target_object"]


def test_shared_values_do_not_stand_in_the_description(stream):
    for _, entry in stream:
        for index in range(len(entry["program"])):
            said, source = filters_below(entry["program"], index)
            name, _, attribute = entry["program"][source]["function"].partition("_")
            assert name != "same" or attribute not in said


def test_expressions_of_a_scene_differ_and_all_objects_have_their_turn():
    scene = make_scene(np.random.default_rng(5), 6)
    looks = {tuple(thing.values()) for thing in scene["objects"]}
    assert len(looks) == 6
    drawn = generate_expressions(scene, range(6), 60, np.random.default_rng(6))
    assert len({str(entry["program"]) for entry in drawn}) == 60
    turns = Counter(entry["target_object"] for entry in drawn)
    assert set(turns.values()) <= set(range(8, 13))


def test_only_the_given_targets_are_meant():
    rng = np.random.default_rng(3)
    scene = make_scene(rng, 8)
    drawn = generate_expressions(scene, [2, 5], 30, rng)
    assert {entry["target_object"] for entry in drawn} <= {2, 5}


def test_same_state_same_expressions():
    scene = make_scene(np.random.default_rng(3), 7)
    first, second, other = (
        generate_expressions(scene, range(7), 20, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first == second != other


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_max_hops(limit):
    rng, most = np.random.default_rng(7), 0
    for _ in range(20):
        scene = make_scene(rng, 8)
        for entry in generate_expressions(scene, range(8), 10, rng, max_hops=limit):
            most = max(most, hops(entry["program"]))
    assert most == limit
    with pytest.raises(ValueError, match="max_hops must be at least 0, got -1"):
        generate_expressions(scene, range(8), 1, rng, max_hops=-1)


def test_one_object_and_more_expressions_than_there_are():
    scene = make_scene(np.random.default_rng(8), 1)
    drawn = generate_expressions(scene, [0], 40, np.random.default_rng(8))
    assert len(drawn) == 40
    assert len({str(entry["program"]) for entry in drawn}) == 16  # subsets of four attributes


def test_twins_are_told_apart_by_relations():
    """Two of three objects look the same: attributes denote the third one only."""
    looks = [{a: VALUES[a][k] for a in ATTRIBUTES} for k in (0, 0, 1)]
    order = {"left": [[], [0], [0, 1]], "right": [[1, 2], [2], []]}
    order |= {"front": order["left"], "behind": order["right"]}
    scene = {"objects": looks, "relationships": {d: order[d] for d in DIRECTIONS}}
    scene["relationships"]["left"] = [[], [0, 2], [0]]
    scene["relationships"]["right"] = [[1, 2], [], [1]]
    drawn = generate_expressions(scene, range(3), 12, np.random.default_rng(0))
    assert {entry["target_object"] for entry in drawn} == {0, 1, 2}
    for entry in drawn:
        if entry["target_object"] != 2:
            assert hops(entry["program"]) > 0
    zero = generate_expressions(scene, range(3), 12, np.random.default_rng(0), max_hops=0)
    assert {entry["target_object"] for entry in zero} == {2}


def test_scenes_without_anything_to_refer_to():
    look = {a: VALUES[a][0] for a in ATTRIBUTES}
    scene = {**make_scene(np.random.default_rng(9), 3), "objects": [look] * 3}
    with pytest.raises(SceneError, match="none of its visible objects looks unlike all others"):
        generate_expressions(scene, range(3), 1, np.random.default_rng(9))
    with pytest.raises(SceneError, match="relationships"):
        generate_expressions({"objects": []}, [], 1, np.random.default_rng(0))


def test_program_that_denotes_two_objects_is_an_error():
    look = {a: VALUES[a][0] for a in ATTRIBUTES}
    scene = {**make_scene(np.random.default_rng(9), 3), "objects": [look] * 3}
    program = to_program(("refer", ("scene", ("desc", "large", None, None, None))))
    with pytest.raises(ProgramError, match="needs one object, got 3"):
        find_referent(program, scene)
    with pytest.raises(ProgramError, match="not an object"):
        find_referent(program[:-1], scene)
    with pytest.raises(ProgramError, match="not an answer"):
        execute(program, scene)
