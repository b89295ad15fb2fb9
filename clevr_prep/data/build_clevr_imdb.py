"""Turn the questions of a CLEVR-format dataset into imdb files, one per split.

    cd clevr_prep/data; python build_clevr_imdb.py

Reads ``ROOT/questions/CLEVR_<split>_questions.json`` and, where ``get_ground_truth_layout.py``
has written it, ``CLEVR_<split>_layouts.json``; writes ``imdb_<split>.h5`` (see ``snmn/imdb.py``).
A file that is up to date is left as it is.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # run as a script, from whatever folder

from clevr_prep.data.get_ground_truth_layout import DatasetError, find_splits  # noqa: E402
from clevr_prep.encoding import ProgramFacts, QuestionEncoder  # noqa: E402
from clevr_prep.json_stream import JsonArray, JsonStreamError  # noqa: E402
from clevr_prep.layouts import expert_layout  # noqa: E402
from clevr_prep.synthetic.programs import QUESTION_TYPES  # noqa: E402
from snmn.imdb import Imdb, ImdbError  # noqa: E402
from snmn.imdb_writer import ImdbWriter  # noqa: E402
from snmn.vocabulary import ANSWER_INDEX, MODULE_INDEX  # noqa: E402

DEFAULT_ROOT = REPOSITORY / "clevr_prep" / "clevr_dataset"
DEFAULT_OUT = REPOSITORY / "clevr_prep" / "data" / "imdb"
MAX_WORDS = 45
MAX_STEPS = 9

# Layouts come from a file of their own; one in so many is checked against its program, so that a
# file that was made for other questions is noticed.
_CHECK_EVERY = 100
_REFRESH_EVERY = 1000


def _with_layouts(
    source: JsonArray, layouts_file: Path | None
) -> Iterator[tuple[dict, list | None]]:
    """Each question with its layout, None when there is no layouts file."""
    if layouts_file is None:
        yield from ((question, None) for question in source)
        return
    missing = object()
    layouts = iter(JsonArray(layouts_file, "layouts"))
    mismatch = DatasetError(
        f"{layouts_file} was made for other questions; run get_ground_truth_layout.py again"
    )
    for position, question in enumerate(source):
        layout = next(layouts, missing)
        if layout is missing:
            raise mismatch
        if position % _CHECK_EVERY == 0 and layout != expert_layout(question["program"]):
            raise mismatch
        yield question, layout
    if next(layouts, missing) is not missing:
        raise mismatch


def _add(writer: ImdbWriter, encoder, facts, question: dict, position: int, layout) -> None:
    answer = question.get("answer")
    if answer is not None and answer not in ANSWER_INDEX:
        raise ValueError(f"unknown answer {answer!r}")
    program = question.get("program")
    kind, depth = facts(program) if program else (None, None)
    writer.add(
        words=encoder(question["question"]),
        filename=question["image_filename"],
        question_index=question.get("question_index", position),
        answer=-1 if answer is None else ANSWER_INDEX[answer],
        layout=None if layout is None else [MODULE_INDEX[module] for module in layout],
        question_type=kind,
        hops=depth,
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
    progress: bool = True,
) -> str:
    """Build the imdb of one split, unless ``target`` is up to date.

    Layouts are included when their file exists. Returns a sentence on what was done. Raises
    ``DatasetError`` naming the file and question at fault, ``JsonStreamError``, ``ImdbError``.
    """
    questions_file = data_dir / "questions" / f"CLEVR_{split}_questions.json"
    if not questions_file.is_file():
        raise DatasetError(f"no such file: {questions_file}")
    layouts_file = questions_file.with_name(f"CLEVR_{split}_layouts.json")
    if not layouts_file.is_file():
        layouts_file = None
    made_from = {
        "questions": _stamp(questions_file),
        "layouts": _stamp(layouts_file) if layouts_file else None,
        "max_words": max_words,
        "max_steps": max_steps,
    }
    if _is_up_to_date(target, made_from):
        return f"{split}: {target} is up to date"

    writer = ImdbWriter(
        question_types=QUESTION_TYPES,
        max_words=max_words,
        max_steps=max_steps if layouts_file else None,
    )
    encoder, facts = QuestionEncoder(), ProgramFacts()
    source = JsonArray(questions_file, "questions")
    with tqdm(
        total=source.size, desc=f"imdb of {split}", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        for position, (question, layout) in enumerate(_with_layouts(source, layouts_file)):
            try:
                _add(writer, encoder, facts, question, position, layout)
            except KeyError as error:
                raise DatasetError(
                    f"{questions_file}: question {position} has no {error}"
                ) from None
            except (ValueError, TypeError) as error:
                text = question.get("question") if isinstance(question, dict) else question
                raise DatasetError(
                    f"{questions_file}: question {position} ({text!r}): {error}"
                ) from None
            if position % _REFRESH_EVERY == 0:
                bar.update(source.position - bar.n)
        bar.update(source.position - bar.n)
    writer.save(target, made_from=made_from)
    without = "" if layouts_file else "; no layouts: get_ground_truth_layout.py makes them"
    return f"{split}: wrote {len(writer)} questions to {target}{without}"


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_ROOT,
        help="dataset root, with a questions folder (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        help="folder for imdb_<split>.h5 (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        help="splits to do (default: every split with a questions file)",
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
        for split in options.split or find_splits(options.data_dir):
            print(
                build_imdb(
                    options.data_dir,
                    split,
                    options.out / f"imdb_{split}.h5",
                    max_words=options.max_words,
                    max_steps=options.max_steps,
                )
            )
    except (DatasetError, JsonStreamError, ImdbError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
