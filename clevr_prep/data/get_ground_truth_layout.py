"""Write the expert layout of every question of a CLEVR-format dataset.

    cd clevr_prep/data; python get_ground_truth_layout.py
    cd clevr_prep/data; python get_ground_truth_layout.py --loc

For each split whose questions come with programs, ``ROOT/questions/CLEVR_<split>_layouts.json``
is written: {"layouts": [[module names], ...], "info": {...}}, in the order of the questions
file. ``build_clevr_imdb.py`` reads it. ``--loc`` takes the referring expressions of CLEVR-Ref.
``--out`` writes to a folder of its own, for a dataset that cannot be written to.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # run as a script, from whatever folder

from clevr_prep.clevr.expert_layouts import expert_layout  # noqa: E402
from clevr_prep.clevr.json_stream import JsonArray  # noqa: E402
from clevr_prep.clevr.programs import ProgramError  # noqa: E402
from clevr_prep.clevr.question_files import (  # noqa: E402
    DatasetError,
    add_options,
    layouts_path,
    questions_path,
    read_options,
)
from snmn.common.errors import UserError  # noqa: E402
from snmn.common.paths import home_path  # noqa: E402
from snmn.storage.locks import LockedError, lock_file  # noqa: E402
from snmn.storage.whole_files import partial_path, put_in_place  # noqa: E402

_REFRESH_EVERY = 1000


def write_layouts(root: Path, split: str, out: Path | None = None) -> Path | None:
    """Write one split's layouts file and return its path; None if the split has no programs.

    ``out`` is the file's folder, that of the questions if none is given. Raises ``DatasetError``
    naming the file, and the question where one is at fault; ``JsonStreamError`` for a file that is
    not one of questions.
    """
    source = questions_path(root, split)
    target = layouts_path(root, split, out)
    try:
        with partial_path(target).open("w") as file:
            info = _write(JsonArray(source, "questions"), file, split)
        if not info["count"]:
            return None
        put_in_place(target)
    except OSError as error:
        raise DatasetError(f"cannot make {target} of {source.name} ({error})") from error
    finally:
        partial_path(target).unlink(missing_ok=True)
    return target


def _write(questions: JsonArray, file, split: str) -> dict:
    """Write the layouts of all questions to an open file; returns what was said of them."""
    count, longest, without = 0, 0, None
    file.write('{"layouts": [')
    with tqdm(total=questions.size, desc=f"layouts of {split}", unit="B", unit_scale=True) as bar:
        for position, question in enumerate(questions):
            if position % _REFRESH_EVERY == 0:
                bar.update(questions.position - bar.n)
            if not isinstance(question, dict):
                raise DatasetError(f"{questions.path}: question {position} is not an object")
            if question.get("program") is None:
                without = position if without is None else without
            else:
                try:
                    layout = expert_layout(question["program"])
                except ProgramError as error:
                    raise DatasetError(f"{questions.path}: question {position}: {error}") from None
                file.write((",\n" if count else "\n") + json.dumps(layout))
                count, longest = count + 1, max(longest, len(layout))
            if count and without is not None:
                raise DatasetError(f"{questions.path}: question {without} has no program")
        bar.update(questions.position - bar.n)
    info = {
        "split": split,
        "questions_file": questions.path.name,
        "count": count,
        "longest": longest,
    }
    file.write(f'\n], "info": {json.dumps(info)}}}\n')
    return info


def _write_locked(root: Path, split: str, out: Path | None) -> Path | None:
    """`write_layouts` as the only writer of the file."""
    questions_path(root, split)  # Without it nothing is locked, nor a folder made.
    target = layouts_path(root, split, out)
    try:
        with lock_file(target):
            return write_layouts(root, split, out)
    except LockedError:
        raise
    except OSError as error:
        raise DatasetError(f"cannot make {target} ({error}); --out names another folder") from error


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument(
        "--out",
        type=home_path,
        help="folder for the layouts, which build_clevr_imdb.py --layouts reads "
        "(default: that of the questions)",
    )
    options = parser.parse_args(arguments)
    try:
        root, splits = read_options(options)
        for split in splits:
            target = _write_locked(root, split, options.out)
            if target is None:
                print(f"{split}: its questions have no programs, so no layouts; skipped")
            else:
                read = f"; build_clevr_imdb.py --layouts {options.out} reads it"
                print(f"{split}: wrote {target}{read if options.out else ''}")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
