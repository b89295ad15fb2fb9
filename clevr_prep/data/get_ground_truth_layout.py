"""Write the expert layout of every question of a CLEVR-format dataset.

    cd clevr_prep/data; python get_ground_truth_layout.py

For each split whose questions come with programs, ``ROOT/questions/CLEVR_<split>_layouts.json``
is written: {"info": {...}, "layouts": [[module names], ...]}, in the order of the questions
file. ``build_clevr_imdb.py`` reads it.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # run as a script, from whatever folder

from clevr_prep.layouts import expert_layout  # noqa: E402
from clevr_prep.synthetic.programs import ProgramError  # noqa: E402

DEFAULT_ROOT = REPOSITORY / "clevr_prep" / "clevr_dataset"


class DatasetError(ValueError):
    """The dataset folder is not laid out as CLEVR is."""


def find_splits(root: Path) -> list[str]:
    """Names of the splits that have a questions file, sorted. Raises ``DatasetError`` if none."""
    prefix, suffix = "CLEVR_", "_questions.json"
    files = sorted((root / "questions").glob(f"{prefix}*{suffix}"))
    if not files:
        raise DatasetError(f"no {prefix}<split>{suffix} in {root / 'questions'}")
    return [file.name[len(prefix) : -len(suffix)] for file in files]


def write_layouts(root: Path, split: str) -> Path | None:
    """Write one split's layouts file and return its path; None if the split has no programs.

    Raises ``DatasetError`` naming the file, and the question where one is at fault.
    """
    source = root / "questions" / f"CLEVR_{split}_questions.json"
    try:
        questions = json.loads(source.read_text())["questions"]
    except FileNotFoundError:
        raise DatasetError(f"no such file: {source}") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{source} is not a CLEVR questions file: {error}") from None
    if not any("program" in question for question in questions):
        return None

    layouts = []
    for position, question in enumerate(tqdm(questions, desc=f"layouts of {split}", unit="q")):
        try:
            layouts.append(expert_layout(question["program"]))
        except KeyError:
            raise DatasetError(f"{source}: question {position} has no program") from None
        except ProgramError as error:
            raise DatasetError(f"{source}: question {position}: {error}") from None

    target = source.with_name(f"CLEVR_{split}_layouts.json")
    info = {
        "split": split,
        "questions_file": source.name,
        "count": len(layouts),
        "longest": max(map(len, layouts)),
    }
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps({"info": info, "layouts": layouts}))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_ROOT,
        help="dataset root, with a questions folder (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        help="splits to do (default: every split with a questions file)",
    )
    options = parser.parse_args(arguments)
    try:
        for split in options.split or find_splits(options.data_dir):
            target = write_layouts(options.data_dir, split)
            if target is None:
                print(f"{split}: its questions have no programs, so no layouts; skipped")
            else:
                print(f"{split}: wrote {target}")
    except (DatasetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
