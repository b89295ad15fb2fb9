"""Questions about a scene that are composed at random, to train on: any set within any set."""

import random

import numpy as np

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.clevr.scene_masks import SceneMasks
from clevr_prep.synthetic.language.families import hops_of
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.sampling.balance import AnswerBalance, collect
from clevr_prep.synthetic.sampling.composition_sampling import CompositionSampler, say_clearly
from clevr_prep.synthetic.sampling.random_shapes import draw_shape

_DRAWS = 8  # attempts at a question of one shape
# How often a number of things is kept: a set of four or more is rare, and hard to count.
_KEPT_COUNTS = {"0": 0.3, "1": 0.3, "2": 0.4, "3": 0.6}
_SHAPES = 40  # shapes tried in vain before balance and variety are given up for once


def generate_compositions(
    scene: dict,
    count: int,
    rng: np.random.Generator,
    *,
    steps: int = 9,
    max_hops: int | None = None,
    held_out: bool = False,
) -> list[dict]:
    """Make questions of random shapes about a CLEVR scene, with answers and programs.

    No part of a question is needless, none can be understood otherwise, and none is longer than
    CLEVR's longest. ``steps`` bounds the layouts and ``max_hops`` the relations; with ``held_out``
    no question contains any of the seven kinds of `composition_kinds`. Answers are balanced among
    questions that ask for the same. The same arguments and state of ``rng`` give the same ones.

    Returns dictionaries with ``question``, ``answer`` and ``program``. Raises ``SceneError`` for a
    scene without attributes or relationships.
    """
    choose = random.Random(int(rng.integers(2**63)))
    sampler, balance = CompositionSampler(SceneMasks(scene), choose), AnswerBalance()
    asked: set[tuple] = set()

    def ask(picky: bool) -> dict | None:
        while True:
            # The last step describes.
            shape = draw_shape(choose, steps=steps - 1, held_out=held_out)
            if max_hops is None or hops_of(shape) <= max_hops:
                return _ask(sampler, shape, choose, balance, asked, steps, picky=picky)

    return collect(count, _SHAPES, ask)


def _ask(
    sampler: CompositionSampler,
    shape: tuple,
    choose: random.Random,
    balance: AnswerBalance,
    asked: set[tuple],
    steps: int,
    *,
    picky: bool,
) -> dict | None:
    """A question of one shape, or None after enough attempts.

    Only if ``picky``, its answer must be in balance and it must not have been asked before.
    """
    wanted = tuple(part for part in shape[:-1] if isinstance(part, str))
    for _ in range(_DRAWS):
        drawn = sampler.draw_shape(shape)
        if drawn is None:
            continue
        meaning, answer = drawn
        if picky and (meaning in asked or not balance.accepts(wanted, answer, choose)):
            continue
        if picky and shape[0] == "count" and choose.random() > _KEPT_COUNTS.get(answer, 1.0):
            continue
        program = to_program(meaning)
        if len(expert_layout(program)) > steps:
            continue
        text = say_clearly(meaning, choose)
        if text is None:
            return None
        asked.add(meaning)
        balance.add(wanted, answer)
        return {"question": text, "answer": answer, "program": program}
    return None
