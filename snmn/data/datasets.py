"""Datasets that give whole batches, as an order asks for them.

All chance is derived from (seed, step, image), so a batch is the same whatever the number of
workers, and training can be resumed at any step without replaying what came before.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset

from snmn.common.errors import UserError
from snmn.common.paths import name_but_suffix
from snmn.data.batch import Batch
from snmn.data.batch_orders import Request
from snmn.data.feature_store import FeatureStore
from snmn.data.imdb import Imdb
from snmn.data.question_sources import EncodedQuestions, QuestionSource
from snmn.data.shares import LayoutShare

# Tells these random numbers from those of `snmn.data.batch_orders`, which have the same seed.
_DRAW = 1


class DataError(UserError):
    """Questions and features do not fit together; the message is fit for a user."""


def _suffix_hint(missing: Sequence[str], known: Iterable[str]) -> str:
    other = name_but_suffix(missing[0], known)
    if other is None:
        return ""
    return (
        f"; it has {other}, though: let image_filename end like that in the dataset's JSON files, "
        "and build the imdb again"
    )


class ImageFeatures:
    """The features of a source's images, by the source's image index.

    Args:
        store: the feature store.
        filenames: the source's image file names.
        images: indices of those that are going to be read.
        questions_name: what to call the source in an error.

    Raises ``DataError`` when the store lacks one of them.
    """

    def __init__(
        self, store: FeatureStore, *, filenames: list[str], images: np.ndarray, questions_name: str
    ):
        self._store = store
        known = {name: position for position, name in enumerate(store.filenames)}
        self._position = np.full(len(filenames), -1, dtype=np.int64)
        missing = []
        for image in images.tolist():
            self._position[image] = known.get(filenames[image], -1)
            if self._position[image] < 0:
                missing.append(filenames[image])
        if missing:
            raise DataError(
                f"{store.folder} has no features of {len(missing)} of the {len(images)} images in "
                f"{questions_name}: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}; "
                f"make them with clevr_prep/data/extract_resnet101_c4.py "
                f"--split {store.folder.name} (backbone {store.attributes['backbone']})"
                + _suffix_hint(missing, known)
            )

    def read(self, images: np.ndarray) -> np.ndarray:
        """Features [I, H, W, D] of the images [I], in the store's dtype."""
        return self._store.read(self._position[images])


class StoredBatches(Dataset):
    """Batches of given imdb rows: a request's ``items`` are rows [I, k], or [N] for k = 1.

    The rows of one line belong to one image, whose features are read once. ``layouts`` says which
    questions have a layout, None: all.
    """

    def __init__(
        self, imdb: Imdb, store: FeatureStore, *, steps: int, layouts: LayoutShare | None = None
    ):
        self._imdb = imdb
        self._steps = steps
        self._layouts = layouts
        self._features = ImageFeatures(
            store,
            filenames=imdb.filenames,
            images=np.unique(imdb.image),
            questions_name=imdb.path.name,
        )

    def __getitem__(self, request: Request) -> Batch:
        rows = request.items.reshape(len(request.items), -1)
        images = self._imdb.image[rows[:, 0]]
        questions = self._imdb.take(rows.ravel())
        if self._layouts is not None:
            questions = self._layouts(questions)
        return Batch.collate(questions, images, self._features.read(images), self._steps)


class DrawnBatches(Dataset):
    """Batches of questions drawn from a source: a request's ``items`` are images [I].

    Args:
        source: where the questions come from.
        store: features of its images.
        count: k, questions drawn for each image.
        seed: the run's seed.
        steps: T of the layouts.
        layouts: which questions have a layout; None: all.
    """

    def __init__(
        self,
        source: QuestionSource,
        store: FeatureStore,
        *,
        count: int,
        seed: int,
        steps: int,
        layouts: LayoutShare | None = None,
    ):
        self._layouts = layouts
        self._source = source
        self._count = count
        self._seed = seed
        self._steps = steps
        self._features = ImageFeatures(
            store,
            filenames=source.filenames,
            images=source.images,
            questions_name="the training questions",
        )

    def __getitem__(self, request: Request) -> Batch:
        parts = [
            self._source.draw(
                image,
                self._count,
                np.random.default_rng([self._seed, _DRAW, request.step, image]),
                request.step,
            )
            for image in request.items.tolist()
        ]
        questions = EncodedQuestions.concatenate(parts)
        if self._layouts is not None:
            questions = self._layouts(questions)
        return Batch.collate(
            questions,
            request.items,
            self._features.read(request.items),
            self._steps,
        )


class TaskBatches(Dataset):
    """Batches of several tasks, each from its own dataset."""

    def __init__(self, datasets: Mapping[str, Dataset]):
        self._datasets = datasets

    def __getitem__(self, request: Request) -> Batch:
        return self._datasets[request.task][request]
