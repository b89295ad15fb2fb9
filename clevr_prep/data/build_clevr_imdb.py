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
from clevr_prep.clevr.question_files import (  # noqa: E402
    DatasetError,
    add_options,
    is_loc,
    layouts_path,
    questions_path,
    read_options,
)
from clevr_prep.data.imdb_rows import ImageSizes, RowWriter  # noqa: E402
from clevr_prep.data.layouts_file import with_layouts  # noqa: E402
from snmn.common.errors import shown  # noqa: E402
from snmn.common.paths import home_path  # noqa: E402
from snmn.data.imdb import Imdb, ImdbError  # noqa: E402
from snmn.data.imdb_writer import ImdbWriter  # noqa: E402
from snmn.storage.locks import lock_file  # noqa: E402

DEFAULT_OUT = REPOSITORY / "clevr_prep" / "data" / "imdb"
MAX_WORDS = 45
MAX_STEPS = 9

_REFRESH_EVERY = 1000


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
    image_sizes = ImageSizes(data_dir / "images" / split) if is_loc(split) else None
    rows = RowWriter(writer, image_sizes=image_sizes, number_by_place=number_by_place)
    source = JsonArray(questions_file, "questions")
    with tqdm(
        total=source.size, desc=f"imdb of {split}", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        for position, (question, layout) in enumerate(with_layouts(source, layouts_file)):
            try:
                rows.add(position, question, layout)
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
        if rows.programs:
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
