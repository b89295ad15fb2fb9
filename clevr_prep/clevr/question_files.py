"""Where the questions of a CLEVR or CLEVR-Ref dataset lie, and the options that say so."""

import argparse
from pathlib import Path

from snmn.common.errors import UserError
from snmn.common.paths import home_path

_CLEVR_PREP = Path(__file__).resolve().parents[1]
CLEVR_ROOT = _CLEVR_PREP / "clevr_dataset"
CLEVR_REF_ROOT = _CLEVR_PREP / "clevr_loc_dataset"

_LOC = "loc_"
_PREFIX, _SUFFIX = "CLEVR_", "_questions.json"


class DatasetError(UserError):
    """A dataset's folder does not hold what a command needs of it, or what it can build on."""


def is_loc(split: str) -> bool:
    """Whether a split holds referring expressions with boxes, as CLEVR-Ref's names tell."""
    return split.startswith(_LOC)


def questions_path(root: Path, split: str) -> Path:
    """The questions file of a split. Raises ``DatasetError`` when there is none."""
    path = root / "questions" / f"{_PREFIX}{split}{_SUFFIX}"
    if not path.is_file():
        raise DatasetError(f"no such file: {path}")
    return path


def layouts_path(root: Path, split: str, folder: Path | None = None) -> Path:
    """Where the expert layouts of a split's questions belong: beside them, or in a folder."""
    return (folder or root / "questions") / f"{_PREFIX}{split}_layouts.json"


def find_splits(root: Path, *, loc: bool = False) -> list[str]:
    """Names of the splits that have a questions file, sorted; those of CLEVR-Ref if ``loc``.

    Raises ``DatasetError`` when there are none.
    """
    files = sorted((root / "questions").glob(f"{_PREFIX}*{_SUFFIX}"))
    names = [file.name[len(_PREFIX) : -len(_SUFFIX)] for file in files]
    splits = [name for name in names if is_loc(name) == loc]
    if splits:
        return splits
    looked_for = f"{_PREFIX}{_LOC if loc else ''}<split>{_SUFFIX} in {root / 'questions'}"
    if names:
        other = "leave out --loc for" if loc else "--loc takes"
        raise DatasetError(f"no {looked_for}; {other} {', '.join(names)}")
    raise DatasetError(f"no {looked_for}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options --loc, --data-dir and --split; ``read_options`` reads them."""
    parser.add_argument(
        "--loc",
        action="store_true",
        help="referring expressions with boxes (CLEVR-Ref) instead of questions",
    )
    parser.add_argument(
        "--data-dir",
        type=home_path,
        help="dataset root, with a questions folder "
        f"(default: {CLEVR_ROOT}, with --loc {CLEVR_REF_ROOT})",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        action="extend",
        help="splits to do (default: every split with a questions file)",
    )


def read_options(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """Dataset root and names of the splits that a command line asks for."""
    root = options.data_dir or (CLEVR_REF_ROOT if options.loc else CLEVR_ROOT)
    return root, list(dict.fromkeys(options.split or find_splits(root, loc=options.loc)))
