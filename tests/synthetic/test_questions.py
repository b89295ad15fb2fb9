import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.clevr.programs import ProgramError, execute, hops, question_type
from clevr_prep.clevr.scene_masks import ATTRIBUTES, VALUES, SceneError, SceneMasks
from clevr_prep.synthetic.language.families import FAMILIES, family_index
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.sampling.balance import AnswerBalance
from clevr_prep.synthetic.sampling.questions import MAX_WORDS, generate_questions
from snmn.common.vocabulary import ANSWER_INDEX, encode


def make_scene(rng, count):
    """Random objects at random places: no picture, but all that questions are made from."""
    objects = [{a: str(rng.choice(VALUES[a])) for a in ATTRIBUTES} for _ in range(count)]
    across, depth = rng.permutation(count), rng.permutation(count)

    def before(order):
        return [[j for j in range(count) if order[j] < order[i]] for i in range(count)]

    relationships = {
        "left": before(across),
        "right": before(-across),
        "front": before(depth),
        "behind": before(-depth),
    }
    return {"objects": objects, "relationships": relationships}


@pytest.fixture(scope="module")
def stream():
    """(scene, question) of 1200 scenes with 5 questions each, under one running balance."""
    rng, balance = np.random.default_rng(0), AnswerBalance()
    pairs = []
    for _ in range(1200):
        scene = make_scene(rng, int(rng.integers(3, 11)))
        pairs += [(scene, q) for q in generate_questions(scene, 5, rng, balance=balance)]
    return pairs


def test_answers_are_those_of_the_programs(stream):
    for scene, question in stream:
        assert execute(question["program"], scene) == question["answer"]
        assert question["answer"] in ANSWER_INDEX


def test_words_and_lengths(stream):
    for _, question in stream:
        assert len(encode(question["question"])) <= MAX_WORDS == 45
        assert len(expert_layout(question["program"])) <= 9


def test_family_index(stream):
    for _, question in stream[:1500]:
        family = FAMILIES[question["question_family_index"]]
        assert family.hops == hops(question["program"])
        meanings = read(question["question"])
        assert [family_index(m) for m in meanings] == [question["question_family_index"]]


def test_every_family_occurs(stream):
    asked = Counter(q["question_family_index"] for _, q in stream)
    assert set(asked) == set(range(len(FAMILIES)))


def test_mix_of_types_is_that_of_clevr(stream):
    shares = Counter(question_type(q["program"]) for _, q in stream)
    expected = {
        "count": 0.24,
        "exist": 0.135,
        **dict.fromkeys(("equal_integer", "greater_than", "less_than"), 0.033),
        **{f"query_{a}": 0.09 for a in ATTRIBUTES},
        **{f"equal_{a}": 0.045 for a in ATTRIBUTES},
    }
    for kind, share in expected.items():
        assert shares[kind] / len(stream) == pytest.approx(share, abs=0.025), kind


def most_frequent_answer(questions):
    """Per type, the share of its most frequent answer."""
    answers = defaultdict(Counter)
    for question in questions:
        answers[question_type(question["program"])][question["answer"]] += 1
    return {kind: max(c.values()) / sum(c.values()) for kind, c in answers.items()}


def ceiling(kind):
    if kind == "count":
        return 0.36
    return {"query_color": 0.22, "query_shape": 0.42}.get(kind, 0.58)


def test_no_answer_can_be_guessed(stream):
    for kind, share in most_frequent_answer(q for _, q in stream).items():
        assert share <= ceiling(kind), kind


@pytest.mark.slow
def test_balance_without_a_running_balance():
    rng = np.random.default_rng(1)
    questions = []
    for _ in range(600):
        questions += generate_questions(make_scene(rng, int(rng.integers(3, 11))), 5, rng)
    for kind, share in most_frequent_answer(questions).items():
        assert share <= ceiling(kind) + 0.07, kind


def test_no_prior_within_a_family(stream):
    answers = defaultdict(Counter)
    for _, question in stream:
        answers[question["question_family_index"]][question["answer"]] += 1
    for family, counts in answers.items():
        if set(counts) <= {"yes", "no"} and counts.total() >= 30:
            assert max(counts.values()) <= 0.65 * counts.total(), FAMILIES[family].shape


def test_same_state_same_questions():
    scene = make_scene(np.random.default_rng(3), 7)
    first, second = (generate_questions(scene, 20, np.random.default_rng(4)) for _ in range(2))
    assert first == second
    assert generate_questions(scene, 20, np.random.default_rng(5)) != first


def test_questions_about_a_scene_differ():
    scene = make_scene(np.random.default_rng(6), 6)
    programs = [str(q["program"]) for q in generate_questions(scene, 60, np.random.default_rng(6))]
    assert len(set(programs)) == 60


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_max_hops(limit):
    rng, most = np.random.default_rng(7), 0
    for _ in range(20):
        for question in generate_questions(make_scene(rng, 8), 10, rng, max_hops=limit):
            functions = {node["function"] for node in question["program"]}
            assert limit > 0 or not functions & {"relate", *(f"same_{a}" for a in ATTRIBUTES)}
            most = max(most, hops(question["program"]))
    assert most == limit


def test_negative_max_hops_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="max_hops must be at least 0, got -1"):
        generate_questions(make_scene(rng, 5), 1, rng, max_hops=-1)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_scenes_with_few_objects(count):
    rng, balance = np.random.default_rng(8), AnswerBalance()
    for max_hops in (None, 0):
        for _ in range(5):
            scene = make_scene(rng, count)
            questions = generate_questions(scene, 8, rng, balance=balance, max_hops=max_hops)
            assert len(questions) == 8
            for question in questions:
                assert execute(question["program"], scene) == question["answer"]


def test_identical_objects():
    """Nothing is unique here, so only sets can be asked about."""
    look = {a: VALUES[a][0] for a in ATTRIBUTES}
    scene = {**make_scene(np.random.default_rng(9), 4), "objects": [look] * 4}
    for question in generate_questions(scene, 30, np.random.default_rng(9)):
        assert execute(question["program"], scene) == question["answer"]


def test_broken_scene():
    with pytest.raises(SceneError, match="relationships"):
        generate_questions({"objects": []}, 1, np.random.default_rng(0))


def filters_below(program, index):
    """Attributes filtered on directly below a node, and the node that is filtered."""
    said = []
    while program[index]["function"].startswith("filter_"):
        said.append(program[index]["function"].removeprefix("filter_"))
        index = program[index]["inputs"][0]
    return said[::-1], index


def test_filters_stand_in_clevr_s_order(stream):
    for _, question in stream[:1500]:
        for index in range(len(question["program"])):
            said, _ = filters_below(question["program"], index)
            assert said == [a for a in ATTRIBUTES if a in said]


def test_answers_do_not_stand_in_the_question(stream):
    for _, question in stream:
        program = question["program"]
        for node in program:
            name, _, attribute = node["function"].partition("_")
            if name in ("query", "same"):
                unique = program[node["inputs"][0]]
                assert attribute not in filters_below(program, unique["inputs"][0])[0]
        for index in range(len(program)):
            said, source = filters_below(program, index)
            name, _, attribute = program[source]["function"].partition("_")
            assert name != "same" or attribute not in said


def test_different_things_are_compared(stream):
    compared = 0
    for scene, question in stream:
        program = question["program"]
        if not question_type(program).startswith("equal_") or "equal_integer" in str(program):
            continue
        masks, things = SceneMasks(scene), []
        for query in program[-1]["inputs"]:
            top = program[query]["inputs"][0]
            # All four answers about a thing, and how many there are in front, to tell it apart.
            probes = [f"query_{a}" for a in ATTRIBUTES]
            things.append([ask(program, top, probe, masks) for probe in probes])
            for direction in ("left", "front"):
                things[-1].append(count_related(program, top, direction, masks))
        compared += 1
        assert things[0] != things[1], question["question"]
    assert compared > 500


def ask(program, index, function, masks):
    node = {"function": function, "inputs": [index], "value_inputs": []}
    return execute(closure(program, index) + [node], masks)


def count_related(program, index, direction, masks):
    nodes = closure(program, index)
    nodes.append({"function": "relate", "inputs": [index], "value_inputs": [direction]})
    nodes.append({"function": "count", "inputs": [len(nodes) - 1], "value_inputs": []})
    return execute(nodes, masks)


def closure(program, index):
    """The nodes up to one, with all that it does not need turned into unused scenes."""
    needed, stack = set(), [index]
    while stack:
        needed.add(stack[-1])
        stack.extend(program[stack.pop()]["inputs"])
    unused = {"function": "scene", "inputs": [], "value_inputs": []}
    return [node if i in needed else unused for i, node in enumerate(program[: index + 1])]


def test_relations_single_out_their_object(stream):
    """Without its relation, a thing that is found by one is no longer unique."""
    checked = 0
    for scene, question in stream[:3000]:
        masks, program = SceneMasks(scene), question["program"]
        for index, node in enumerate(program):
            if node["function"] != "unique":
                continue
            _, source = filters_below(program, node["inputs"][0])
            function = program[source]["function"]
            if function != "relate" and not function.startswith("same_"):
                continue
            loose = closure(program, index)
            loose[source] = {"function": "scene", "inputs": [], "value_inputs": []}
            loose = closure(loose, index)
            checked += 1
            with pytest.raises(ProgramError, match="needs one object"):
                ask(loose, index, "query_size", masks)
    assert checked > 500


def test_balance_turns_away_what_is_too_frequent():
    balance, rng = AnswerBalance(), random.Random(0)
    for answer in ("red", "blue"):
        balance.add(0, answer)
    assert balance.accepts(0, "red", rng)
    balance.add(0, "red")
    assert not balance.accepts(0, "red", rng)
    assert balance.accepts(0, "blue", rng)
    assert balance.accepts(0, "green", rng)


def test_fresh_balance_has_no_favourite():
    rng = random.Random(0)
    taken = sum(AnswerBalance().accepts(0, "yes", rng) for _ in range(400))
    assert 150 < taken < 250
