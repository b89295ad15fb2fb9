"""Bytes that change on disk: never other data, never anything but the error that names the file."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from snmn.checkpoints.checkpoint import read_checkpoint, save_model
from snmn.checkpoints.checks import CheckpointError
from snmn.data.feature_shards import FeatureStoreError
from snmn.data.feature_store import FeatureStore
from snmn.data.feature_writer import FeatureWriter
from snmn.data.imdb import COLUMNS, Imdb, ImdbError
from snmn.data.imdb_writer import ImdbWriter
from snmn.network.model import build_model
from tests.helpers.tiny.dataset import ATTRIBUTES, image_name

TRIES = 150


def write_shard(path: Path, **options) -> None:
    maps = np.random.default_rng(0).random((5, 3, 4, 6))
    with FeatureWriter(path.parent, attributes=ATTRIBUTES, shard_size=8, **options) as writer:
        writer.add([image_name(image) for image in range(5)], maps)


def read_shard(path: Path) -> list:
    store = FeatureStore(path.parent)
    maps = []
    for index, name in enumerate(store.filenames):
        try:
            maps.append(store.read([index]))
        except FeatureStoreError as error:
            assert name in str(error)  # of the image
            raise
        finally:
            store.close()
    return [maps, store.filenames, store.attributes]


def write_imdb(path: Path) -> None:
    writer = ImdbWriter(question_types=["exist", "locate"], max_words=9, max_steps=4)
    rng = np.random.default_rng(0)
    for number in range(12):
        writer.add(
            words=rng.integers(1, 50, rng.integers(1, 9)).tolist(),
            filename=image_name(number // 2),
            question_index=number,
            layout=rng.integers(0, 9, 4).tolist(),
            question_type="locate",
            hops=number % 3,
            box=rng.integers(1, 50, 4).tolist(),
            image_size=(200, 150),
        )
    writer.save(path, made_from={"questions": "made up"})


def read_imdb(path: Path) -> list:
    imdb = Imdb(path)
    columns = [getattr(imdb, name).copy() for name in COLUMNS]
    return [columns, imdb.filenames, imdb.question_types, imdb.made_from]


def write_checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    arguments = {"lstm_dim": 2, "kb_dim": 2, "feature_dim": 2, "embed_dim": 2, "pe_dim": 4}
    arguments |= {"memory_dim": 2, "answer_hidden_dim": 2, "height": 2, "width": 2}
    save_model(path, build_model(**arguments), arguments=arguments)


KINDS = {
    "feature shard": ("shard-00000.h5", write_shard, read_shard, FeatureStoreError),
    "imdb": ("imdb_val.h5", write_imdb, read_imdb, ImdbError),
    "checkpoint": ("last.ckpt", write_checkpoint, read_checkpoint, CheckpointError),
}
SEES = {
    "feature shard": "the command names the shard and, where it is one's map, the image",
    "imdb": "the command names the imdb and, where it is one, the column",
    "checkpoint": "the command names the checkpoint",
}
OFTEN = pytest.mark.parametrize("kind", KINDS)


def flips(content: bytes) -> Iterator[bytes]:
    """The content with one byte changed, at places drawn from all of it."""
    chance = random.Random(0)
    for _ in range(TRIES):
        place = chance.randrange(len(content))
        changed = bytes([content[place] ^ chance.randrange(1, 256)])
        yield content[:place] + changed + content[place + 1 :]


def cuts(content: bytes) -> Iterator[bytes]:
    """The content without its tail, of lengths from nothing to a byte too few."""
    chance = random.Random(0)
    for length in (0, 1, len(content) - 1, *(chance.randrange(len(content)) for _ in range(50))):
        yield content[:length]


def survive(row, kind: str, folder: Path, damage: Callable, **options) -> int:
    """Read a file damaged in every way; returns how often it was refused.

    What is not refused has to be what was written, which it can be where a byte means nothing.
    """
    name, write, read, error = KINDS[kind]
    (folder / "whole").mkdir()
    whole = folder / "whole" / name
    write(whole, **options)
    expected, refused = read(whole), 0
    for number, content in enumerate(damage(whole.read_bytes())):
        # HDF5 knows open files by their inode: each has a folder of its own.
        damaged = folder / str(number) / name
        damaged.parent.mkdir()
        damaged.write_bytes(content)
        with row.attempt():
            try:
                found = read(damaged)
            except error as told:
                assert str(damaged) in str(told) and "\n" not in str(told)
                refused += 1
            else:
                assert same(found, expected)
    return refused


def same(found, expected) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            same(found[key], expected[key]) for key in expected
        )
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return type(found) is type(expected) and found == expected


@pytest.mark.slow
@OFTEN
def test_a_changed_byte_is_refused_or_means_nothing(kind, tmp_path, reliability):
    row = reliability(
        f"Byte changed in a {kind}" if kind != "imdb" else "Byte changed in an imdb",
        caused=f"one byte of the file, {TRIES} places drawn from all of it",
        sees=SEES[kind],
    )
    # Archives are padded, so that tensors lie at round addresses; HDF5 has few idle bytes.
    assert survive(row, kind, tmp_path, flips) > TRIES * (0.3 if kind == "checkpoint" else 0.8)


def test_a_changed_byte_in_a_compressed_shard_is_refused(tmp_path, reliability):
    row = reliability(
        "Byte changed in a compressed feature shard",
        caused=f"one byte of the file, {TRIES} places drawn from all of it",
        sees=SEES["feature shard"],
    )
    assert survive(row, "feature shard", tmp_path, flips, compression="zstd") > TRIES * 0.9


@OFTEN
def test_a_missing_tail_is_refused(kind, tmp_path, reliability):
    row = reliability(
        f"Tail missing of a {kind}" if kind != "imdb" else "Tail missing of an imdb",
        caused="cut at 53 places, from its first byte to its last",
        sees=SEES[kind],
    )
    assert survive(row, kind, tmp_path, cuts) == 53
