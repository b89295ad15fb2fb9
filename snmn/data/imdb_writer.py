"""Writing an imdb, see :mod:`snmn.data.imdb` for the format."""

import json
import os
import struct
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from snmn.data.imdb import COLUMNS, FORMAT, VOCABULARY, ImdbError
from snmn.data.question_sources import UNKNOWN
from snmn.storage.checksums import CHECKED_HDF5, crc32, fixed_text
from snmn.storage.whole_files import UnfailingFile, replacing

_NO_BOX = (float("nan"),) * 4


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
        self._columns = {name: bytearray() for name in COLUMNS}
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
        box: Sequence[float] | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        """Append a question: word, answer and module indices, its image, type, hops and box.

        ``image_size`` is the (width, height) of its image. Raises ``ValueError`` for a question
        that is empty or longer than ``max_words``, and for a layout longer than ``max_steps``.
        It does so too for a layout or an image size that is absent where others have one, or the
        reverse.
        """
        if not 0 < len(words) <= self.max_words:
            raise ValueError(f"{len(words)} words, 1 to {self.max_words} are allowed")
        if (layout is None) != (self.max_steps is None):
            raise ValueError(
                "has no layout, others have" if layout is None else "has a layout, others have none"
            )
        columns = self._columns
        if len(self) and (image_size is None) == bool(columns["image_size"]):
            raise ValueError("some images have a size and others have none")
        if layout is not None:
            if len(layout) > self.max_steps:
                raise ValueError(
                    f"a layout of {len(layout)} steps, at most {self.max_steps} are allowed "
                    "(max_steps)"
                )
            columns["layout"] += bytes(layout).ljust(self.max_steps, b"\0")
        columns["question"] += bytes(words).ljust(self.max_words, b"\0")
        columns["length"].append(len(words))
        columns["answer"] += answer.to_bytes(1, "little", signed=True)
        if image_size is not None and filename not in self._images:
            columns["image_size"] += struct.pack("<2i", *image_size)
        image = self._images.setdefault(filename, len(self._images))
        columns["image"] += image.to_bytes(4, "little", signed=True)
        columns["question_index"] += question_index.to_bytes(4, "little", signed=True)
        type_index = UNKNOWN if question_type is None else self._type_index[question_type]
        columns["question_type"].append(type_index)
        columns["hops"].append(UNKNOWN if hops is None else hops)
        columns["box"] += struct.pack("<4f", *(_NO_BOX if box is None else box))

    def save(self, path: str | os.PathLike, *, made_from: Mapping) -> None:
        """Write the file, whole or not at all; ``made_from`` is any JSON object kept with it.

        Equal questions give equal bytes. Raises ``ImdbError`` when there is no question or the
        file cannot be written.
        """
        if not len(self):
            raise ImdbError(f"no questions to write to {path}")
        try:
            with replacing(path) as partial, UnfailingFile(partial) as sink:
                self._write(sink, made_from)
                sink.check()
        except OSError as error:
            raise ImdbError(f"cannot write {path} ({error})") from error

    def _write(self, sink: UnfailingFile, made_from: Mapping) -> None:
        row = {"question": self.max_words, "layout": self.max_steps, "box": 4, "image_size": 2}
        # Aligned, because the reader maps the numbers where they lie.
        aligned = {"alignment_threshold": 0, "alignment_interval": 8}
        with h5py.File(sink, "w", **aligned, **CHECKED_HDF5) as file:
            checksums = {}
            for name, data in self._columns.items():
                array = np.frombuffer(data, COLUMNS[name])
                if name in ("box", "image_size") and np.isnan(array).all():
                    continue  # Nobody gave any.
                if name in row:
                    array = array.reshape(-1, row[name])
                if name == "question":
                    array = array[:, : max(self._columns["length"])]
                array = np.ascontiguousarray(array)
                file.create_dataset(name, data=array, track_times=False)
                checksums[name] = crc32([array])
            names = np.array([name.encode("utf-8") for name in self._images])
            file.create_dataset("filenames", data=names, track_times=False)
            checksums["filenames"] = crc32([names])
            attributes = {
                "format": FORMAT,
                "vocabulary": VOCABULARY,
                "question_types": json.dumps(self.question_types),
                "made_from": json.dumps(made_from),
                "crc32": json.dumps(checksums),
            }
            for name, text in attributes.items():
                file.attrs[name] = fixed_text(text)
