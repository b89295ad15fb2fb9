"""Questions about a scene: drawn, answered, balanced and put into words."""

import random
from functools import cache

import numpy as np

from clevr_prep.clevr.scene_masks import SceneMasks
from clevr_prep.synthetic.language.families import FAMILIES
from clevr_prep.synthetic.language.grammar import say
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.sampling.balance import AnswerBalance, collect
from clevr_prep.synthetic.sampling.question_sampling import MeaningSampler
from snmn.common.vocabulary import tokenise

MAX_WORDS = 45  # longest question in words, punctuation included: CLEVR's longest
_DRAWS = 20  # attempts at a question of one family
_FAMILIES = 40  # families tried in vain before balance and variety are given up for once


# Kinds of families.
_COUNTING = ("count", "number")  # how many there are, and comparisons of two numbers
_COMPARING = ("number", "equal")  # comparisons of two numbers, and of an attribute of two objects


@cache
def _choices(
    max_hops: int | None, queries: bool, counting: float, comparing: float, per_hop: float
) -> tuple[list[int], list[float]]:
    kept = [i for i, f in enumerate(FAMILIES) if max_hops is None or f.hops <= max_hops]
    if not kept:
        raise ValueError(f"max_hops must be at least 0, got {max_hops}")
    if queries:
        kept = [i for i in kept if FAMILIES[i].shape[0] == "query"]
    weights = [FAMILIES[i].weight * per_hop ** FAMILIES[i].hops for i in kept]
    for place, i in enumerate(kept):
        if FAMILIES[i].shape[0] in _COUNTING:
            weights[place] *= counting
        if FAMILIES[i].shape[0] in _COMPARING:
            weights[place] *= comparing
    return kept, weights


def generate_questions(
    scene: dict,
    count: int,
    rng: np.random.Generator,
    *,
    balance: AnswerBalance | None = None,
    max_hops: int | None = None,
    queries: bool = False,
    counting: float = 1.0,
    comparing: float = 1.0,
    per_hop: float = 1.0,
) -> list[dict]:
    """Make questions about a CLEVR scene, with answers and programs.

    ``balance`` carries the answer counts over a stream of scenes; without one, this call is
    balanced by itself. ``max_hops`` leaves out families with more hops (0: no relations at all),
    ``queries`` all but those that ask for an attribute of an object; ``counting`` multiplies how
    often it is asked how many there are and which are more, ``comparing`` how often which are more
    and whether two objects share an attribute, ``per_hop`` how often anything, for each relation
    that a question goes through.
    The same scene, arguments and state of ``rng`` give the same questions.

    Returns dictionaries with ``question``, ``answer``, ``program`` and
    ``question_family_index``. Questions differ from each other as long as the scene has enough
    to ask about. Raises ``SceneError`` for a scene without attributes or relationships.
    """
    choose = random.Random(int(rng.integers(2**63)))
    sampler = MeaningSampler(SceneMasks(scene), choose)
    balance = AnswerBalance() if balance is None else balance
    indices, weights = _choices(max_hops, queries, counting, comparing, per_hop)
    asked: set[tuple] = set()

    def ask(picky: bool) -> dict | None:
        family = choose.choices(indices, weights)[0]
        return _ask(sampler, family, choose, balance, asked, picky)

    return collect(count, _FAMILIES, ask)


def _ask(
    sampler: MeaningSampler,
    family: int,
    choose: random.Random,
    balance: AnswerBalance,
    asked: set[tuple],
    picky: bool,
) -> dict | None:
    """A question of one family, or None after enough attempts.

    Only if ``picky``, its answer must be in balance and it must not have been asked before.
    """
    for _ in range(_DRAWS):
        drawn = sampler.draw(FAMILIES[family])
        if drawn is None:
            continue
        meaning, answer = drawn
        if picky and (meaning in asked or not balance.accepts(family, answer, choose)):
            continue
        text = say(meaning, choose)
        if len(tokenise(text)) > MAX_WORDS:
            continue
        asked.add(meaning)
        balance.add(family, answer)
        return {
            "question": text,
            "answer": answer,
            "program": to_program(meaning),
            "question_family_index": family,
        }
    return None
