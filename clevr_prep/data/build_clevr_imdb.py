"""Turn the questions of a CLEVR-format dataset into imdb files, one per split.

    cd clevr_prep/data; python build_clevr_imdb.py
    cd clevr_prep/data; python build_clevr_imdb.py --loc

Reads ``ROOT/questions/CLEVR_<split>_questions.json`` and, where ``get_ground_truth_layout.py``
has written it, ``CLEVR_<split>_layouts.json``; writes ``imdb_<split>.h5``, whose format
``snmn/data/imdb.py`` describes. A file that is up to date is left as it is. ``--layouts`` names the
folder of layouts that lie elsewhere. ``--loc`` takes the referring expressions of CLEVR-Ref: their
boxes are the ``bbox`` of each question, [x, y, width, height] in pixels, and the size of each image
is read from ``ROOT/images/<split>``; what they have for an ``answer`` is none.
"""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # run as a script, from whatever folder

from clevr_prep.clevr.json_stream import JsonArray  # noqa: E402
from clevr_prep.clevr.programs import (  # noqa: E402
    QUESTION_TYPES,
    REFERRING_TYPES,
)
from clevr_prep.clevr.question_encoding import ProgramFacts, QuestionEncoder  # noqa: E402
from clevr_prep.clevr.question_files import (  # noqa: E402
    DatasetError,
    add_options,
    is_loc,
    layouts_path,
    questions_path,
    read_options,
)
from clevr_prep.clevr.question_values import fit_box, read_answer  # noqa: E402
from clevr_prep.data.layouts_file import with_layouts  # noqa: E402
from snmn.common.errors import shown  # noqa: E402
from snmn.common.paths import home_path, name_but_suffix  # noqa: E402
from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX  # noqa: E402
from snmn.data.imdb import Imdb, ImdbError  # noqa: E402
from snmn.data.imdb_check import is_filename  # noqa: E402
from snmn.data.imdb_writer import ImdbWriter  # noqa: E402
from snmn.storage.image_files import image_size  # noqa: E402
from snmn.storage.locks import lock_file  # noqa: E402
from snmn.storage.rgb import ImageError  # noqa: E402

DEFAULT_OUT = REPOSITORY / "clevr_prep" / "data" / "imdb"
MAX_WORDS = 45
MAX_STEPS = 9

_REFRESH_EVERY = 1000


class _ImageSizes:
    """(width, height) of the images in a folder, by file name; each is looked at once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, filename: str) -> tuple[int, int]:
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


def _number(question: dict, position: int, places: dict[int, int]) -> int:
    """The question_index of a question, which no other may have; ``places`` has the others'."""
    number = question.get("question_index", position)
    problem = ""
    if type(number) is not int or not 0 <= number < 2**31:
        problem = "is no whole number from 0 on"
    elif places.setdefault(number, position) != position:
        problem = f"is also that of question {places[number]}"
    if problem:
        raise ValueError(
            f"its question_index {shown(repr(number))} {problem}; --number-by-place numbers "
            "questions by their places in the file instead"
        )
    return number


def _add(writer: ImdbWriter, encoder, facts, image_sizes, question, number, layout) -> None:
    # An expression's answer is a box. CLEVR-Ref's files do have one, the result of its program.
    answer = None if image_sizes else read_answer(question.get("answer"))
    program = question.get("program")
    kind, depth = (None, None) if program is None else facts(program)
    if layout is not None and not _is_layout(layout):
        raise ValueError("its layout is no list of modules; run get_ground_truth_layout.py again")
    if kind is not None and kind not in writer.question_types:
        raise ValueError(f"its program is one of {kind}, which does not belong in this split")
    size = image_sizes(question["image_filename"]) if image_sizes else None
    box = question.get("bbox") if image_sizes else None
    if box is not None:
        box = fit_box(box, size)
    writer.add(
        words=encoder(question["question"]),
        filename=question["image_filename"],
        question_index=number,
        answer=-1 if answer is None else ANSWER_INDEX[answer],
        layout=None if layout is None else [MODULE_INDEX[module] for module in layout],
        question_type=kind,
        hops=depth,
        box=box,
        image_size=size,
    )


def _stamp(path: Path) -> dict:
    status = path.stat()
    return {"file": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _is_up_to_date(target: Path, made_from: dict) -> bool:
    try:
        return Imdb(target).made_from == made_from
    except ImdbError:
        return False


def build_imdb(
    data_dir: Path,
    split: str,
    target: Path,
    *,
    max_words: int = MAX_WORDS,
    max_steps: int = MAX_STEPS,
    layouts: Path | None = None,
    number_by_place: bool = False,
    progress: bool = True,
) -> str:
    """Build the imdb of one split, unless ``target`` is up to date.

    Layouts are included when their file exists (in the folder ``layouts``, or else beside the
    questions), boxes where there are any in a split of CLEVR-Ref (its name begins with ``loc_``).
    With ``number_by_place`` a question's number is its place in the file, from 0, whatever its
    question_index. Returns a sentence on what was done. Raises
    ``DatasetError`` naming the file and question at fault, ``JsonStreamError``, ``ImdbError``.
    """
    questions_file = questions_path(data_dir, split)
    if layouts is not None and not layouts.is_dir():
        raise DatasetError(f"no folder {layouts}, which --layouts names")
    layouts_file = layouts_path(data_dir, split, layouts)
    if not layouts_file.is_file():
        layouts_file = None
    made_from = {
        "questions": _stamp(questions_file),
        "layouts": _stamp(layouts_file) if layouts_file else None,
        "max_words": max_words,
        "max_steps": max_steps,
        "number_by_place": number_by_place,
    }
    if _is_up_to_date(target, made_from):
        return f"{split}: {target} is up to date"

    writer = ImdbWriter(
        question_types=REFERRING_TYPES if is_loc(split) else QUESTION_TYPES,
        max_words=max_words,
        max_steps=max_steps if layouts_file else None,
    )
    encoder, facts = QuestionEncoder(), ProgramFacts()
    image_sizes = _ImageSizes(data_dir / "images" / split) if is_loc(split) else None
    source = JsonArray(questions_file, "questions")
    places: dict[int, int] = {}  # of the questions, by their numbers
    programs = 0
    with tqdm(
        total=source.size, desc=f"imdb of {split}", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        for position, (question, layout) in enumerate(with_layouts(source, layouts_file)):
            try:
                _check_types(question)
                number = position if number_by_place else _number(question, position, places)
                _add(writer, encoder, facts, image_sizes, question, number, layout)
                programs += question.get("program") is not None
            except KeyError as error:
                raise DatasetError(
                    f"{questions_file}: question {position} has no {error}"
                ) from None
            except (ValueError, TypeError, OverflowError) as error:
                text = question.get("question") if isinstance(question, dict) else question
                raise DatasetError(
                    f"{questions_file}: question {position} ({shown(repr(text))}): {error}"
                ) from None
            if position % _REFRESH_EVERY == 0:
                bar.update(source.position - bar.n)
        bar.update(source.position - bar.n)
    writer.save(target, made_from=made_from)
    without = ""
    if not layouts_file:
        without = "; without layouts, as it has no programs"
        if programs:
            without = "; no layouts: get_ground_truth_layout.py makes them"
    return f"{split}: wrote {len(writer)} questions to {target}{without}"


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument(
        "--out",
        type=home_path,
        default=DEFAULT_OUT,
        help="folder for imdb_<split>.h5 (default: %(default)s)",
    )
    parser.add_argument(
        "--layouts",
        type=home_path,
        metavar="FOLDER",
        help="folder of the layouts, get_ground_truth_layout.py's --out "
        "(default: that of the questions)",
    )
    parser.add_argument(
        "--number-by-place",
        action="store_true",
        help="number questions by their places in the file, where several have one question_index",
    )
    parser.add_argument(
        "--max-words",
        type=int,
        default=MAX_WORDS,
        help="longest question allowed, in words and marks (default: %(default)s)",
    )
    parser.add_argument(
        "--max-steps",
        type=int,
        default=MAX_STEPS,
        help="steps of a layout, the model's MODEL.T_CTRL (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        root, splits = read_options(options)
        for split in splits:
            target = options.out / f"imdb_{split}.h5"
            with lock_file(target):
                done = build_imdb(
                    root,
                    split,
                    target,
                    max_words=options.max_words,
                    max_steps=options.max_steps,
                    layouts=options.layouts,
                    number_by_place=options.number_by_place,
                )
            print(done)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
