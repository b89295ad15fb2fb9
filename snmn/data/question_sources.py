"""Where training questions come from: encoded questions, and sources that draw them per image.

A source belongs to a list of images and gives, for one of them, some questions at random. One
source draws from an imdb (``StoredQuestions``); another may make questions up as they are asked
for. Both obey a limit on hops that may change with the training step (a curriculum); what makes
questions up from scenes can also begin with those of few objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from snmn.common.schedules import Limit, staged_limit

NO_LAYOUT = -1  # at each step of a question's layout where nobody tells it
UNKNOWN = 255  # question type or hops that nobody knows (a question without a program)


@dataclass(frozen=True)
class EncodedQuestions:
    """Some questions as arrays of indices.

    Attributes:
        question: [n, S] word indices, 0 beyond the length.
        length: [n] words.
        answer: [n] answer index, -1 unknown.
        layout: [n, T] module indices of the expert layout, padded with 0 (_NoOp); `NO_LAYOUT` at
            each step where it is not told, None where none is.
        question_index: [n] row in the imdb, -1 for questions that are in none.
        question_type: [n] index into the source's type names, ``UNKNOWN`` without a program.
        hops: [n] steps from object to object, ``UNKNOWN`` without a program.
        box: [n, 4] float32, the box [x, y, w, h] that a referring expression is about, in pixels
            of its image; its last pixel is (x + w - 1, y + h - 1). A row of NaN where nobody
            knows the box; None without boxes.
        image_size: [n, 2] (width, height) of each question's image in pixels; None for questions
            that have an answer instead of a box.
    """

    question: np.ndarray
    length: np.ndarray
    answer: np.ndarray
    layout: np.ndarray | None
    question_index: np.ndarray
    question_type: np.ndarray
    hops: np.ndarray
    box: np.ndarray | None = None
    image_size: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.length)

    @classmethod
    def concatenate(cls, parts: Sequence["EncodedQuestions"]) -> "EncodedQuestions":
        """All parts one after the other; they must agree in S, T and what they have."""
        columns = {}
        for column in fields(cls):
            arrays = [getattr(part, column.name) for part in parts]
            columns[column.name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(**columns)


class QuestionSource(Protocol):
    """What a source of questions offers.

    ``filenames`` names the images; ``question_types`` the types that ``question_type`` indexes;
    ``images`` lists the indices of the images that have questions, and ``stages`` says from which
    training step on which of them are asked about: [(step, images), ...], ascending from 0.
    ``checksum`` is a number that is another one where questions are drawn from other data.
    """

    filenames: Sequence[str]
    question_types: Sequence[str]
    images: np.ndarray
    stages: Sequence[tuple[int, np.ndarray]]
    checksum: int

    def draw(self, image: int, count: int, rng: np.random.Generator, step: int) -> EncodedQuestions:
        """``count`` questions of one image (index into ``filenames``) for a training step.

        All chance comes from ``rng``, so that equal arguments give equal questions in whatever
        process.
        """
        ...


class StoredQuestions:
    """Draws the questions of an imdb: those of an image in random order.

    Args:
        imdb: the ``snmn.data.imdb.Imdb``.
        max_hops: a limit, as for ``staged_limit``. An image without a question within the limit
            gives those with the fewest hops it has.

    Attributes:
        imdb: the same.

    No question comes twice in one draw as long as the image has enough of them.
    """

    def __init__(self, imdb, *, max_hops: Limit = None):
        self.imdb = imdb
        self._limit = staged_limit(max_hops)
        self.filenames = imdb.filenames
        self.question_types = imdb.question_types
        self.checksum = imdb.checksum
        self._rows = np.argsort(imdb.image, kind="stable")
        self._ends = np.cumsum(np.bincount(imdb.image, minlength=len(imdb.filenames)))
        self.images = np.unique(imdb.image)
        self.stages = [(0, self.images)]

    def rows(self, image: int) -> np.ndarray:
        """Imdb rows of the questions of one image, ascending."""
        start = self._ends[image - 1] if image else 0
        return self._rows[start : self._ends[image]]

    def draw(self, image: int, count: int, rng: np.random.Generator, step: int) -> EncodedQuestions:
        """See ``QuestionSource.draw``."""
        rows = self.rows(image)
        limit = self._limit.at(step)
        if limit is not None:
            hops = self.imdb.hops[rows]
            rows = rows[hops <= max(limit, hops.min())]
        rounds = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
        return self.imdb.take(np.concatenate(rounds)[:count])
