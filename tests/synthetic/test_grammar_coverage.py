import json
import random

import numpy as np
import pytest

from clevr_prep.clevr.programs import execute, parse_program
from clevr_prep.clevr.scene_masks import SceneMasks
from clevr_prep.synthetic.language.families import FAMILIES, family_index, shape_of
from clevr_prep.synthetic.language.grammar import GrammarError, can_produce, read, say
from clevr_prep.synthetic.language.meaning import NOTHING_SAID, to_program
from clevr_prep.synthetic.language.phrases import PIECES, RULES, WORDS
from clevr_prep.synthetic.language.templates import Choice, Slot, TemplateError, parse_template
from clevr_prep.synthetic.sampling.question_sampling import MeaningSampler
from snmn.common.vocabulary import QUESTION_WORDS, encode
from tests.helpers.paths import SHARED
from tests.synthetic.test_questions import make_scene

GENUINE = SHARED / "real_clevr_dev" / "questions" / "CLEVR_val_questions.json"
needs_genuine = pytest.mark.skipif(not GENUINE.is_file(), reason="no genuine CLEVR sample")


@pytest.fixture(scope="module")
def genuine():
    return json.loads(GENUINE.read_text())["questions"]


def tree(program):
    """A program as nested tuples, whatever the order of its nodes."""
    nodes, order = parse_program(program)

    def below(index):
        function, inputs, value = nodes[index]
        return function, value, *map(below, inputs)

    return below(order[-1])


@needs_genuine
def test_genuine_questions_can_be_said(genuine):
    missing = [q["question"] for q in genuine if not can_produce(q["question"])]
    assert len(missing) <= 0.01 * len(genuine), missing[:10]


@needs_genuine
def test_genuine_questions_mean_what_their_programs_say(genuine):
    wrong = [
        q["question"]
        for q in genuine
        if tree(q["program"]) not in [tree(to_program(m)) for m in read(q["question"])]
    ]
    assert len(wrong) <= 0.01 * len(genuine), wrong[:10]


@pytest.fixture(scope="module")
def drawn():
    """Meanings of every family, 25 each, with the scenes and answers they were drawn for."""
    rng, found = np.random.default_rng(0), []
    wanted = dict.fromkeys(range(len(FAMILIES)), 25)
    while any(wanted.values()):
        scene = SceneMasks(make_scene(rng, 9))
        sampler = MeaningSampler(scene, random.Random(int(rng.integers(2**32))))
        for family, left in wanted.items():
            result = sampler.draw(FAMILIES[family]) if left else None
            if result is not None:
                found.append((family, scene, *result))
                wanted[family] -= 1
    return found


def test_what_is_said_is_what_is_read(drawn):
    rng = random.Random(0)
    for family, scene, meaning, answer in drawn:
        assert family_index(meaning) == family
        assert execute(to_program(meaning), scene) == answer
        text = say(meaning, rng)
        assert read(text) == [meaning]
        assert can_produce(text)


def test_many_ways_to_say_one_thing():
    anchor = ("scene", ("desc", "large", None, "metal", "sphere"))
    meaning = ("count", ("relate", ("desc", None, "red", None, "cube"), "left", anchor))
    rng = random.Random(0)
    texts = {say(meaning, rng) for _ in range(2000)}
    assert len(texts) > 250
    assert "How many red blocks are to the left of the big shiny ball?" in texts
    question = "There is a large metal sphere; what number of red cubes are left of it?"
    assert question in texts


@pytest.mark.parametrize(
    "text",
    [
        "Are there any tiny balls that are behind the gray thing?",
        "is there anything else that is made of the same material as the cube ?",
        "What size is the thing that is both left of the ball and behind the red block?",
        "Are there fewer matte things in front of the ball than green cylinders?",
    ],
)
def test_understood(text):
    assert can_produce(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "What color is the?",
        "What color is the large red?",
        "What color is the red large cube?",
        "How many cube are there?",
        "Is there anything else that has the same color as the dog?",
        "What color is the cube that are left of the ball?",
        "What color is the cube left of the ball? What size is it?",
        "There is a cube; what color is the ball?",
    ],
)
def test_not_understood(text):
    assert read(text) == []
    assert not can_produce(text)


def test_four_hops_are_read_but_not_asked():
    text = "What color is the cube" + " left of the cube" * 4 + "?"
    assert len(read(text)) == 1
    assert not can_produce(text)


def test_meaning_without_words():
    with pytest.raises(GrammarError, match="no rule says"):
        say(("count", ("nothing", NOTHING_SAID)), random.Random(0))


def words_of(template):
    for item in template:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Choice):
            for option in item.options:
                yield from words_of(option)


def test_grammar_and_vocabulary_have_the_same_words():
    used = set()
    for phrases in WORDS.values():
        used |= {word for phrase in phrases.values() for word in phrase.replace("|", " ").split()}
    for rules in RULES.values():
        for _, templates in rules:
            for template in templates:
                text = template[1] if isinstance(template, tuple) else template
                used |= set(words_of(parse_template(text, PIECES)))
    assert used == set(QUESTION_WORDS)


def test_templates():
    pieces = {"both": "[both]"}
    assert parse_template("(how many|what) <many:d> ?", pieces) == (
        Choice((("how", "many"), ("what",))),
        Slot("many", "d"),
        "?",
    )
    assert parse_template("are {both}", pieces) == ("are", Choice((("both",), ())))


@pytest.mark.parametrize(
    "text, message",
    [
        ("(a|b", "no '\\)'"),
        ("[a)", "no '\\]'"),
        ("a)", "closing bracket"),
        ("{c}", "unknown piece {c}"),
        ("<many>", "cannot read"),
    ],
)
def test_malformed_templates(text, message):
    with pytest.raises(TemplateError, match=message):
        parse_template(text, {})


def test_program_conventions():
    anchor = ("scene", ("desc", None, None, None, "cube"))
    other = ("scene", ("desc", "small", "red", "metal", "sphere"))
    both = ("both", NOTHING_SAID, "left", anchor, "behind", other)
    functions = [node["function"] for node in to_program(("count", both))]
    last = ["scene", "filter_size", "filter_color", "filter_material", "filter_shape", "unique"]
    first = ["scene", "filter_shape", "unique"]
    assert functions == [*last, "relate", *first, "relate", "intersect", "count"]
    assert shape_of(("count", both)) == ("count", ("both", "scene", "scene"))


def test_vocabulary_covers_what_is_said(drawn):
    rng = random.Random(1)
    for _, _, meaning, _ in drawn:
        encode(say(meaning, rng))
