"""What is asked in each split of `clevr_prep.synthetic.compositions`.

Beside the seven kinds and their baselines there are splits of CLEVR's own families: those with an
object that is not there, those that are larger or deeper than a model was trained on, and those
that single out an object of a colour and shape that it never saw together. Splits of referring
expressions begin with "loc_".
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from clevr_prep.clevr.scene_masks import SceneMasks
from clevr_prep.synthetic.language.balance import AnswerBalance
from clevr_prep.synthetic.language.composition_kinds import EXPRESSION_KINDS, KINDS
from clevr_prep.synthetic.language.composition_sampling import CompositionSampler, say_clearly
from clevr_prep.synthetic.language.false_premises import falsified, things_of
from clevr_prep.synthetic.language.families import EXPRESSION_FAMILIES, FAMILIES, Family
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.language.needed_clauses import thing_of
from clevr_prep.synthetic.scenes.object_boxes import visible_targets

BASELINE = "_baseline"
LOC = "loc_"
FALSE = "false_premise"
PAIR = "pair"
# Draws for one question, and those among them of which the one with the rarest answer is taken.
_DRAWS, _CHOICE = 60, 8
# Objects and relations up to which a scene or question is none of the larger or deeper ones.
FEW_OBJECTS, FEW_HOPS = 5, 1


@dataclass(frozen=True)
class Plan:
    """One split: shapes of questions in groups, each with its weight, and the scenes' objects.

    Answers are balanced within a group. ``premises`` tells a split of sound and false premises:
    "sound" and "false" are the same questions but for one word. ``pair`` is whether an object of
    the pair in question must be singled out, False if none may be, None if it does not matter.
    """

    groups: tuple[tuple[float, tuple[tuple, ...]], ...]
    objects: range = range(11)
    premises: str | None = None
    pair: bool | None = None


def _of_families(
    families: tuple[Family, ...] = FAMILIES, hops: range = range(99)
) -> tuple[tuple[float, tuple[tuple, ...]], ...]:
    return tuple((family.weight, (family.shape,)) for family in families if family.hops in hops)


def _plans() -> dict[str, Plan]:
    plans = {}
    for prefix, kinds in (("", KINDS), (LOC, EXPRESSION_KINDS)):
        for name, kind in kinds.items():
            plans[prefix + name] = Plan(((1.0, kind.shapes),))
            plans[prefix + name + BASELINE] = Plan(((1.0, kind.baseline),))
    for size, objects in (
        ("few", range(FEW_OBJECTS + 1)),
        ("many", range(FEW_OBJECTS + 1, 11)),
    ):
        for depth, hops in (
            ("shallow", range(FEW_HOPS + 1)),
            ("deep", range(FEW_HOPS + 1, 99)),
        ):
            plans[f"{size}_{depth}"] = Plan(_of_families(hops=hops), objects)
    for prefix, families in (("", FAMILIES), (LOC, EXPRESSION_FAMILIES)):
        everything = _of_families(families)
        plans[prefix + FALSE] = Plan(everything, premises="false")
        plans[prefix + FALSE + BASELINE] = Plan(everything, premises="sound")
    plans[PAIR] = Plan(_of_families(), pair=True)
    plans[PAIR + BASELINE] = Plan(_of_families(), pair=False)
    return plans


PLANS = _plans()


class SplitWriter:
    """Makes the questions of one split, scene after scene, with answers balanced over all of them.

    Args:
        name: of the split, one of ``PLANS``.
        per_image: most questions about an image.
        seed: another seed, other questions.
        pair: colour and shape that the splits "pair" and "pair_baseline" are about; questions of
            these single out an object that has both, those of its baseline none.
    """

    def __init__(
        self, name: str, per_image: int, seed: int, *, pair: tuple[str, str] | None = None
    ):
        self._name, self._plan, self._per_image, self._seed = name, PLANS[name], per_image, seed
        self._index = list(PLANS).index(name)
        self._weights = [weight for weight, _ in self._plan.groups]
        self._balance, self._pair = AnswerBalance(), pair

    def __call__(self, scene: dict) -> Iterator[dict]:
        """The questions about a scene: text, program, family index and, where there is one, answer.

        Expressions have their object and its box for an answer. Raises SceneError for a scene
        without attributes or relationships, KeyError for one without boxes for expressions.
        """
        masks = SceneMasks(scene)
        if len(scene["objects"]) not in self._plan.objects:
            return
        # Of pairs of sound and false questions both must be the same draws.
        stream = self._name.removesuffix(BASELINE) if self._plan.premises else self._name
        rng = random.Random(f"{self._seed} {stream} {scene['image_filename']}")
        sampler, asked = CompositionSampler(masks, rng), set()
        loc = self._name.startswith(LOC)
        targets = sum(1 << thing for thing in visible_targets(scene)) if loc else 0
        for _ in range(self._per_image):
            question = self._question(sampler, masks, targets, rng, asked)
            if question is None:
                continue
            if loc and "answer" in question:
                target = int(question.pop("answer"))
                box = scene["objects"][target]["bbox"]
                question |= {"target_object": target, "bbox": box}
            yield question

    def _question(
        self,
        sampler: CompositionSampler,
        masks: SceneMasks,
        targets: int,
        rng: random.Random,
        asked: set,
    ) -> dict | None:
        group = rng.choices(range(len(self._weights)), self._weights)[0]
        found = self._draws(sampler, group, masks, targets, rng, asked)
        if not found:
            return None
        meaning, answer = self._rarest(found, group, rng)
        wording, said, known = rng.random(), meaning, {"answer": answer}
        if self._plan.premises:
            false = falsified(meaning, masks, rng)
            if false is None:
                return None
            if self._plan.premises == "false":
                said, known = false, {}
        text = say_clearly(said, random.Random(wording))
        if text is None:
            return None
        asked.add(meaning)
        self._balance.add(group, answer)
        return {
            "question": text,
            **known,
            "program": to_program(said),
            "question_family_index": self._index,
        }

    def _draws(
        self,
        sampler: CompositionSampler,
        group: int,
        masks: SceneMasks,
        targets: int,
        rng: random.Random,
        asked: set,
    ) -> list[tuple[tuple, str]]:
        """New questions of a group with their answers: of counts one that keeps the balance."""
        shapes = self._plan.groups[group][1]
        found: list[tuple[tuple, str]] = []
        for _ in range(_DRAWS):
            shape = rng.choice(shapes)
            if shape[0] == "refer":
                drawn = sampler.draw_thing(shape[1], targets)
                drawn = drawn and (drawn[0], str(drawn[1]))
            else:
                drawn = sampler.draw_shape(shape)
            if drawn is None or drawn[0] in asked:
                continue
            if self._plan.pair not in (None, self._singles_out_pair(drawn[0], masks)):
                continue
            # Large numbers are as rare as in CLEVR.
            if drawn[0][0] == "count" and self._balance.accepts(group, drawn[1], rng):
                return [drawn]
            found.append(drawn)
            if drawn[0][0] != "count" and len(found) == _CHOICE:
                break
        return found

    def _singles_out_pair(self, question: tuple, masks: SceneMasks) -> bool:
        colour, shape = self._pair
        having = masks.having["color"][colour] & masks.having["shape"][shape]
        return any(having >> thing_of(thing, masks) & 1 for thing, _ in things_of(question))

    def _rarest(self, found: list, group: int, rng: random.Random) -> tuple[tuple, str]:
        """One of the questions whose answer is the least frequent of their group so far."""
        counts = self._balance.counts[group]
        fewest = min(counts[answer] for _, answer in found)
        rarest = sorted({answer for _, answer in found if counts[answer] == fewest})
        answer = rng.choice(rarest)
        return rng.choice([drawn for drawn in found if drawn[1] == answer])
