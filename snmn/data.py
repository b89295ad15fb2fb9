"""The data module: imdbs and feature stores in, batches for Lightning out."""

import os

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from snmn.batch import Batch
from snmn.datasets import (
    DataError,
    DrawnBatches,
    EvaluationOrder,
    StoredBatches,
    TrainingOrder,
)
from snmn.feature_store import FeatureStore
from snmn.imdb import Imdb
from snmn.question_source import QuestionSource, StoredQuestions

__all__ = ["Batch", "CLEVRDataModule", "DataError"]

_SAME_FEATURES = ("backbone", "weights_sha256", "preprocess", "image_size")


class CLEVRDataModule(LightningDataModule):
    """Loads questions and image features for training, validation and testing.

    Args:
        train_features, val_features, test_features: folder of the split's feature store.
        train_questions: path of an imdb, or a ``QuestionSource`` that draws them.
        val_questions, test_questions: path of an imdb.
        batch_size: questions in a training batch.
        questions_per_image: k; a training batch has batch_size / k images with k questions each.
            1 with an imdb: all questions shuffled, as published. Otherwise a pass visits every
            image once, with k of its questions.
        eval_batch_size: most questions in a validation or test batch; None for ``batch_size``.
        num_workers: loader processes; 0 loads in the main process. The batches are the same.
        seed: of the order and of all draws.
        grid: (H, W) that the features must have.
        feature_dim: D that the features must have.
        steps: T, to which layouts are padded.
        require_layouts: whether training and validation imdbs must have expert layouts.
        epoch_steps: steps that Lightning takes for an epoch; None for one pass over the
            training data.

    A split whose arguments are None has no loader. Files are opened in ``setup``, which raises
    ``DataError``, ``ImdbError`` or ``FeatureStoreError`` with a sentence fit for a user.

    Training resumes exactly: each time an epoch begins, the order starts at the number of batches
    that the trainer has behind it, which Lightning restores from a checkpoint. (Without a trainer
    every epoch is the first.)
    """

    def __init__(
        self,
        *,
        train_features: str | os.PathLike | None = None,
        train_questions: str | os.PathLike | QuestionSource | None = None,
        val_features: str | os.PathLike | None = None,
        val_questions: str | os.PathLike | None = None,
        test_features: str | os.PathLike | None = None,
        test_questions: str | os.PathLike | None = None,
        batch_size: int = 64,
        questions_per_image: int = 1,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        grid: tuple[int, int] = (14, 14),
        feature_dim: int = 1024,
        steps: int = 9,
        require_layouts: bool = False,
        epoch_steps: int | None = None,
    ):
        super().__init__()
        if batch_size < 1 or questions_per_image < 1 or batch_size % questions_per_image:
            raise DataError(
                f"a batch of {batch_size} questions cannot be made of images with "
                f"{questions_per_image} questions each"
            )
        self._paths = {
            "train": (train_features, train_questions),
            "val": (val_features, val_questions),
            "test": (test_features, test_questions),
        }
        self._batch_size = batch_size
        self._questions_per_image = questions_per_image
        self._eval_batch_size = eval_batch_size or batch_size
        self._num_workers = num_workers
        self._seed = seed
        self._shape = (*grid, feature_dim)
        self._steps = steps
        self._require_layouts = require_layouts
        self._epoch_steps = epoch_steps
        self._stores: dict[str, FeatureStore] = {}
        self._questions: dict[str, Imdb | QuestionSource] = {}

    def setup(self, stage: str | None = None) -> None:
        """Open what a stage (fit, validate, test; None for all) needs and check that it fits."""
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for split in splits.get(stage, tuple(self._paths)):
            features, questions = self._paths[split]
            if split in self._stores or features is None or questions is None:
                continue
            if isinstance(questions, (str, os.PathLike)):
                questions = Imdb(questions)
            imdb = questions.imdb if isinstance(questions, StoredQuestions) else questions
            if isinstance(imdb, Imdb):
                self._check_layouts(imdb, required=self._require_layouts and split != "test")
            store = FeatureStore(features)
            self._check_features(store)
            self._stores[split], self._questions[split] = store, questions

    def _check_layouts(self, imdb: Imdb, *, required: bool) -> None:
        if imdb.layout is None:
            if required:
                raise DataError(
                    f"{imdb.path} has no layouts; run clevr_prep/data/get_ground_truth_layout.py, "
                    "then clevr_prep/data/build_clevr_imdb.py"
                )
        elif imdb.layout[:, self._steps :].any():
            longest = int(np.nonzero(imdb.layout.any(axis=0))[0][-1]) + 1
            raise DataError(
                f"{imdb.path} has layouts of {longest} steps, the model only {self._steps}"
            )

    def _check_features(self, store: FeatureStore) -> None:
        found = (*store.grid, store.dim)
        if found != self._shape:
            raise DataError(
                f"{store.folder} has features of (H, W, D) = {found} "
                f"(backbone {store.attributes['backbone']}), the model expects {self._shape}"
            )
        for other in self._stores.values():
            for key in _SAME_FEATURES:
                if store.attributes[key] != other.attributes[key]:
                    raise DataError(
                        f"{store.folder} was made with {key} {store.attributes[key]}, "
                        f"{other.folder} with {other.attributes[key]}"
                    )

    def questions(self, split: str) -> Imdb | QuestionSource:
        """The questions of train, val or test, for names of types and files; after ``setup``."""
        return self._questions[split]

    def sample_features(self, images: int = 256) -> torch.Tensor:
        """Features [I,H,W,D] of training images spread evenly over the set, after ``setup``."""
        store = self._stores["train"]
        spread = np.linspace(0, len(store) - 1, min(images, len(store))).astype(np.int64)
        return torch.from_numpy(store.read(spread)).float()

    def train_dataloader(self) -> DataLoader | list:
        """One epoch of training batches each time it is iterated over; see the class."""
        if "train" not in self._stores:
            return []
        questions, store = self._questions["train"], self._stores["train"]
        if isinstance(questions, Imdb) and self._questions_per_image == 1:
            items = np.arange(len(questions))
            dataset = StoredBatches(questions, store, steps=self._steps)
        else:
            source = StoredQuestions(questions) if isinstance(questions, Imdb) else questions
            items = source.images
            dataset = DrawnBatches(
                source,
                store,
                count=self._questions_per_image,
                seed=self._seed,
                steps=self._steps,
            )
        order = TrainingOrder(
            items,
            size=self._batch_size // self._questions_per_image,
            seed=self._seed,
            start=self._batches_done,
            epoch_steps=self._epoch_steps,
        )
        return self._loader(dataset, order, persistent=True)

    def _batches_done(self) -> int:
        return self.trainer.fit_loop.total_batch_idx + 1 if self.trainer else 0

    def val_dataloader(self) -> DataLoader | list:
        """Every validation question once, grouped by image."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader | list:
        """Every test question once, grouped by image."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: str) -> DataLoader | list:
        if split not in self._stores:
            return []
        imdb = self._questions[split]
        dataset = StoredBatches(imdb, self._stores[split], steps=self._steps)
        order = EvaluationOrder(imdb, batch_size=self._eval_batch_size)
        return self._loader(dataset, order, persistent=False)

    def _loader(self, dataset: Dataset, order: Sampler, *, persistent: bool) -> DataLoader:
        return DataLoader(
            dataset,
            sampler=order,
            batch_size=None,
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=persistent and self._num_workers > 0,
            # Its own generator, so that loading leaves the model's random numbers alone.
            generator=torch.Generator().manual_seed(self._seed),
        )
