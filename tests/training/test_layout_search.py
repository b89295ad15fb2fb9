"""The search for layouts: wordings, programs, trials, blocks, and training with it."""

import random
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

import train
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.common.vocabulary import MODULE_INDEX, encode
from snmn.data.batch import Batch
from snmn.network.model import build_model
from snmn.storage.typed_settings import ConfigError
from snmn.training.layout_search.batches import aims, answer_losses, decisions, questions
from snmn.training.layout_search.entry import Entry, Score
from snmn.training.layout_search.familiarity import Familiarity
from snmn.training.layout_search.lessons import LEARNING, Lessons
from snmn.training.layout_search.programs import OTHERS, Step, modules, programs
from snmn.training.layout_search.search import LayoutSearch
from snmn.training.layout_search.trials import Trials
from snmn.training.layout_search.wordings import wording
from snmn.training.lightning_module import SNMNTraining
from snmn.training.losses import SNMNLoss, words_loss
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import same_weights, write_experiment

T = 9


def asked(text):
    return tuple(encode(text))


def read(text):
    said = wording(asked(text))
    words = text.replace("?", " ?").replace(";", " ;").lower().split()
    return said.text, [(p.kind, " ".join(words[i] for i in p.words)) for p in said.phrases]


@pytest.mark.parametrize(
    ("text", "expected", "phrases"),
    [
        (
            "What color is the small rubber cube?",
            "what A X ?",
            [("X", "small rubber cube")],
        ),
        (
            "How big is the thing that is in front of the big sphere?",
            "how big X R X ?",
            [("X", "thing"), ("R", "front"), ("X", "big sphere")],
        ),
        (
            "Are there any balls that are the same size as the cube?",
            "there any X S as X ?",
            [("X", "balls"), ("S", "same size"), ("X", "cube")],
        ),
        (
            "Do the ball and the cube have the same size?",
            "X and X same A ?",
            [("X", "ball"), ("X", "cube")],
        ),
        (
            "There is a cube to the left of the ball; what is its color?",
            "there X R X ; what its A ?",
            [("X", "cube"), ("R", "left"), ("X", "ball")],
        ),
    ],
)
def test_wordings(text, expected, phrases):
    assert read(text) == (expected, phrases)


def test_what_stands_before_a_semicolon():
    assert wording(asked("What color is the small cube?")).turn is None
    assert wording(asked("There is a cube; what color is it?")).turn == 1


def test_one_thing_has_one_program():
    found = programs("X", None, describe=True, most_steps=T)
    assert found == ((Step("_Find", 0), Step("_DescribeOne", OTHERS)),)


def runs(program, describe):
    """Whether the stack can run it, and what is left at its end is what an answer needs."""
    takes = {"_Find": 0, "_Transform": 1, "_Filter": 1, "_And": 2, "_Or": 2}
    depth, last = 0, program[-1]
    for step in program[:-1] if describe else program:
        if depth < takes[step.module]:
            return False
        depth += 1 - takes[step.module]
    return depth == ({"_DescribeOne": 1, "_DescribeTwo": 2}[last.module] if describe else 1)


@pytest.mark.parametrize("kinds", ["XX", "XXX", "XRX", "XSX", "XRXRX", "XRXX", "XRXSXRX"])
@pytest.mark.parametrize("describe", [True, False])
def test_programs_run_and_read_each_phrase_once(kinds, describe):
    found = programs(kinds, None, describe=describe, most_steps=T)
    assert found
    assert len(set(found)) == len(found)
    assert [len(program) for program in found] == sorted(len(program) for program in found)
    for program in found:
        assert runs(program, describe)
        heard = sorted(step.phrase for step in program if step.phrase != OTHERS)
        for place, kind in enumerate(kinds):
            assert heard.count(place) == 1 or (kind == "S" and place not in heard)


def test_experts_programs_are_among_them():
    """Of a chain, of both relations at once, of either, of a comparison."""
    for kinds, layout in {
        "XRXRX": "_Find _Transform _Filter _Transform _Filter _DescribeOne",
        "XRXRXX": "_Find _Transform _Filter _Transform _Filter _Find _DescribeTwo",
        "XXX": "_Find _Find _Or _Filter _DescribeOne",
    }.items():
        found = programs(kinds, None, describe=True, most_steps=T)
        assert tuple(layout.split()) in {modules(program) for program in found}
    both = "_Find _Transform _Find _Transform _And _Filter _DescribeOne"
    found = programs("XRXRX", None, describe=True, most_steps=T)
    assert tuple(both.split()) in {modules(program) for program in found}


def test_what_comes_after_a_semicolon_may_be_said_first():
    chain = (Step("_Find", 0), Step("_Transform", 2), Step("_Filter", 1))
    assert chain in programs("XXR", 1, describe=False, most_steps=T)
    assert programs("XXR", None, describe=False, most_steps=T) != programs(
        "XXR", 1, describe=False, most_steps=T
    )


def test_no_program_is_too_long():
    assert max(map(len, programs("XRXRX", None, describe=True, most_steps=6))) == 6


SAID = {
    "What color is the cube?": "_Find _DescribeOne",
    "How many balls are either cubes or red things?": "_Find _Find _Or _Filter _DescribeOne",
    "Do the cube and the ball have the same size?": "_Find _Find _DescribeTwo",
    "What color is the cube left of the ball?": "_Find _Transform _Filter _DescribeOne",
}


@dataclass
class World:
    """Answers as a network might: well under the right layout once its modules have learnt."""

    seed: int = 0

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        self.skill = dict.fromkeys(MODULE_INDEX, 0)

    def loss(self, text, program, learns):
        layout = modules(program)
        if " ".join(layout) != SAID[text]:
            return self.rng.gauss(2.5, 0.3)
        loss = 0.1 if all(self.skill[m] > 300 or m in _FREE for m in layout) else 1.3
        if learns:
            for module in layout:
                self.skill[module] += 1
        return self.rng.gauss(loss, 0.05)


_FREE = ("_And", "_Or", "_Filter")


def searched(steps, search=None, world=None, start=0):
    search, world = search or LayoutSearch(most_steps=T, begin=1400), world or World()
    texts = list(SAID) * 3
    batch = [asked(text) for text in texts]
    for step in range(start, steps):
        answers = [(step + place // 4) % 4 for place in range(len(batch))]
        for tried, chosen in zip(
            (False, True), search.choose(batch, step, task="vqa"), strict=True
        ):
            losses = [
                0.0 if program is None else world.loss(text, program, not tried)
                for text, program in zip(texts, chosen, strict=True)
            ]
            search.record(batch, chosen, losses, answers, task="vqa", tried=tried)
    return search


def test_each_wording_finds_what_answers_it():
    found = searched(6000).settled()
    assert {" ".join(modules(program)) for program in found.values()} == set(SAID.values())
    assert len(found) == len(SAID)


def test_a_lucky_program_gives_way_to_a_better_one():
    """Of noisy losses, .9 and .6 nats on average where answering blindly loses 1.4."""
    search, rng = LayoutSearch(most_steps=T, begin=1400), random.Random(0)
    text, simple = "How many balls are either cubes or red things?", "What color is the cube?"
    for step in range(1400, 4000):
        batch = [asked(simple), asked(text), asked(text)]
        answers = [step % 4] * 3
        for tried, chosen in zip(
            (False, True), search.choose(batch, step, task="vqa"), strict=True
        ):
            losses = []
            for program in chosen:
                layout = program and " ".join(modules(program))
                mean = {SAID[text]: 0.6, SAID[simple]: 0.0}.get(layout, 0.9)
                losses.append(max(0.0, rng.gauss(mean, 0.4)))
            search.record(batch, chosen, losses, answers, task="vqa", tried=tried)
    found = [modules(program) for program in search.settled().values()]
    assert tuple(SAID[text].split()) in found


def test_what_is_new_is_unlikely_but_not_more_so_the_more_was_seen():
    chain, both = (
        next(
            p for p in programs("XRXRX", None, describe=True, most_steps=T) if modules(p) == layout
        )
        for layout in (
            tuple("_Find _Transform _Filter _Transform _Filter _DescribeOne".split()),
            tuple("_Find _Transform _Find _Transform _And _Filter _DescribeOne".split()),
        )
    )
    unlikely = []
    for count in (100, 100_000):
        familiarity = Familiarity()
        assert familiarity(chain) < 0
        familiarity.learn([(chain, count)])
        assert familiarity(both) < familiarity(chain)
        unlikely.append(familiarity(both))
        again = Familiarity()
        again.load(familiarity.state())
        assert again(both) == familiarity(both)
    assert unlikely[0] == pytest.approx(unlikely[1])


def test_nothing_that_has_alternatives_is_learnt_before_it_is_tried():
    search = searched(1000)
    learning, trying = search.choose([asked(text) for text in SAID], 1000, task="vqa")
    assert [program is not None for program in learning] == [True, False, False, False]
    assert not any(trying)


@pytest.mark.parametrize("teacher", ["vqa", "loc"])
def test_of_expressions_only_those_without_sides_teach_and_only_where_there_are_no_questions(
    teacher,
):
    """Which Transform learns from, and what is found for all in the end.

    Cubes and balls together are where cubes of the balls' size are, so either is half good.
    """
    texts = ["The cube", "The cube left of the ball", "The cube that is the same size as the ball"]
    simple = (Step("_Find", 0),)
    right = (Step("_Find", 2), Step("_Transform", 1), Step("_Filter", 0))
    search, world = LayoutSearch(most_steps=T, begin=100, teacher=teacher), World()
    asked_for = [texts[0], *texts[1:] * 3]
    batch = [asked(text) for text in asked_for]
    taught = set()

    def loss(program):
        if program is None:
            return 0.0
        # Transform does what it is asked for, or nothing yet.
        if program == simple or (program == right and world.skill["_Transform"] > 300):
            return 0.1
        return world.rng.gauss(1.2 if program[-1].module == "_Or" else 3.0, 0.1)

    for step in range(4000):
        if teacher == "vqa":
            searched(step + 1, search=search, world=world, start=step)
        for tried, chosen in zip(
            (False, True), search.choose(batch, step, task="loc"), strict=True
        ):
            if not tried and world.skill["_Transform"] <= 300:
                for text, program in zip(asked_for, chosen, strict=True):
                    if program and "_Transform" in modules(program):
                        taught.add(text)
                world.skill["_Transform"] += right in chosen
            answers = [(step + place) % 20 for place in range(len(batch))]
            losses = [loss(program) for program in chosen]
            search.record(batch, chosen, losses, answers, task="loc", tried=tried)
    assert taught == ({texts[2]} if teacher == "loc" else set())
    found = [program for key, program in search.settled().items() if "loc" in key]
    assert found == [simple, right, right]


def test_of_expressions_with_one_layout_the_most_familiar_is_taken():
    """One that starts in the middle answers better by luck, and one of another layout does not."""
    found = programs("XRXRX", None, describe=False, most_steps=T)
    chain, lucky = (
        tuple(
            Step(
                "_Find" if place == order[0] else "_Filter" if place % 2 == 0 else "_Transform",
                place,
            )
            for place in order
        )
        for order in ((4, 3, 2, 1, 0), (2, 3, 4, 1, 0))
    )
    assert {chain, lucky} <= set(found) and modules(chain) == modules(lucky)
    lessons, familiarity = Lessons(), Familiarity()
    lessons.learnt = set(LEARNING)
    familiarity.learn([((Step("_Find", 2), Step("_Transform", 1), Step("_Filter", 0)), 1000)])
    losses = {chain: 1.2, lucky: 0.05}
    for patient, taken in ((True, chain), (False, lucky)):
        trials = Trials(lessons, familiarity, patient=patient)
        trials.open = 5
        entry = Entry(found, answers=Counter({answer: 10 for answer in range(20)}))
        for place, program in enumerate(found):
            entry.trial[place] = Score()
            for _ in range(8):
                entry.trial[place].add(losses.get(program, 2.5))
        trials.judge(entry)
        assert entry.program == taken


@pytest.mark.parametrize("at", [1500, 2100])
def test_goes_on_from_its_state(at):
    whole = searched(2600)
    world = World()
    first = searched(at, world=world)
    second = LayoutSearch(most_steps=T, begin=1400)
    second.load(first.state())
    searched(2600, search=second, world=world, start=at)
    assert second.state() == whole.state()


def test_refuses_a_state_that_is_none():
    with pytest.raises(ValueError, match="no state"):
        LayoutSearch(most_steps=T, begin=1400).load(None)


def batch_of(*texts, S=20):
    rows = [asked(text) for text in texts]
    question = torch.zeros(len(rows), S, dtype=torch.long)
    for row, words in zip(question, rows, strict=True):
        row[: len(words)] = torch.tensor(words)
    N = len(rows)
    index = torch.zeros(N, dtype=torch.long)
    return Batch(
        question=question,
        length=torch.tensor([len(words) for words in rows]),
        image_features=torch.randn(N, 2, 3, 4),
        answer=torch.tensor([3, 5][:N]),
        layout=torch.ones(N, T, dtype=torch.long),
        question_index=index,
        image=index,
        question_type=index,
        hops=index,
        next_read=torch.zeros(N, T, dtype=torch.long),
    )


def test_decisions_are_the_program():
    batch = batch_of("What color is the small cube?", "Is there a ball?")
    program = (Step("_Find", 0), Step("_DescribeOne", OTHERS))
    decided = decisions(batch, [program, None], T)
    assert decided.steps == 2
    assert decided.layout[0].tolist() == [1, 7] + [0] * 7
    assert decided.layout[1].tolist() == [0] * 9
    assert decided.words[0, 0].nonzero().flatten().tolist() == [4, 5]
    assert decided.words[0, :2].sum(dim=1).tolist() == pytest.approx([1, 1])
    assert decided.words[0, 1].nonzero().flatten().tolist() == [0, 1, 2, 3, 6]
    assert not decided.words[1].any()
    assert questions(batch)[1] == list(asked("Is there a ball?"))


def test_what_is_asked_hears_a_shared_attribute_that_no_relation_reads():
    batch = batch_of("Is the cube the same size as the ball?")
    program = (Step("_Find", 0), Step("_Find", 2), Step("_DescribeTwo", OTHERS))
    heard = decisions(batch, [program], T).words[0, 2]
    assert heard[4] == heard[5] == heard[0] > 0
    assert heard[2] == heard[8] == 0


def test_aims_leave_out_what_has_no_program():
    batch = batch_of("What color is the small cube?", "Is there a ball?")
    program = (Step("_Find", 0), Step("_DescribeOne", OTHERS))
    aim = aims(batch, [program, None], decisions(batch, [program, None], T))
    assert aim.answer.tolist() == [3, -1]
    assert aim.layout[1].tolist() == [-1] * T
    assert aim.next_read is None
    assert batch.answer.tolist() == [3, 5]


def test_words_loss_is_least_where_attention_is_the_aim():
    aim = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.0] * 4]])
    good = torch.tensor([[[9.0, 9.0, 0.0, -torch.inf], [1.0, 2.0, 3.0, -torch.inf]]])
    even = torch.tensor([[[0.0, 0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0, -torch.inf]]])
    assert words_loss(good, aim) == pytest.approx(0.6932, abs=1e-3)
    assert words_loss(even, aim) == pytest.approx(1.0986, abs=1e-3)


def test_a_step_under_decisions_teaches_layout_and_words():
    torch.manual_seed(0)
    sizes = dict.fromkeys(("embed_dim", "lstm_dim", "kb_dim", "memory_dim"), 8)
    model = build_model(feature_dim=4, height=2, width=3, pe_dim=4, **sizes)
    batch = batch_of("What color is the small cube?", "Is there a ball?")
    program = (Step("_Find", 0), Step("_DescribeOne", OTHERS))
    decided = decisions(batch, [program, program], T)
    loss = SNMNLoss(layout_weight=1.0, words_weight=1.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(60):
        output = model(batch.question, batch.length, batch.image_features, decided)
        losses = loss(output, aims(batch, [program, program], decided), model, step)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
    own = model(batch.question, batch.length, batch.image_features)
    assert torch.equal(own.module_logits.argmax(dim=2), decided.layout)
    assert (own.question_attention[0, 0, 4:6] > 0.3).all()
    values, truth = answer_losses(batch, own)
    assert truth == [3, 5]
    assert max(values) < 0.5


CONFIG = str(ROOT / "configs/vqa_scratch.yaml")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    more = ["TRAIN.LAYOUT_SEARCH", "[2, 4]", "TRAIN.DROPOUT_KEEP_PROB", "0.7"]
    return root, [*write_experiment(root), *more, "TRAIN.MAX_ITER", "6"]


def run_training(tiny, name, *more):
    train.main([CONFIG, *tiny[1], "EXP_NAME", name, "--logger", "none", *map(str, more)])
    return tiny[0] / "runs" / name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_training_goes_on_bit_for_bit(tiny):
    whole = run_training(tiny, "whole")
    again = run_training(tiny, "again", "--resume", whole / "step=00000004.ckpt")
    same_weights(again / "last.ckpt", whole / "last.ckpt")
    states = [read_checkpoint(run / "last.ckpt")["layout_search"] for run in (again, whole)]
    assert states[0] == states[1]
    assert states[0]["entries"]
    # A run without a search cannot go on as one with it.
    plain = ["TRAIN.LAYOUT_SEARCH", "[]", "TRAIN.MAX_ITER", "2"]
    other = run_training(tiny, "plain", *plain)
    with pytest.raises(CheckpointError, match="no state of a search for layouts"):
        run_training(tiny, "mixed", "--resume", other / "last.ckpt")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["TRAIN.LAYOUT_SEARCH", "[5]"], "two training steps"),
        (["TRAIN.LAYOUT_SEARCH", "[5, 3]"], "two training steps"),
        (["TRAIN.LAYOUT_SEARCH", "[1, two]"], "two training steps"),
        (["TRAIN.LAYOUT_SEARCH", "[1, 2]", "TRAIN.USE_GT_LAYOUT", "True"], "by itself"),
        (
            ["TRAIN.LAYOUT_SEARCH", "[1, 2]", "TRAIN.LAYOUT_PRIOR", f"[[0, {'_Find ' * 9}]]"],
            "by itself",
        ),
    ],
)
def test_settings_that_are_none(tiny, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_training(tiny, "refused", *overrides)


def test_several_processes_are_refused():
    sizes = dict.fromkeys(("embed_dim", "lstm_dim", "kb_dim", "memory_dim", "pe_dim"), 8)
    training = SNMNTraining(model=sizes, loss={}, layout_search=(2, 4))
    training._trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ConfigError, match="train on one device"):
        training.on_fit_start()


def test_answers_that_nobody_knows_tell_nothing():
    search = LayoutSearch(most_steps=T, begin=1)
    question = asked("How many cubes are there?")
    (program,), _ = search.choose([question], 0, task="vqa")
    before = search.state()
    search.record([question], [program], [0.0], [-1], task="vqa", tried=False)
    assert search.state() == before
