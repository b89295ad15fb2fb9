"""Bring image features of the earlier SNMN codebases into feature stores.

    python clevr_prep/data/import_features.py FOLDER

FOLDER holds .npy files, one per image, or one folder of them per split. They go to
OUT/<split>/shard-*.h5, number for number unless --dtype says otherwise. (Training also reads such
folders as they are; a store is quicker to read and, as float16, half as large.) What a run has
finished is not done again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # This file is also run as a script, from its own folder.

from clevr_prep.data.sample_majority import usual  # noqa: E402
from snmn.common.errors import UserError  # noqa: E402
from snmn.common.paths import home_path, is_hidden  # noqa: E402
from snmn.data.feature_npy import (  # noqa: E402
    ATTRIBUTES,
    channels_hint,
    image_name,
    npy_names,
    read_npy,
)
from snmn.data.feature_shards import COMPRESSIONS, FeatureStoreError  # noqa: E402
from snmn.data.feature_writer import DEFAULT_SHARD_SIZE, DTYPES, FeatureWriter  # noqa: E402

DEFAULT_OUT = ROOT / "clevr_prep" / "data" / "features" / ATTRIBUTES["backbone"]


def find_folders(source: Path) -> list[Path]:
    """Folders with .npy files: the source itself, or those in it. FeatureStoreError if none."""
    if not source.is_dir():
        raise FeatureStoreError(f"no such folder: {source}")
    source = source.resolve()  # "." has no name for the split.
    inner = [path for path in source.iterdir() if path.is_dir() and not is_hidden(path)]
    folders = [folder for folder in [source, *sorted(inner)] if npy_names(folder)]
    if not folders:
        raise FeatureStoreError(f"no .npy file in {source} or the folders in it")
    return folders


def _look(path: Path) -> tuple[tuple[int, ...], str] | None:
    try:
        features = read_npy(path)
    except FeatureStoreError:
        return None
    return features.shape, features.dtype.name


def import_folder(
    folder: Path,
    out: Path,
    *,
    dtype: str | None = None,
    compression: str = "none",
    shard_size: int = DEFAULT_SHARD_SIZE,
) -> tuple[int, list[str]]:
    """Add to the store ``out`` what it lacks of a folder of .npy files.

    Args:
        folder: the .npy files of one split.
        out: folder of the store.
        dtype: float16 or float32; None for that of the files.
        compression: of the store, see ``FeatureWriter``.
        shard_size: images per shard.

    Returns:
        Number of files, and a sentence on each that was left out: unreadable, or not of the shape
        and type that the others have.

    Raises:
        FeatureStoreError: no file is readable, or the store cannot be written or holds features
            made otherwise.
    """
    names = npy_names(folder)
    expected = usual([folder / name for name in names], _look)
    if expected is None:
        raise FeatureStoreError(f"no .npy file in {folder} holds features")
    if hint := channels_hint(expected[0]):
        raise FeatureStoreError(f"{folder} holds maps of shape {expected[0]}{hint}")
    failures = []
    with FeatureWriter(
        out,
        attributes=ATTRIBUTES,
        dtype=dtype or expected[1],
        compression=compression,
        shard_size=shard_size,
    ) as writer:
        missing = [name for name in names if image_name(name) not in writer.done]
        with tqdm(
            total=len(names), initial=len(names) - len(missing), desc=folder.name, unit="image"
        ) as bar:
            for name in missing:
                bar.update(1)
                try:
                    features = read_npy(folder / name)
                except FeatureStoreError as error:
                    failures.append(str(error))
                    continue
                found = features.shape, features.dtype.name
                if found != expected:
                    failures.append(
                        f"{folder / name} holds {found[1]} of shape {found[0]}, "
                        f"the others {expected[1]} of {expected[0]}"
                    )
                    continue
                writer.add([image_name(name)], features[None])
    return len(names), failures


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 1 when files were left out, 2 after an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=home_path, help="folder of .npy files, or of one such folder per split")
    add(
        "--out",
        type=home_path,
        default=DEFAULT_OUT,
        help="folder of the stores (default: %(default)s)",
    )
    add("--dtype", choices=DTYPES, help="stored as (default: as in the files)")
    add(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="zstd needs the package hdf5plugin (default: %(default)s)",
    )
    add(
        "--shard-size",
        type=int,
        default=DEFAULT_SHARD_SIZE,
        help="images per file; an interruption costs at most so many (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.shard_size < 1:
        parser.error("--shard-size must be at least 1")
    failures: list[str] = []
    status = 0
    try:
        for folder in find_folders(args.folder):
            count, failed = import_folder(
                folder,
                args.out / folder.name,
                dtype=args.dtype,
                compression=args.compression,
                shard_size=args.shard_size,
            )
            failures += failed
            print(
                f"{folder.name}: {count - len(failed)} of {count} images "
                f"in {args.out / folder.name}"
            )
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    for failure in failures:
        print(f"left out: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} files left out; mend them and run again", file=sys.stderr)
    return status or int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
