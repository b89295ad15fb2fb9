"""Images through a backbone into a feature store, in a way that any interruption leaves whole."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from clevr_prep.data.images import ImageFiles
from clevr_prep.workers import end_with_parent
from snmn.backbones import BACKBONES, Backbone, BackboneError
from snmn.data.feature_writer import DEFAULT_SHARD_SIZE, FeatureWriter

PRECISIONS = ("float32", "bfloat16")


def grouped(
    loader: Iterable, writer: FeatureWriter, batch_size: int, failures: list[str], bar: tqdm
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Batches (names, pixels) of the usable images; sentences on the others go to ``failures``.

    A batch never spans two shards, so that a shard's bytes do not depend on where a run began.
    """
    names: list[str] = []
    images: list[np.ndarray] = []
    for path, pixels, failure in loader:
        if pixels is None:
            failures.append(f"{path} {failure}")
            bar.update(1)
            continue
        names.append(path.name)
        images.append(pixels)
        if len(names) == min(batch_size, writer.room):
            yield names, images
            names, images = [], []
    if names:
        yield names, images


def _as_it_is(item):
    """Keeps the loader from making each image a tensor with a file of shared memory of its own."""
    return item


def _begin_worker(number: int) -> None:
    # Left alone after a kill, a worker would wait for ever to hand over its images.
    end_with_parent()


def extract(
    backbone: Backbone,
    images: Sequence[Path],
    folder: Path,
    failures: list[str],
    *,
    device: torch.device,
    precision: str = "float32",
    size: tuple[int, int] | None = None,
    batch_size: int = 32,
    workers: int = 1,
    dtype: str = "float16",
    compression: str = "none",
    shard_size: int = DEFAULT_SHARD_SIZE,
    title: str = "",
) -> None:
    """Add the features of images that a store lacks.

    Args:
        backbone: on ``device``.
        images: image files, in the order to store them.
        folder: feature store.
        failures: gets a sentence on each image that is left out.
        device: where the backbone runs.
        precision: of its convolutions, float32 or bfloat16.
        size: (width, height) in pixels that images must have; None for any.
        batch_size: images at a time.
        workers: decoding processes; 0 decodes in this one.
        dtype, compression, shard_size: of the store, see ``FeatureWriter``.
        title: name on the progress bar.

    Raises:
        FeatureStoreError: the folder cannot be written, or has features made otherwise.
    """
    with FeatureWriter(
        folder,
        attributes=backbone.attributes,
        dtype=dtype,
        compression=compression,
        shard_size=shard_size,
    ) as writer:
        missing = [path for path in images if path.name not in writer.done]
        _warn_if_short_of_disk(folder, backbone, len(missing), np.dtype(dtype).itemsize)
        loader = DataLoader(
            ImageFiles(missing, backbone.image_size, expected=size),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 * batch_size if workers else None,
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
        )
        cast = partial(torch.autocast, device.type, torch.bfloat16)
        done = len(images) - len(missing)
        with tqdm(
            total=len(images), initial=done, desc=title, unit="image", dynamic_ncols=True
        ) as bar:
            for names, pixels in grouped(loader, writer, batch_size, failures, bar):
                inputs = backbone.normalise(torch.from_numpy(np.stack(pixels)).to(device))
                with cast() if precision == "bfloat16" else nullcontext():
                    features = backbone(inputs)
                writer.add(names, features.to(getattr(torch, dtype)).cpu().numpy())
                bar.update(len(names))


def _warn_if_short_of_disk(folder: Path, backbone: Backbone, images: int, itemsize: int) -> None:
    entry = BACKBONES[backbone.attributes["backbone"]]
    need = images * entry.dim * entry.grid[0] * entry.grid[1] * itemsize
    free = shutil.disk_usage(folder).free
    if need > free:
        print(
            f"warning: {folder} will need {need / 2**30:.1f} GiB uncompressed, "
            f"{free / 2**30:.1f} GiB are free",
            file=sys.stderr,
        )


def pick_device(name: str) -> torch.device:
    """Device by name; auto is CUDA, Apple's MPS or the CPU, whichever is there first.

    BackboneError for a device that this machine or torch does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"device {name!r} cannot be used: {reason}") from error
