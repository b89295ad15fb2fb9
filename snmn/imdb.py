"""The imdb: all questions of a split as small integers in one HDF5 file.

For Q questions of at most S words, layouts of T steps:

==============  ============  ==================================================================
question        [Q, S] uint8  word indices, padded with 0
length          [Q] uint8     words
answer          [Q] int8      answer index, -1 unknown
layout          [Q, T] uint8  module indices, padded with 0 (_NoOp); absent without layouts
image           [Q] int32     index into ``filenames``
question_index  [Q] int32     the dataset's own question_index
question_type   [Q] uint8     index into the attribute ``question_types``, 255 unknown
hops            [Q] uint8     255 unknown
box             [Q, 4] f4     x, y, width, height in pixels, NaN unknown; absent without boxes
filenames       [F] bytes     image file names, UTF-8
image_size      [F, 2] int32  width, height in pixels; of images with referring expressions only
==============  ============  ==================================================================

Attributes, all text: ``format``, ``vocabulary`` (hash of the three vocabularies),
``question_types`` and ``made_from`` (JSON). No column is chunked or compressed: the reader maps
them into memory, so a file opens at once and all processes share one copy of it.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from snmn.question_source import EncodedQuestions
from snmn.vocabulary import ANSWERS, MODULES, QUESTION_WORDS

FORMAT = "snmn-imdb-1"
VOCABULARY = hashlib.sha256(
    json.dumps([QUESTION_WORDS, ANSWERS, MODULES]).encode("utf-8")
).hexdigest()

COLUMNS = {
    "question": "<u1",
    "length": "<u1",
    "answer": "<i1",
    "layout": "<u1",
    "image": "<i4",
    "question_index": "<i4",
    "question_type": "<u1",
    "hops": "<u1",
    "box": "<f4",
    "image_size": "<i4",
}
_OPTIONAL = ("layout", "box", "image_size")


class ImdbError(ValueError):
    """An imdb cannot be read or written; the message names the file and is fit for a user."""


class Imdb:
    """Reads an imdb.

    Args:
        path: the HDF5 file.

    Attributes:
        path: the file.
        question, length, answer, layout, image, question_index, question_type, hops, box,
            image_size: the columns as read-only arrays, see the module; ``layout``, ``box`` and
            ``image_size`` are None when there are none.
        question_types: names of the question types.
        made_from: what the file was made from, as given to ``ImdbWriter``.

    Raises ``ImdbError`` for a missing or damaged file, or one made with another vocabulary.

    A pickled imdb carries its path alone and is mapped again, not copied, by who unpickles it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).absolute()
        if not self.path.is_file():
            raise ImdbError(f"no imdb {path}; make it with clevr_prep/data/build_clevr_imdb.py")
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                self._check(file)
                self.question_types = tuple(json.loads(file.attrs["question_types"]))
                self.made_from = json.loads(file.attrs["made_from"])
                self._encoded_filenames = file["filenames"][:]
                places = {
                    name: (file[name].shape, file[name].id.get_offset())
                    for name in COLUMNS
                    if name in file
                }
            data = np.memmap(self.path, mode="r")
            for name, dtype in COLUMNS.items():
                setattr(self, name, None)
                if name in places:
                    shape, offset = places[name]
                    array = np.ndarray(shape, dtype, buffer=data, offset=offset)
                    setattr(self, name, array)
            missing = COLUMNS.keys() - places.keys() - set(_OPTIONAL)
            if missing:
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        except ImdbError:
            raise
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ImdbError(f"{path} is damaged ({error}); delete it and build it again") from error

    def _check(self, file: h5py.File) -> None:
        found = file.attrs.get("format")
        if found != FORMAT:
            raise ImdbError(f"{self.path} is not an imdb of format {FORMAT} but {found}")
        if file.attrs["vocabulary"] != VOCABULARY:
            raise ImdbError(f"{self.path} was made with another vocabulary; build it again")

    def __reduce__(self):
        return type(self), (self.path,)

    def __len__(self) -> int:
        return len(self.length)

    @cached_property
    def filenames(self) -> list[str]:
        """Image file names, which the column ``image`` indexes."""
        return [name.decode("utf-8") for name in self._encoded_filenames]

    def take(self, rows: Sequence[int] | np.ndarray) -> EncodedQuestions:
        """The questions of the given rows; their ``question_index`` is the row."""
        rows = np.asarray(rows)
        return EncodedQuestions(
            question=self.question[rows],
            length=self.length[rows],
            answer=self.answer[rows],
            layout=None if self.layout is None else self.layout[rows],
            question_index=rows,
            question_type=self.question_type[rows],
            hops=self.hops[rows],
            box=None if self.box is None else self.box[rows],
            image_size=None if self.image_size is None else self.image_size[self.image[rows]],
        )
