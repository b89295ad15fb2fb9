"""Questions and referring expressions made up while training: sources for rendered scenes.

A model that sees each question once cannot learn questions by heart, and making one costs far
less than training on it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clevr_prep.clevr.expert_layouts import expert_layout, pad_layout
from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.clevr.question_encoding import ProgramFacts, QuestionEncoder
from clevr_prep.clevr.scene_masks import SceneError
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from clevr_prep.synthetic.sampling.questions import MAX_WORDS, generate_questions
from clevr_prep.synthetic.sampling.random_compositions import generate_compositions
from clevr_prep.synthetic.scenes.compact_scenes import CompactScenes
from clevr_prep.synthetic.scenes.object_boxes import can_be_referred_to, visible_targets
from snmn.common.schedules import Limit, staged_limit
from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX
from snmn.data.question_sources import EncodedQuestions


class _Encoder:
    """Turns generated questions or expressions into arrays, but for their answers and boxes."""

    def __init__(self, question_types: Sequence[str], steps: int):
        self._types = question_types
        self._steps = steps
        self._words = QuestionEncoder()
        self._facts = ProgramFacts()

    def __call__(self, asked: list[dict]) -> dict[str, np.ndarray]:
        words = [self._words(entry["question"]) for entry in asked]
        layouts = [pad_layout(expert_layout(entry["program"]), self._steps) for entry in asked]
        facts = [self._facts(entry["program"]) for entry in asked]
        question = np.zeros((len(asked), MAX_WORDS), dtype=np.uint8)
        for row, indices in zip(question, words, strict=True):
            row[: len(indices)] = indices
        return {
            "question": question,
            "length": np.array([len(indices) for indices in words]),
            "layout": np.array([[MODULE_INDEX[name] for name in layout] for layout in layouts]),
            "question_index": np.full(len(asked), -1),
            "question_type": np.array([self._types.index(kind) for kind, _ in facts]),
            "hops": np.array([depth for _, depth in facts]),
        }


def _stages(
    counts: np.ndarray, images: np.ndarray, max_objects: Limit
) -> list[tuple[int, np.ndarray]]:
    """From which step on which images are asked about; ``counts`` are their objects."""
    stages = []
    for step, most in staged_limit(max_objects):
        kept = images if most is None else images[counts <= max(most, counts.min())]
        stages.append((step, kept))
    return stages


class FreshQuestions:
    """Makes up questions about the scenes of a dataset; a `QuestionSource`.

    Args:
        scenes_file: ROOT/scenes/CLEVR_<split>_scenes.json of the training images.
        max_hops: the most hops, as a number or as a schedule by training step.
        max_objects: likewise the most objects of the scenes that are asked about; where none has
            so few, it is those with the fewest.
        queries_until: before this step an attribute of an object is asked for, and nothing else.
        counting, comparing, per_hop: how many times as often as in CLEVR things are counted,
            things or numbers compared, and relations asked about, see ``generate_questions``.
        compositions: the share of questions that are composed at random, from ``queries_until``
            on; see ``generate_compositions``.
        held_out: whether these contain none of the seven kinds of composition that are tested.
        steps: T of the layouts.

    Answers are balanced within each draw only: a balance that outlived it would depend on which
    worker drew what before. Over 6000 questions the best constant answer of each type is right for
    43%, against 41% with one balance over all scenes.
    """

    question_types = QUESTION_TYPES

    def __init__(
        self,
        scenes_file: str | os.PathLike,
        *,
        max_hops: Limit = None,
        max_objects: Limit = None,
        queries_until: int = 0,
        counting: float = 1.0,
        comparing: float = 1.0,
        per_hop: float = 1.0,
        compositions: float = 0.0,
        held_out: bool = False,
        steps: int = 9,
    ):
        self._scenes = CompactScenes(Path(scenes_file))
        self._limit = staged_limit(max_hops)
        self._queries_until = queries_until
        self._mix = {"counting": counting, "comparing": comparing, "per_hop": per_hop}
        self._compositions = compositions
        self._composed = {"held_out": held_out, "steps": steps}
        self._encode = _Encoder(self.question_types, steps)
        self.filenames = self._scenes.filenames
        self.checksum = self._scenes.checksum
        self.images = np.arange(len(self._scenes))
        self.stages = _stages(self._scenes.object_counts[self.images], self.images, max_objects)

    def draw(self, image: int, count: int, rng: np.random.Generator, step: int) -> EncodedQuestions:
        """See ``QuestionSource.draw``. Raises ``LayoutError`` for a layout beyond ``steps``."""
        scene, limit = self._scenes[image], self._limit.at(step)
        queries = step < self._queries_until
        asked: list[dict] = []
        if self._compositions and not queries:
            composed = int(rng.binomial(count, self._compositions))
            asked = generate_compositions(scene, composed, rng, max_hops=limit, **self._composed)
        mix = self._mix | {"max_hops": limit, "queries": queries}
        asked += generate_questions(scene, count - len(asked), rng, **mix)
        answer = np.array([ANSWER_INDEX[entry["answer"]] for entry in asked])
        return EncodedQuestions(answer=answer, **self._encode(asked))


class FreshExpressions:
    """Makes up referring expressions with boxes; a `QuestionSource`.

    Args:
        scenes_file: ROOT/scenes/CLEVR_loc_<split>_scenes.json of the training images, rendered
            with ``--loc``, so that its objects have boxes.
        max_hops, max_objects, steps: as for ``FreshQuestions``.

    Within a draw, the objects of the image have their turns one after the other.
    """

    question_types = REFERRING_TYPES

    def __init__(
        self,
        scenes_file: str | os.PathLike,
        *,
        max_hops: Limit = None,
        max_objects: Limit = None,
        steps: int = 9,
    ):
        self._scenes = CompactScenes(Path(scenes_file), boxes=True)
        self._limit = staged_limit(max_hops)
        self._encode = _Encoder(self.question_types, steps)
        self.filenames = self._scenes.filenames
        self.checksum = self._scenes.checksum
        usable = [
            index
            for index in range(len(self._scenes))
            if can_be_referred_to(scene := self._scenes[index], visible_targets(scene))
        ]
        if not usable:
            raise SceneError(f"{scenes_file}: no scene has an object that can be referred to")
        self.images = np.array(usable)
        self.stages = _stages(self._scenes.object_counts[self.images], self.images, max_objects)

    def draw(self, image: int, count: int, rng: np.random.Generator, step: int) -> EncodedQuestions:
        """See ``QuestionSource.draw``. Raises ``LayoutError`` for a layout beyond ``steps``."""
        scene = self._scenes[image]
        said = generate_expressions(
            scene, visible_targets(scene), count, rng, max_hops=self._limit.at(step)
        )
        boxes = [scene["objects"][entry["target_object"]]["bbox"] for entry in said]
        size = scene["render"]["width"], scene["render"]["height"]
        return EncodedQuestions(
            answer=np.full(count, -1),
            box=np.array(boxes, dtype=np.float32),
            image_size=np.tile(np.array(size, dtype=np.int32), (count, 1)),
            **self._encode(said),
        )
