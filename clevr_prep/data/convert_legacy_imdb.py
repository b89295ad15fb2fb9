"""Turn an imdb_<split>.npy of the earlier SNMN codebases into an imdb of this project.

    python clevr_prep/data/convert_legacy_imdb.py imdb_train.npy imdb_train.h5 --allow-pickle

Such a file is a pickle, which can run code when it is opened. So it is opened only with
--allow-pickle, and then by a reader that makes plain values and arrays and nothing else. The
questions of CLEVR themselves are better had from its JSON files, with build_clevr_imdb.py: what the
old files lack, question types and hops, is then known too.

Its questions are numbered by their places. Layouts are as the earlier codebases read them: each
_Filter that follows _Find or another _Filter is left out.
"""

import argparse
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # This file is also run as a script, from its own folder.

from clevr_prep.clevr.expert_layouts import merge_filters  # noqa: E402
from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES  # noqa: E402
from clevr_prep.clevr.question_encoding import QuestionEncoder  # noqa: E402
from clevr_prep.clevr.question_files import is_loc  # noqa: E402
from clevr_prep.clevr.question_values import fit_box, read_answer  # noqa: E402
from snmn.common.errors import UserError  # noqa: E402
from snmn.common.paths import home_path  # noqa: E402
from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX  # noqa: E402
from snmn.data.imdb import ImdbError  # noqa: E402
from snmn.data.imdb_writer import ImdbWriter  # noqa: E402
from snmn.storage.locks import lock_file  # noqa: E402

MAX_WORDS = 45
MAX_STEPS = 9
IMAGE_SIZE = (480, 320)  # pixels, of all images of CLEVR and CLEVR-Ref; the old files lack it


# What pickles of plain values and arrays name; numpy 2 says numpy._core for numpy.core.
_NAMED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Makes plain values and arrays; whatever else a pickle names is refused, not run."""

    def find_class(self, module: str, name: str) -> object:
        if (module.replace("numpy._core", "numpy.core"), name) not in _NAMED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which no imdb has")
        return super().find_class(module, name)


def read_pickled(path: Path, *, allow_pickle: bool) -> list[Mapping]:
    """The entries of a pickled imdb, without running code that the file brings along.

    Raises ImdbError when that is not allowed, or the file is no pickled imdb.
    """
    if not allow_pickle:
        raise ImdbError(
            f"{path} is a pickle, which can hold code: give --allow-pickle if you trust who made "
            "it, or make an imdb from CLEVR's JSON files with build_clevr_imdb.py"
        )
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"a .npy file of version {version}")
            _, _, dtype = np.lib.format.read_array_header_1_0(file)
            entries = _PlainUnpickler(file).load() if dtype.hasobject else None
    except Exception as error:  # A pickle can fail in any way.
        raise ImdbError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    entries = entries.tolist() if isinstance(entries, np.ndarray) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ImdbError(f"{path} is not a pickled imdb, which is a list of one dict a question")
    return entries


def _plain(value: object) -> object:
    """A number, or numbers in a list or an array, as Python's own."""
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _add(
    writer: ImdbWriter, encoder: QuestionEncoder, entry: Mapping, position: int, *, loc: bool
) -> None:
    text = entry.get("question_str") or " ".join(entry["question_tokens"])
    # Paths of the machine that made the file may have either kind of slash.
    name = PurePath(str(entry.get("image_path") or entry["image_name"]).replace("\\", "/")).name
    # What expressions have for an answer is the result of a program, not one of the answers.
    answer = None if loc else read_answer(_plain(entry.get("answer")))
    layout, box = entry.get("gt_layout_tokens"), _plain(entry.get("bbox"))
    for module in () if layout is None else layout:
        if module not in MODULE_INDEX:
            raise ValueError(f"unknown {module!r}")
    writer.add(
        words=encoder(text),
        filename=name if PurePath(name).suffix else name + ".png",
        question_index=position,
        answer=-1 if answer is None else ANSWER_INDEX[answer],
        layout=None if layout is None else [MODULE_INDEX[name] for name in merge_filters(layout)],
        box=fit_box(box, IMAGE_SIZE) if loc and box is not None else None,
        image_size=IMAGE_SIZE if loc else None,
    )


def convert(
    source: Path, target: Path, *, allow_pickle: bool = False, max_steps: int = MAX_STEPS
) -> int:
    """Write the imdb ``target`` with layouts of ``max_steps``; returns the number of questions.

    Raises ImdbError naming the file, and the question where one is at fault.
    """
    entries = read_pickled(source, allow_pickle=allow_pickle)
    first = entries[0] if entries else {}
    # A test split of expressions may have no boxes; its name tells.
    loc = is_loc(source.stem.removeprefix("imdb_")) or any(
        entry.get("bbox") is not None for entry in entries
    )
    writer = ImdbWriter(
        question_types=REFERRING_TYPES if loc else QUESTION_TYPES,
        max_words=MAX_WORDS,
        max_steps=None if first.get("gt_layout_tokens") is None else max_steps,
    )
    encoder = QuestionEncoder()
    for position, entry in enumerate(tqdm(entries, desc=source.name, unit="q")):
        try:
            _add(writer, encoder, entry, position, loc=loc)
        except KeyError as error:
            raise ImdbError(f"{source}: question {position} has no {error}") from None
        except (ValueError, TypeError) as error:
            text = entry.get("question_str") or entry.get("question_tokens")
            raise ImdbError(f"{source}: question {position} ({text!r}): {error}") from None
    made_from = {"questions": {"file": source.name}, "number_by_place": True}
    writer.save(target, made_from=made_from)
    return len(writer)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=home_path, help="imdb_<split>.npy")
    parser.add_argument("target", type=home_path, help="imdb to write, imdb_<split>.h5")
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="open the file although it is a pickle; for files of makers you trust",
    )
    parser.add_argument(
        "--max-steps",
        type=int,
        default=MAX_STEPS,
        help="steps of a layout, the model's MODEL.T_CTRL (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    try:
        with lock_file(args.target):
            count = convert(
                args.source,
                args.target,
                allow_pickle=args.allow_pickle,
                max_steps=args.max_steps,
            )
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {count} questions to {args.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
