"""Training on a share of what there is: which questions have a layout, which images are used.

Which ones follows from a seed alone, and a smaller share is part of every larger one. So runs that
differ in shares, or in anything else, can be compared.
"""

import os
import zlib
from dataclasses import replace

import numpy as np

from snmn.data.imdb import Imdb
from snmn.data.question_sources import NO_LAYOUT, EncodedQuestions
from snmn.storage.whole_files import replacing

# Tells these random numbers from each other and from those of batches, for one seed.
_LAYOUTS, _IMAGES = 3, 4


def _chosen(count: int, share: float, key: list[int]) -> np.ndarray:
    """A share of the numbers below ``count``, ascending: rounded, but at least one."""
    order = np.random.default_rng(key).permutation(count)
    return np.sort(order[: max(1, round(share * count))])


def chosen_images(images: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the images [I], at least one."""
    return images[_chosen(len(images), share, [seed, _IMAGES])]


def chosen_rows(count: int, share: float, seed: int) -> np.ndarray:
    """Which of an imdb's ``count`` questions have a layout, ascending."""
    return _chosen(count, share, [seed, _LAYOUTS])


class LayoutShare:
    """Takes the layouts of all but some questions away.

    Args:
        share: of the questions that keep theirs.
        seed: which they are.
        imdb: that stored questions are of; None for those made up while training. Of these it
            follows from the words whether a question has a layout, so that one which is drawn
            again has it again.
    """

    def __init__(self, share: float, seed: int, *, imdb: Imdb | None = None):
        self._share, self._seed = share, seed
        self._known = None
        if imdb is not None:
            self._known = np.zeros(len(imdb), dtype=bool)
            self._known[chosen_rows(len(imdb), share, seed)] = True

    def known(self, questions: EncodedQuestions) -> np.ndarray:
        """Whether each question keeps its layout, [n]."""
        if self._known is not None:
            return self._known[questions.question_index]
        start = zlib.crc32(np.int64(self._seed).tobytes())
        words = [
            row[:length].astype(np.uint8).tobytes()
            for row, length in zip(questions.question, questions.length, strict=True)
        ]
        return np.array([zlib.crc32(text, start) for text in words]) < self._share * 2**32

    def __call__(self, questions: EncodedQuestions) -> EncodedQuestions:
        """The questions, those that have no layout with `NO_LAYOUT` at each step."""
        known = self.known(questions)[:, None]
        return replace(questions, layout=np.where(known, questions.layout, np.int64(NO_LAYOUT)))


def write_chosen(path: str | os.PathLike, imdb: Imdb, share: float, seed: int) -> None:
    """Write which questions of an imdb have a layout: their rows, one a line."""
    rows = chosen_rows(len(imdb), share, seed)
    with replacing(path) as partial:
        partial.write_text("".join(f"{row}\n" for row in rows.tolist()))
