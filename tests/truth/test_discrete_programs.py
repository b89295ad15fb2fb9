"""Layouts and attended words taken as programs, and the order in which a model follows experts."""

import numpy as np
import pytest

from clevr_prep.clevr.expert_layouts import expert_layout, expert_steps
from clevr_prep.clevr.programs import find_referent, parse_program
from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from clevr_prep.truth.annotations import _arguments, _followed, _orders, question_truth
from clevr_prep.truth.discrete_programs import discrete_answer, heard_arguments, read_layout
from tests.helpers.tiny.dataset import node

GRID = (14, 14)
SIZE = (480, 320)


def ideal(program, swapped=frozenset()):
    """Modules, words and attention of a model that listens to just what each step is about."""
    nodes, _ = parse_program(program)
    modules, named = [], []
    for module, index in expert_steps(program, swapped=swapped):
        modules.append(module)
        named.append(sorted(_names(_arguments(nodes, index))))
    words = ["the", *sorted({word for step in named for word in step})]
    attention = np.zeros((len(named), len(words)))
    for row, step in zip(attention, named, strict=True):
        for word in step or ["the"]:
            row[words.index(word)] = 1 / max(1, len(step))
    return [*modules, "_NoOp"], words, np.concatenate([attention, attention[:1]])


def _names(arguments):
    for kind, value in arguments:
        yield kind.removeprefix("same_") if value is None else value


def scenes_with(generate, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scene = sample_scene(rng)
        yield from ((scene, entry) for entry in generate(scene, 8, rng))


class TestWhatTheAnswerIsAbout:
    def test_is_what_is_counted_or_compared(self):
        checked = 0
        for scene, entry in scenes_with(generate_questions, 15, 7):
            asked = question_truth(scene, entry["program"], GRID, SIZE).asked
            last = entry["program"][-1]["function"]
            if last == "count":
                assert asked.sum() == int(entry["answer"])
            elif last == "exist":
                assert asked.any() == (entry["answer"] == "yes")
            elif last.startswith("query"):
                assert asked.sum() == 1
                (index,) = np.flatnonzero(asked)
                assert scene["objects"][index][last.removeprefix("query_")] == entry["answer"]
            elif last.partition("_")[2] in ATTRIBUTES:
                values = {
                    scene["objects"][i][last.partition("_")[2]] for i in np.flatnonzero(asked)
                }
                assert (len(values) == 1) == (entry["answer"] == "yes")
            checked += 1
        assert checked > 60


class TestIdealReading:
    def test_answers_every_question_as_its_own_program_does(self):
        asked = set()
        for scene, entry in scenes_with(generate_questions, 25, 1):
            program = entry["program"]
            nodes, order = parse_program(program)
            swapped = frozenset(i for i in order if len(nodes[i].inputs) == 2)
            for choice in (frozenset(), swapped):
                modules, words, attention = ideal(program, choice)
                reading = question_truth(scene, program, GRID, SIZE).read(modules, words, attention)
                assert reading.answer == entry["answer"]
                assert reading.layout == modules[:-1]
            asked.add(nodes[order[-1]].function)
        assert len(asked) >= 12

    def test_finds_every_expressions_object(self):
        def generate(scene, count, rng):
            return generate_expressions(scene, range(len(scene["objects"])), count, rng)

        for scene, entry in scenes_with(generate, 10, 2):
            program = entry["program"]
            reading = question_truth(scene, program, GRID, SIZE).read(*ideal(program))
            referent = find_referent(program, scene)
            assert reading.answer == referent
            assert reading.selected[-1].nonzero()[0].tolist() == [referent]


class TestHeard:
    WORDS = "the red shiny blue thing left color".split()

    def test_words_with_too_little_attention_are_not_heard(self):
        heard = heard_arguments("_Find", self.WORDS, [0.2, 0.5, 0.2, 0.06, 0, 0, 0])
        assert heard == {("color", "red"), ("material", "metal")}
        assert heard_arguments("_Filter", self.WORDS, [0.9, 0.04, 0, 0, 0, 0, 0]) == set()

    def test_a_relation_is_the_most_attended_one(self):
        assert heard_arguments("_Transform", self.WORDS, [0, 0, 0, 0, 0, 0.2, 0.7]) == {
            ("same_color", None)
        }
        assert heard_arguments("_Transform", self.WORDS, [0, 0, 0, 0, 0, 0.4, 0.3]) == {
            ("relate", "left")
        }

    def test_other_modules_take_no_words(self):
        assert heard_arguments("_And", self.WORDS, [0, 1, 0, 0, 0, 0, 0]) == set()


class TestUnreadable:
    @pytest.mark.parametrize(
        ("modules", "last"),
        [
            (["_Filter", "_DescribeOne"], "count"),
            (["_Find", "_And", "_DescribeOne"], "count"),
            (["_Find", "_DescribeTwo"], "equal_integer"),
            (["_Find", "_Find", "_DescribeOne"], "count"),
            (["_Find", "_DescribeOne"], "equal_color"),
            (["_Find", "_Find", "_DescribeTwo"], "exist"),
            (["_Find", "_Transform", "_DescribeOne"], "count"),
            (["_Find", "_DescribeOne", "_Find"], "count"),
            (["_Find", "_DescribeOne", "_DescribeOne"], "count"),
            (["_Find"], "count"),
            (["_NoOp", "_NoOp"], "count"),
            (["_Find", "_DescribeOne"], "unique"),
        ],
    )
    def test_layouts_that_are_no_program(self, modules, last):
        attention = np.ones((len(modules), 1))
        assert read_layout(modules, ["the"], attention, last=last) is None

    def test_one_object_is_needed_where_one_is_asked_for(self):
        scene = sample_scene(np.random.default_rng(0))
        program = read_layout(
            ["_Find", "_DescribeOne"], ["the"], np.ones((2, 1)), last="query_size"
        )
        assert [step["function"] for step in program] == ["scene", "unique", "query_size"]
        assert len(scene["objects"]) > 1 and discrete_answer(program, scene) is None


def compare(color, other):
    """Is the thing of one colour the same size as the thing of another?"""
    return [
        node("scene"),
        node("filter_color", 0, value=color),
        node("unique", 1),
        node("query_size", 2),
        node("scene"),
        node("filter_color", 4, value=other),
        node("unique", 5),
        node("query_size", 6),
        node("equal_size", 3, 7),
    ]


def followed_by(program, modules, words, attention):
    nodes, order = parse_program(program)
    return _followed(_orders(program, nodes, order), nodes, modules, words, attention)


class TestOrder:
    MODULES = ["_Find", "_Find", "_DescribeTwo"]

    def followed(self, first, second):
        attention = [[float(word == w) for w in ("red", "blue")] for word in (first, second, "")]
        return followed_by(compare("red", "blue"), self.MODULES, ["red", "blue"], attention)

    def test_words_tell_which_arm_comes_first(self):
        assert [node for _, node in self.followed("red", "blue")[1]] == [1, 5, 8]
        assert [node for _, node in self.followed("blue", "red")[1]] == [5, 1, 8]

    def test_without_a_word_the_programs_own_order_holds(self):
        assert self.followed("", "")[0] == frozenset()

    # How many things are left of the red thing or large?
    UNION = [
        node("scene"),
        node("filter_color", 0, value="red"),
        node("unique", 1),
        node("relate", 2, value="left"),
        node("scene"),
        node("filter_size", 4, value="large"),
        node("union", 3, 5),
        node("count", 6),
    ]

    def test_a_whole_layout_goes_before_words(self):
        assert expert_layout(self.UNION)[:3] == ["_Find", "_Transform", "_Find"]
        modules = ["_Find", "_Find", "_Transform", "_Or", "_DescribeOne"]
        attention = np.tile([[1.0, 0.0]], (7, 1))
        swapped, steps = followed_by(
            self.UNION, [*modules, "_NoOp", "_NoOp"], ["red", "left"], attention
        )
        assert [module for module, _ in steps] == modules and swapped == {6}

    def test_words_go_before_the_beginning_of_another_layout(self):
        # Begins like the program's own order, for every question, whatever it is about.
        modules = ["_Find", "_Transform", "_Filter", "_Find", "_DescribeTwo", "_Or", "_DescribeOne"]
        for first, choice in (("large", {6}), ("red", set())):
            attention = np.zeros((7, 2))
            attention[0, ["red", "large"].index(first)] = 1
            assert followed_by(self.UNION, modules, ["red", "large"], attention)[0] == choice


def test_every_attribute_can_be_heard():
    for attribute in ATTRIBUTES:
        assert heard_arguments("_Transform", [attribute], [1.0]) == {(f"same_{attribute}", None)}
