"""Questions composed at random, to train on: sampling/random_shapes.py, random_compositions.py."""

from collections import Counter

import numpy as np
import pytest

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.clevr.programs import hops
from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.fresh_questions import FreshQuestions
from clevr_prep.synthetic.language.composition_kinds import KINDS, contains_kind
from clevr_prep.synthetic.language.families import FAMILIES, shape_of
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.sampling.random_compositions import generate_compositions
from snmn.common.vocabulary import decode, tokenise
from tests.synthetic.test_fresh_questions import make_scene, write_scenes

SCENES = [make_scene(image) for image in range(12)]


def rng(*key):
    return np.random.default_rng(key)


def compositions(each: int = 12, **how) -> list[tuple[dict, dict]]:
    """(scene, question) of all scenes."""
    return [
        (scene, question)
        for number, scene in enumerate(SCENES)
        for question in generate_compositions(scene, each, rng(7, number), **how)
    ]


@pytest.fixture(scope="module")
def composed():
    return compositions()


@pytest.fixture(scope="module")
def held_out():
    return compositions(held_out=True)


def run(program: list[dict], node: int, scene: dict):
    """What a program's node gives, with sets of object numbers: written for this test alone."""
    kind, _, attribute = program[node]["function"].partition("_")
    given = [run(program, source, scene) for source in program[node]["inputs"]]
    things = scene["objects"]
    value = (program[node]["value_inputs"] or [None])[0]
    if kind == "scene":
        return set(range(len(things)))
    if kind == "filter":
        return {i for i in given[0] if things[i][attribute] == value}
    if kind == "unique":
        (thing,) = given[0]
        return thing
    if kind == "relate":
        return set(scene["relationships"][value][given[0]])
    if kind == "same":
        wanted = things[given[0]][attribute]
        return {i for i, thing in enumerate(things) if thing[attribute] == wanted} - {given[0]}
    if kind == "query":
        return things[given[0]][attribute]
    return {
        "intersect": lambda a, b: a & b,
        "union": lambda a, b: a | b,
        "count": len,
        "exist": bool,
        "equal": lambda a, b: a == b,
        "greater": lambda a, b: a > b,
        "less": lambda a, b: a < b,
    }[kind](*given)


def test_answers_are_those_of_an_executor_of_its_own(composed):
    for scene, question in composed:
        answer = run(question["program"], len(question["program"]) - 1, scene)
        expected = {True: "yes", False: "no"}[answer] if isinstance(answer, bool) else str(answer)
        assert question["answer"] == expected, question["question"]


def test_questions_are_bounded_and_understood_in_one_way(composed, held_out):
    for _, question in composed + held_out:
        assert len(expert_layout(question["program"])) <= 9
        assert len(tokenise(question["question"])) <= 45
        assert len(read(question["question"])) == 1
    texts = [question["question"] for _, question in composed]
    assert len(set(texts)) > 0.95 * len(texts)


def test_they_are_deeper_and_of_more_shapes_than_clevr_s(composed):
    asked = [q for scene in SCENES for q in generate_questions(scene, 12, rng(3))]
    layouts = Counter(" ".join(expert_layout(q["program"])) for _, q in composed)
    clevr = Counter(" ".join(expert_layout(q["program"])) for q in asked)
    assert len(layouts) > 2 * len(clevr)
    assert max(layouts.values()) / len(composed) < max(clevr.values()) / len(asked)
    longest = Counter(len(layout.split()) for layout in layouts)
    assert longest[8] and longest[9]


def sets_below(program: list[dict], node: int) -> set[str]:
    """What makes the set that a node takes its one object or its filters from: its functions."""
    kind = program[node]["function"].partition("_")[0]
    if kind in ("filter", "unique", "query", "count"):
        return sets_below(program, program[node]["inputs"][0])
    return {kind}


def is_of_a_kind(program: list[dict]) -> bool:
    """Whether a program has what makes one of the seven kinds: written for this test alone."""
    for node in program:
        kind = node["function"].partition("_")[0]
        parts = [sets_below(program, source) for source in node["inputs"]]
        made = set().union(*parts) if parts else set()
        compares = kind == "equal" and node["function"] != "equal_integer"
        if (kind in ("relate", "union") or compares) and "same" in made:
            return True
        if kind == "same" and "relate" in made:
            return True
        if kind == "intersect" and {"same", "relate"} <= made:
            return True
    return False


def test_the_seven_kinds_are_drawn_unless_they_are_held_out(composed, held_out):
    assert sum(is_of_a_kind(question["program"]) for _, question in composed) > len(composed) / 5
    assert not [q["question"] for _, q in held_out if is_of_a_kind(q["program"])]
    for _, question in composed + held_out:
        (meaning,) = read(question["question"])
        assert contains_kind(shape_of(meaning)) == is_of_a_kind(question["program"])


def test_held_out_are_the_kinds_that_are_tested_and_none_of_clevr_s():
    for kind in KINDS.values():
        assert all(contains_kind(shape) for shape in kind.shapes)
        assert not any(contains_kind(shape) for shape in kind.baseline)
    assert not any(contains_kind(family.shape) for family in FAMILIES)


@pytest.mark.parametrize("what", ["composed", "held_out"])
def test_no_answer_is_the_safe_one(what, request):
    answers = {"yes": Counter(), "count": Counter()}
    for _, question in request.getfixturevalue(what):
        if question["answer"] in ("yes", "no"):
            answers["yes"][question["answer"]] += 1
        elif question["answer"].isdigit():
            answers["count"][question["answer"]] += 1
    assert 0.4 < answers["yes"]["yes"] / answers["yes"].total() < 0.6
    assert max(answers["count"].values()) / answers["count"].total() < 0.45


def test_the_same_state_draws_the_same():
    first, again = (generate_compositions(SCENES[0], 20, rng(1)) for _ in range(2))
    assert first == again != generate_compositions(SCENES[0], 20, rng(2))


def test_limits_of_hops_and_steps():
    for most in (0, 1, 2):
        drawn = compositions(5, max_hops=most)
        assert max(hops(question["program"]) for _, question in drawn) == most
    short = compositions(5, steps=5)
    assert max(len(expert_layout(question["program"])) for _, question in short) == 5


def test_a_share_of_fresh_questions_is_composed(tmp_path):
    path, families = write_scenes(tmp_path, SCENES), {family.shape for family in FAMILIES}

    def drawn(step=100, **how):
        source = FreshQuestions(path, queries_until=10, **how)
        parts = [source.draw(image, 20, rng(image), step) for image in range(len(SCENES))]
        assert all(len(part) == 20 for part in parts)
        rows = [row for part in parts for row in zip(part.question, part.length, strict=True)]
        return [shape_of(read(decode(words[:length]))[0]) for words, length in rows]

    def new(shapes):
        return np.mean([shape not in families for shape in shapes])

    assert new(drawn()) == 0
    half, all_of_them = new(drawn(compositions=0.5)), new(drawn(compositions=1.0))
    assert all_of_them > 0.4 and abs(half - all_of_them / 2) < 0.1
    assert new(drawn(step=9, compositions=1.0)) == 0
    without = drawn(compositions=1.0, held_out=True)
    assert new(without) > 0.15 and not any(contains_kind(shape) for shape in without)


def test_attributes_are_all_asked_for(composed):
    asked = {question["program"][-1]["function"] for _, question in composed}
    kinds = {"query", "equal"}
    assert {f"{kind}_{a}" for kind in kinds for a in ATTRIBUTES} | {"count", "exist"} <= asked
