"""A question of a CLEVR-format file as a row of an imdb, or a ValueError that says why not."""

import os
from pathlib import Path

from clevr_prep.clevr.question_encoding import ProgramFacts, QuestionEncoder
from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.clevr.question_values import fit_box, read_answer
from snmn.common.errors import shown
from snmn.common.paths import name_but_suffix
from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX
from snmn.data.imdb_check import is_filename
from snmn.data.imdb_writer import ImdbWriter
from snmn.storage.image_files import image_size
from snmn.storage.rgb import ImageError


class ImageSizes:
    """(width, height) of the images in a folder, by file name; each is looked at once.

    Raises DatasetError for an image that is not there or cannot be read.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, filename: str) -> tuple[int, int]:
        """The size of an image."""
        if filename not in self._known:
            path = self._folder / filename
            try:
                self._known[filename] = image_size(path)
            except FileNotFoundError:
                raise DatasetError(f"no image {path}{self._hint(filename)}") from None
            except (ImageError, OSError) as error:
                raise DatasetError(str(error)) from None
        return self._known[filename]

    def _hint(self, filename: str) -> str:
        found = os.listdir(self._folder) if self._folder.is_dir() else ()
        other = name_but_suffix(filename, found)
        return f", but {other}: image_filename must end as the images do" if other else ""


class RowWriter:
    """Adds the questions of one file to an imdb.

    Args:
        writer: of the imdb.
        image_sizes: of expressions, whose answers are boxes; None for questions.
        number_by_place: whether a question's number is its place in the file.

    ``programs`` counts the questions that have one.
    """

    def __init__(
        self, writer: ImdbWriter, *, image_sizes: ImageSizes | None, number_by_place: bool
    ):
        self._writer = writer
        self._image_sizes = image_sizes
        self._number_by_place = number_by_place
        self._encoder, self._facts = QuestionEncoder(), ProgramFacts()
        self._places: dict[int, int] = {}  # of the questions, by their numbers
        self.programs = 0

    def add(self, position: int, question: dict, layout: list[str] | None) -> None:
        """Add the question at a place of the file.

        Raises KeyError for what it lacks, ValueError, TypeError or OverflowError for what is wrong
        with it.
        """
        _check_types(question)
        number = position if self._number_by_place else self._number(question, position)
        # An expression's answer is a box. CLEVR-Ref's files do have one, the result of its program.
        answer = None if self._image_sizes else read_answer(question.get("answer"))
        program = question.get("program")
        kind, depth = (None, None) if program is None else self._facts(program)
        if layout is not None and not _is_layout(layout):
            raise ValueError(
                "its layout is no list of modules; run get_ground_truth_layout.py again"
            )
        if kind is not None and kind not in self._writer.question_types:
            raise ValueError(f"its program is one of {kind}, which does not belong in this split")
        size = box = None
        if self._image_sizes:
            size, box = self._image_sizes(question["image_filename"]), question.get("bbox")
        self._writer.add(
            words=self._encoder(question["question"]),
            filename=question["image_filename"],
            question_index=number,
            answer=-1 if answer is None else ANSWER_INDEX[answer],
            layout=None if layout is None else [MODULE_INDEX[module] for module in layout],
            question_type=kind,
            hops=depth,
            box=None if box is None else fit_box(box, size),
            image_size=size,
        )
        self.programs += program is not None

    def _number(self, question: dict, position: int) -> int:
        """The question_index of a question, which no other may have."""
        number = question.get("question_index", position)
        problem = ""
        if type(number) is not int or not 0 <= number < 2**31:
            problem = "is no whole number from 0 on"
        elif self._places.setdefault(number, position) != position:
            problem = f"is also that of question {self._places[number]}"
        if problem:
            raise ValueError(
                f"its question_index {shown(repr(number))} {problem}; --number-by-place numbers "
                "questions by their places in the file instead"
            )
        return number


def _is_layout(layout) -> bool:
    names = isinstance(layout, list) and all(isinstance(module, str) for module in layout)
    return names and MODULE_INDEX.keys() >= set(layout)


def _check_types(question) -> None:
    """Refuse a question whose parts are not of their kinds."""
    if not isinstance(question, dict):
        raise ValueError("it is not an object of names and values")
    if not isinstance(question["question"], str):
        raise ValueError("its question is not text")
    name = question["image_filename"]
    if not is_filename(name) or len(name.encode("utf-8")) > 255:
        raise ValueError(f"its image_filename {shown(repr(name))} is no file name")
