"""Makes the questions of one split, scene after scene, with answers balanced over all of them."""

import random
from collections.abc import Iterator

from clevr_prep.clevr.scene_masks import SceneMasks
from clevr_prep.synthetic.compositions.false_premises import falsified, things_of
from clevr_prep.synthetic.compositions.split_plans import BASELINE, LOC, PLANS
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.synthetic.language.needed_clauses import thing_of
from clevr_prep.synthetic.sampling.balance import AnswerBalance
from clevr_prep.synthetic.sampling.composition_sampling import CompositionSampler, say_clearly
from clevr_prep.synthetic.scenes.object_boxes import visible_targets

# Draws for one question, and those among them of which the one with the rarest answer is taken.
_DRAWS, _CHOICE = 60, 8
_FAMILIES = 6  # tried for one question about a pair


class _Scene:
    """What is drawn about one scene: its sampler, and what was asked before."""

    def __init__(self, scene: dict, rng: random.Random, *, loc: bool):
        self.masks, self.rng = SceneMasks(scene), rng
        self.targets = sum(1 << thing for thing in visible_targets(scene)) if loc else 0
        self.asked: set[tuple] = set()
        self._sampler = CompositionSampler(self.masks, rng)

    def draw(self, shape: tuple) -> tuple[tuple, str] | None:
        """A question of a shape with its answer, or an expression with its object; maybe none."""
        if shape[0] != "refer":
            drawn = self._sampler.draw_shape(shape)
        else:
            drawn = self._sampler.draw_thing(shape[1], self.targets)
            drawn = drawn and (drawn[0], str(drawn[1]))
        return None if drawn is None or drawn[0] in self.asked else drawn


class SplitWriter:
    """Makes the questions of one split.

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
        if len(scene["objects"]) not in self._plan.objects:
            return
        # Of pairs of sound and false questions both must be the same draws.
        stream = self._name.removesuffix(BASELINE) if self._plan.premises else self._name
        rng = random.Random(f"{self._seed} {stream} {scene['image_filename']}")
        loc = self._name.startswith(LOC)
        about = _Scene(scene, rng, loc=loc)
        for _ in range(self._per_image):
            question = self._question(about)
            if question is None:
                continue
            if loc and "answer" in question:
                target = int(question.pop("answer"))
                box = scene["objects"][target]["bbox"]
                question |= {"target_object": target, "bbox": box}
            yield question

    def _question(self, about: _Scene) -> dict | None:
        rng = about.rng
        # Many families have nothing to ask about a pair of attributes.
        for _ in range(1 if self._plan.pair is None else _FAMILIES):
            group = rng.choices(range(len(self._weights)), self._weights)[0]
            found = self._draws(about, group)
            if found:
                break
        else:
            return None
        meaning, answer = self._rarest(found, group, rng)
        wording, said, known = rng.random(), meaning, {"answer": answer}
        if self._plan.premises:
            false = falsified(meaning, about.masks, rng)
            if false is None:
                return None
            if self._plan.premises == "false":
                said, known = false, {}
        text = say_clearly(said, random.Random(wording))
        if text is None:
            return None
        about.asked.add(meaning)
        self._balance.add(group, answer)
        return {
            "question": text,
            **known,
            "program": to_program(said),
            "question_family_index": self._index,
        }

    def _draws(self, about: _Scene, group: int) -> list[tuple[tuple, str]]:
        """New questions of a group with their answers: of counts one that keeps the balance."""
        shapes, wanted = self._plan.groups[group][1], self._plan.pair
        found: list[tuple[tuple, str]] = []
        for _ in range(_DRAWS):
            drawn = about.draw(about.rng.choice(shapes))
            if drawn is None:
                continue
            if wanted is not None and self._singles_out_pair(drawn[0], about.masks) != wanted:
                continue
            # Large numbers are as rare as in CLEVR.
            if drawn[0][0] == "count" and self._balance.accepts(group, drawn[1], about.rng):
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
