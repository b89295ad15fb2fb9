"""The imdb: all questions of a split as small integers in one HDF5 file.

For Q questions of at most S words, layouts of T steps:

==============  ============  ==================================================================
question        [Q, S] uint8  word indices, padded with 0
length          [Q] uint8     words
answer          [Q] int8      answer index, -1 unknown
layout          [Q, T] uint8  module indices, padded with 0 (_NoOp); absent without layouts
image           [Q] int32     index into ``filenames``
question_index  [Q] int32     the dataset's own question_index, or the place in its file from 0
question_type   [Q] uint8     index into the attribute ``question_types``, 255 unknown
hops            [Q] uint8     255 unknown
box             [Q, 4] f4     x, y, width, height in pixels, NaN unknown; absent without boxes
filenames       [F] bytes     image file names, UTF-8
image_size      [F, 2] int32  width, height in pixels; of images with referring expressions only
==============  ============  ==================================================================

Rows are in the order of the questions file.

Attributes, all text: ``format``, ``vocabulary`` (hash of the three vocabularies),
``question_types`` and ``made_from`` (JSON), ``crc32`` (JSON, a CRC-32 for each of the above). No
column is chunked or compressed: the reader maps them into memory, so that all processes share one
copy of them. When a file is opened each is compared with its checksum; see
:mod:`snmn.storage.checksums` for what guards the rest of the file.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from snmn.common.errors import UserError, shown
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.data.imdb_check import check_columns
from snmn.data.question_sources import EncodedQuestions
from snmn.storage.checksums import crc32, plain_text
from snmn.storage.hdf5_columns import own_column

FORMAT = "snmn-imdb-2"
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


class ImdbError(UserError):
    """An imdb cannot be read or written; the message names the file and is fit for a user."""


def _column(file: h5py.File, name: str) -> h5py.Dataset:
    column = own_column(file, name)
    if column.dtype != COLUMNS[name]:
        raise ValueError(f"{name} holds {column.dtype}, not {np.dtype(COLUMNS[name])}")
    return column


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
        checksum: a number that is another one for other columns.

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
                self.question_types = tuple(json.loads(plain_text(file.attrs["question_types"])))
                self.made_from = json.loads(plain_text(file.attrs["made_from"]))
                checksums = json.loads(plain_text(file.attrs["crc32"]))
                self._encoded_filenames = own_column(file, "filenames")[:]
                places = {
                    name: (column.shape, column.id.get_offset())
                    for name in COLUMNS
                    if name in file
                    for column in [_column(file, name)]
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
            found = {**self.columns(), "filenames": self._encoded_filenames}
            for name, column in found.items():
                if crc32([column]) != checksums[name]:
                    raise ValueError(f"{name} is not what was written")
            check_columns(self)
            self.checksum = zlib.crc32(json.dumps(checksums, sort_keys=True).encode())
        except ImdbError:
            raise
        except Exception as error:  # HDF5 that somebody made up can fail in any way.
            reason = shown(error)
            raise ImdbError(
                f"{path} is damaged ({reason}); delete it and build it again"
            ) from error

    def _check(self, file: h5py.File) -> None:
        found = plain_text(file.attrs.get("format"))
        if found != FORMAT:
            raise ImdbError(
                f"{self.path} is not an imdb of format {FORMAT} but {found}; build it again"
            )
        if plain_text(file.attrs["vocabulary"]) != VOCABULARY:
            raise ImdbError(f"{self.path} was made with another vocabulary; build it again")

    def columns(self) -> dict[str, np.ndarray]:
        """The columns that there are, by name."""
        found = {name: getattr(self, name) for name in COLUMNS}
        return {name: column for name, column in found.items() if column is not None}

    def __reduce__(self):
        return type(self), (self.path,)

    def __len__(self) -> int:
        return len(self.length)

    @property
    def numbered_by_place(self) -> bool:
        """Whether ``question_index`` is the place in the questions file, from 0."""
        return isinstance(self.made_from, dict) and self.made_from.get("number_by_place") is True

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
