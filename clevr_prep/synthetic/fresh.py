"""Questions made up while training: the source of questions for rendered scenes.

A model that sees each question once cannot learn questions by heart, and making one costs far
less than training on it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clevr_prep.encoding import ProgramFacts, QuestionEncoder
from clevr_prep.json_stream import JsonArray
from clevr_prep.layouts import expert_layout, pad_layout
from clevr_prep.synthetic.programs import QUESTION_TYPES
from clevr_prep.synthetic.questions import MAX_WORDS, generate_questions
from clevr_prep.synthetic.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneError, members
from snmn.question_source import EncodedQuestions, HopLimit
from snmn.vocabulary import ANSWER_INDEX, MODULE_INDEX

_MOST_OBJECTS = 32  # bits of a row of relations


def _value_codes(objects: list[dict]) -> list[list[int]]:
    if not 0 < len(objects) <= _MOST_OBJECTS:
        raise ValueError(f"{len(objects)} objects, 1 to {_MOST_OBJECTS} are possible")
    for index, thing in enumerate(objects):
        for attribute in ATTRIBUTES:
            if thing[attribute] not in VALUES[attribute]:
                raise ValueError(f"object {index} has unknown {attribute} {thing[attribute]!r}")
    return [[VALUES[a].index(thing[a]) for a in ATTRIBUTES] for thing in objects]


def _relation_masks(relationships: dict, count: int) -> list[list[int]]:
    """For each object and direction, the bit set of the objects that lie there from it."""
    for direction in DIRECTIONS:
        rows = relationships[direction]
        if len(rows) != count or any(not 0 <= j < count for row in rows for j in row):
            raise ValueError(f"relationship {direction!r} does not fit {count} objects")
    return [
        [sum(1 << j for j in relationships[d][index]) for d in DIRECTIONS] for index in range(count)
    ]


class CompactScenes:
    """What questions need to know of many scenes, in a few bytes an object.

    A parsed scene takes 11 KB, which every loader process would come to have for itself.

    Args:
        path: a CLEVR scenes file.

    Attributes:
        filenames: the scenes' image file names.

    Raises ``SceneError`` naming the file and the scene when one lacks something.
    """

    def __init__(self, path: str | os.PathLike):
        self.filenames: list[str] = []
        values, relations, ends = [], [], [0]
        for number, scene in enumerate(JsonArray(path, "scenes")):
            try:
                self.filenames.append(scene["image_filename"])
                values += _value_codes(scene["objects"])
                relations += _relation_masks(scene["relationships"], len(scene["objects"]))
            except KeyError as error:
                raise SceneError(f"{path}: scene {number} has no {error}") from None
            except (ValueError, TypeError) as error:
                raise SceneError(f"{path}: scene {number}: {error}") from None
            ends.append(len(values))
        if not self.filenames:
            raise SceneError(f"{path} has no scenes")
        self._values = np.array(values, dtype=np.uint8)
        self._relations = np.array(relations, dtype=np.uint32)
        self._ends = np.array(ends)

    def __len__(self) -> int:
        return len(self.filenames)

    def __getitem__(self, index: int) -> dict:
        """The scene as a CLEVR dictionary with its objects' attributes and relationships."""
        rows = slice(self._ends[index], self._ends[index + 1])
        relations = self._relations[rows].T.tolist()
        return {
            "objects": [
                {a: VALUES[a][code] for a, code in zip(ATTRIBUTES, codes, strict=True)}
                for codes in self._values[rows].tolist()
            ],
            "relationships": {
                direction: [members(mask) for mask in masks]
                for direction, masks in zip(DIRECTIONS, relations, strict=True)
            },
        }


class FreshQuestions:
    """Makes up questions about the scenes of a dataset; a ``snmn.question_source.QuestionSource``.

    Args:
        scenes_file: ROOT/scenes/CLEVR_<split>_scenes.json of the training images.
        max_hops: the most hops, as a number or as a schedule by training step, see ``HopLimit``.
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
        max_hops: int | None | Sequence[tuple[int, int | None]] = None,
        steps: int = 9,
    ):
        self._scenes = CompactScenes(Path(scenes_file))
        self._limit = HopLimit(max_hops)
        self._steps = steps
        self._encode = QuestionEncoder()
        self._facts = ProgramFacts()
        self.filenames = self._scenes.filenames
        self.images = np.arange(len(self._scenes))

    def draw(self, image: int, count: int, rng: np.random.Generator, step: int) -> EncodedQuestions:
        """See ``QuestionSource.draw``. Raises ``LayoutError`` for a layout beyond ``steps``."""
        asked = generate_questions(self._scenes[image], count, rng, max_hops=self._limit.at(step))
        words = [self._encode(entry["question"]) for entry in asked]
        layouts = [pad_layout(expert_layout(entry["program"]), self._steps) for entry in asked]
        facts = [self._facts(entry["program"]) for entry in asked]
        question = np.zeros((count, MAX_WORDS), dtype=np.uint8)
        for row, indices in zip(question, words, strict=True):
            row[: len(indices)] = indices
        return EncodedQuestions(
            question=question,
            length=np.array([len(indices) for indices in words]),
            answer=np.array([ANSWER_INDEX[entry["answer"]] for entry in asked]),
            layout=np.array([[MODULE_INDEX[name] for name in layout] for layout in layouts]),
            question_index=np.full(count, -1),
            question_type=np.array([QUESTION_TYPES.index(kind) for kind, _ in facts]),
            hops=np.array([depth for _, depth in facts]),
        )
