"""Referring expressions about a scene: each denotes one object, whose box is what to find."""

import random
from collections.abc import Sequence
from functools import cache

import numpy as np

from clevr_prep.clevr.scene_masks import SceneError, SceneMasks
from clevr_prep.synthetic.language.families import EXPRESSION_FAMILIES
from clevr_prep.synthetic.language.grammar import say
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.sampling.expression_sampling import ExpressionSampler
from clevr_prep.synthetic.sampling.questions import MAX_WORDS
from clevr_prep.synthetic.scenes.object_boxes import can_be_referred_to
from snmn.common.vocabulary import tokenise

_DRAWS = 6  # attempts at an expression of one family for one object
_PATIENCE = 6  # families tried in vain before the targets that had their turn get another
_FAMILIES = 30  # families tried in vain before variety is given up for once


@cache
def _choices(max_hops: int | None) -> tuple[list[int], list[float]]:
    families = EXPRESSION_FAMILIES
    kept = [i for i, f in enumerate(families) if max_hops is None or f.hops <= max_hops]
    if not kept:
        raise ValueError(f"max_hops must be at least 0, got {max_hops}")
    return kept, [families[i].weight for i in kept]


def generate_expressions(
    scene: dict,
    targets: Sequence[int],
    count: int,
    rng: np.random.Generator,
    *,
    max_hops: int | None = None,
) -> list[dict]:
    """Make referring expressions about a CLEVR scene, with programs.

    ``targets`` are the objects that may be meant; all are meant about equally often, as far as
    there is something to say about them. ``max_hops`` leaves out families with more hops.
    The same scene, arguments and state of ``rng`` give the same expressions.

    Returns dictionaries with ``question`` (the text), ``program``, ``question_family_index`` and
    ``target_object``, an index into the scene's objects. Expressions differ from each other as
    long as the scene has enough of them. Raises ``SceneError`` where nothing can be referred to,
    and for a scene without attributes or relationships.
    """
    choose = random.Random(int(rng.integers(2**63)))
    sampler = ExpressionSampler(SceneMasks(scene), choose)
    if not can_be_referred_to(scene, targets):
        raise SceneError("none of its visible objects looks unlike all others")
    indices, weights = _choices(max_hops)
    said: set[tuple] = set()
    expressions: list[dict] = []
    waiting: list[int] = []  # targets that have not had their turn, in a random order
    tries = 0
    while len(expressions) < count:
        if not waiting or tries == _PATIENCE:
            again = [target for target in targets if target not in waiting]
            waiting += choose.sample(again, len(again))
        family = choose.choices(indices, weights)[0]
        known = said if tries < _FAMILIES else set()
        found = _express(sampler, family, waiting, choose, known)
        tries = tries + 1 if found is None else 0
        if found is not None:
            meaning, target, text = found
            waiting.remove(target)
            said.add(meaning)
            expressions.append(
                {
                    "question": text,
                    "program": to_program(meaning),
                    "question_family_index": family,
                    "target_object": target,
                }
            )
    return expressions


def _express(
    sampler: ExpressionSampler,
    family: int,
    waiting: Sequence[int],
    choose: random.Random,
    known: set[tuple],
) -> tuple[tuple, int, str] | None:
    """A new expression of one family: meaning, target and text.

    It means the first target that the family has something to say about; None for none.
    """
    for target in waiting:
        for _ in range(_DRAWS):
            meaning = sampler.refer(EXPRESSION_FAMILIES[family], target)
            if meaning is None or meaning in known:
                continue
            text = say(meaning, choose)
            if len(tokenise(text)) <= MAX_WORDS:
                return meaning, target, text
    return None
