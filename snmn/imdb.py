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
filenames       [F] bytes     image file names, UTF-8
==============  ============  ==================================================================

Attributes, all text: ``format``, ``vocabulary`` (hash of the three vocabularies),
``question_types`` and ``made_from`` (JSON). No column is chunked or compressed: the reader maps
them into memory, so a file opens at once and all processes share one copy of it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from snmn.question_source import UNKNOWN, EncodedQuestions
from snmn.vocabulary import ANSWERS, MODULES, QUESTION_WORDS

FORMAT = "snmn-imdb-1"
VOCABULARY = hashlib.sha256(
    json.dumps([QUESTION_WORDS, ANSWERS, MODULES]).encode("utf-8")
).hexdigest()

_COLUMNS = {
    "question": "<u1",
    "length": "<u1",
    "answer": "<i1",
    "layout": "<u1",
    "image": "<i4",
    "question_index": "<i4",
    "question_type": "<u1",
    "hops": "<u1",
}


class ImdbError(ValueError):
    """An imdb cannot be read or written; the message names the file and is fit for a user."""


class Imdb:
    """Reads an imdb.

    Args:
        path: the HDF5 file.

    Attributes:
        path: the file.
        question, length, answer, layout, image, question_index, question_type, hops: the columns
            as read-only arrays, see the module; ``layout`` is None when there are none.
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
                    for name in _COLUMNS
                    if name in file
                }
            data = np.memmap(self.path, mode="r")
            for name, dtype in _COLUMNS.items():
                setattr(self, name, None)
                if name in places:
                    shape, offset = places[name]
                    array = np.ndarray(shape, dtype, buffer=data, offset=offset)
                    setattr(self, name, array)
            if self.question is None or len(self.hops) != len(self.question):
                raise ValueError("columns are missing")
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
        )


class ImdbWriter:
    """Collects questions in memory and saves them as one imdb.

    Args:
        question_types: names of the question types.
        max_words: longest question allowed, at most 255.
        max_steps: T of the layouts; None for an imdb without layouts.
    """

    def __init__(self, *, question_types: Sequence[str], max_words: int, max_steps: int | None):
        if not 1 <= max_words <= 255:
            raise ValueError(f"max_words must be 1 to 255, not {max_words}")
        self.question_types = tuple(question_types)
        self.max_words = max_words
        self.max_steps = max_steps
        self._type_index = {name: index for index, name in enumerate(self.question_types)}
        self._images: dict[str, int] = {}
        self._columns = {name: bytearray() for name in _COLUMNS}
        if max_steps is None:
            del self._columns["layout"]

    def __len__(self) -> int:
        return len(self._columns["length"])

    def add(
        self,
        *,
        words: Sequence[int],
        filename: str,
        question_index: int,
        answer: int = -1,
        layout: Sequence[int] | None = None,
        question_type: str | None = None,
        hops: int | None = None,
    ) -> None:
        """Append a question: word, answer and module indices, its image, type and hops.

        Raises ``ValueError`` for a question that is empty or longer than ``max_words``, and for
        a layout longer than ``max_steps``, absent where others have one, or the reverse.
        """
        if not 0 < len(words) <= self.max_words:
            raise ValueError(f"{len(words)} words, 1 to {self.max_words} are allowed")
        if (layout is None) != (self.max_steps is None):
            raise ValueError(
                "has no layout, others have" if layout is None else "has a layout, others have none"
            )
        columns = self._columns
        if layout is not None:
            if len(layout) > self.max_steps:
                raise ValueError(
                    f"a layout of {len(layout)} steps, at most {self.max_steps} are allowed"
                )
            columns["layout"] += bytes(layout).ljust(self.max_steps, b"\0")
        columns["question"] += bytes(words).ljust(self.max_words, b"\0")
        columns["length"].append(len(words))
        columns["answer"] += answer.to_bytes(1, "little", signed=True)
        image = self._images.setdefault(filename, len(self._images))
        columns["image"] += image.to_bytes(4, "little", signed=True)
        columns["question_index"] += question_index.to_bytes(4, "little", signed=True)
        type_index = UNKNOWN if question_type is None else self._type_index[question_type]
        columns["question_type"].append(type_index)
        columns["hops"].append(UNKNOWN if hops is None else hops)

    def save(self, path: str | os.PathLike, *, made_from: Mapping) -> None:
        """Write the file, whole or not at all; ``made_from`` is any JSON object kept with it.

        Equal questions give equal bytes. Raises ``ImdbError`` when there is no question or the
        file cannot be written.
        """
        if not len(self):
            raise ImdbError(f"no questions to write to {path}")
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(partial, made_from)
            os.replace(partial, path)
        except (OSError, RuntimeError) as error:  # HDF5 may report a full disk as either.
            raise ImdbError(f"cannot write {path} ({error})") from error
        finally:
            partial.unlink(missing_ok=True)

    def _write(self, partial: Path, made_from: Mapping) -> None:
        # Aligned, because the reader maps the integers where they lie.
        with h5py.File(
            partial, "w", locking=False, alignment_threshold=0, alignment_interval=8
        ) as file:
            for name, data in self._columns.items():
                array = np.frombuffer(data, _COLUMNS[name])
                if name in ("question", "layout"):
                    array = array.reshape(len(self), -1)
                if name == "question":
                    array = array[:, : max(self._columns["length"])]
                file.create_dataset(name, data=array, track_times=False)
            names = [name.encode("utf-8") for name in self._images]
            file.create_dataset("filenames", data=np.array(names), track_times=False)
            file.attrs["format"] = FORMAT
            file.attrs["vocabulary"] = VOCABULARY
            file.attrs["question_types"] = json.dumps(self.question_types)
            file.attrs["made_from"] = json.dumps(made_from)
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
