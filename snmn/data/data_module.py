"""The data module: imdbs and feature stores in, batches for Lightning out."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from snmn.backbones.base import FEATURE_ATTRIBUTES
from snmn.data.batch_orders import EvaluationOrder, ShuffledPasses, StagedPasses, TrainingOrder
from snmn.data.data_checks import check_features, check_layouts, check_task
from snmn.data.datasets import DataError, DrawnBatches, StoredBatches, TaskBatches
from snmn.data.feature_store import FeatureStore
from snmn.data.imdb import Imdb
from snmn.data.question_sources import QuestionSource, StoredQuestions
from snmn.data.shares import LayoutShare, chosen_images, write_chosen

TASKS = ("vqa", "loc")
Questions = str | os.PathLike | QuestionSource
# For a task: a folder with the features of its images; its questions as the path of an imdb or,
# for training, as a ``QuestionSource`` that draws them.
TaskData = tuple[str | os.PathLike, Questions]

# Seconds that loaders outlive SIGTERM, which is also how they are ended if nothing else does.
_GRACE = 30


class CLEVRDataModule(LightningDataModule):
    """Loads questions and image features for training, validation and testing.

    Args:
        train, val, test: the `TaskData` of each task, by its name "vqa" (questions with answers)
            or "loc" (referring expressions with boxes). With both, training batches take turns,
            one of each task in a step, and evaluation has first those of one task, then those of
            the other. A split without tasks has no loader.
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
        require_layouts: whether training imdbs must have expert layouts.
        layout_share, image_share: the share of training questions that keep their layouts, and of
            training images, see `snmn.data.shares`.
        share_seed: which ones these are.
        epoch_steps: steps that Lightning takes for an epoch; None for one pass over the (longest)
            training data.

    Files are opened in ``setup``, which raises ``DataError``, ``ImdbError`` or
    ``FeatureStoreError`` with a sentence fit for a user.

    With several processes (Lightning's DDP) each has ``batch_size`` questions of its own in a step;
    see `snmn.data.batch_orders`.

    Training resumes exactly: each time an epoch begins, the order starts at the number of batches
    that the trainer has behind it, which Lightning restores from a checkpoint. (Without a trainer
    every epoch is the first.)
    """

    def __init__(
        self,
        *,
        train: Mapping[str, TaskData] | None = None,
        val: Mapping[str, TaskData] | None = None,
        test: Mapping[str, TaskData] | None = None,
        batch_size: int = 64,
        questions_per_image: int = 1,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        grid: tuple[int, int] = (14, 14),
        feature_dim: int = 1024,
        steps: int = 9,
        require_layouts: bool = False,
        layout_share: float = 1.0,
        image_share: float = 1.0,
        share_seed: int = 0,
        epoch_steps: int | None = None,
    ):
        super().__init__()
        if batch_size < 1 or questions_per_image < 1 or batch_size % questions_per_image:
            raise DataError(
                f"a batch of {batch_size} questions cannot be made of images with "
                f"{questions_per_image} questions each"
            )
        self._given = {"train": train or {}, "val": val or {}, "test": test or {}}
        self._batch_size = batch_size
        self._questions_per_image = questions_per_image
        self._eval_batch_size = eval_batch_size or batch_size
        self._num_workers = num_workers
        self._seed = seed
        self._shape = (*grid, feature_dim)
        self._steps = steps
        self._require_layouts = require_layouts
        self._layout_share, self._image_share = layout_share, image_share
        self._share_seed = share_seed
        self._epoch_steps = epoch_steps
        # By split, then by task.
        self._stores: dict[str, dict[str, FeatureStore]] = {}
        self._questions: dict[str, dict[str, Imdb | QuestionSource]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Open what a stage (fit, validate, test; None for all) needs and check that it fits."""
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for split in splits.get(stage, tuple(self._given)):
            if split not in self._stores:
                self._open(split)

    def _open(self, split: str) -> None:
        stores, all_questions = {}, {}
        for task, (features, questions) in self._given[split].items():
            if isinstance(questions, (str, os.PathLike)):
                questions = Imdb(questions)
            imdb = _imdb_of(questions)
            if imdb is not None:
                check_task(imdb, task, labelled=split != "test")
                required = self._require_layouts and split == "train"
                check_layouts(imdb, steps=self._steps, required=required)
            stores[task], all_questions[task] = FeatureStore(features), questions
            known = [store for split in self._stores.values() for store in split.values()]
            check_features(stores[task], self._shape, [*known, *stores.values()])
        self._stores[split], self._questions[split] = stores, all_questions

    def questions(self, split: str) -> dict[str, Imdb | QuestionSource]:
        """The questions of train, val or test by task, after ``setup``."""
        return self._questions[split]

    def feature_identity(self) -> dict[str, str | int]:
        """What the features were made with, after ``setup``; the same for all splits."""
        stores = [store for split in self._stores.values() for store in split.values()]
        return {key: stores[0].attributes[key] for key in FEATURE_ATTRIBUTES}

    def question_checksums(self) -> dict[str, int]:
        """A number for the questions of each split and task, after ``setup``: others, another."""
        return {
            f"{split}_{task}": questions.checksum
            for split, of_split in self._questions.items()
            for task, questions in of_split.items()
        }

    def sample_features(self, images: int = 256) -> torch.Tensor:
        """Features [I,H,W,D] of training images spread evenly over the sets, after ``setup``."""
        stores = self._stores["train"].values()
        samples = []
        for store in stores:
            count = min(images // len(stores), len(store))
            spread = np.linspace(0, len(store) - 1, count).astype(np.int64)
            samples.append(torch.from_numpy(store.read(spread)).float())
        return torch.cat(samples)

    def train_dataloader(self) -> DataLoader | list:
        """One epoch of training batches each time it is iterated over; see the class."""
        if not self._questions.get("train"):
            return []
        datasets, passes = {}, []
        for task, questions in self._questions["train"].items():
            seed = self._task_seed(task)
            datasets[task], stages = self._training_data(task, questions, seed)
            how = {"size": self._batch_size // self._questions_per_image, "seed": seed}
            how |= {"task": task, **self._process()}
            passes.append(
                StagedPasses([(step, ShuffledPasses(items, **how)) for step, items in stages])
            )
        order = TrainingOrder(passes, start=self._batches_done, epoch_steps=self._epoch_steps)
        return self._loader(TaskBatches(datasets), order, persistent=True)

    def _training_data(
        self, task: str, questions: Imdb | QuestionSource, seed: int
    ) -> tuple[Dataset, Sequence[tuple[int, np.ndarray]]]:
        """A task's dataset, and from which step on which items it is asked for."""
        store = self._stores["train"][task]
        how = {"steps": self._steps, "layouts": self._layouts(questions)}
        if isinstance(questions, Imdb) and self._questions_per_image == 1:
            images = self._training_images(np.unique(questions.image))
            rows = np.flatnonzero(np.isin(questions.image, images))
            return StoredBatches(questions, store, **how), [(0, rows)]
        source = StoredQuestions(questions) if isinstance(questions, Imdb) else questions
        dataset = DrawnBatches(source, store, count=self._questions_per_image, seed=seed, **how)
        images = self._training_images(source.images)
        stages = [(step, items[np.isin(items, images)]) for step, items in source.stages]
        # Few images may all have too many objects for a first stage: then it has all of them.
        return dataset, [(step, items if len(items) else images) for step, items in stages]

    def _layouts(self, questions: Imdb | QuestionSource) -> LayoutShare | None:
        """Which of a task's questions have layouts; None: all."""
        if self._layout_share == 1:
            return None
        return LayoutShare(self._layout_share, self._share_seed, imdb=_imdb_of(questions))

    def _training_images(self, images: np.ndarray) -> np.ndarray:
        """The images that are trained on, of those that have questions."""
        if self._image_share == 1:
            return images
        return chosen_images(images, self._image_share, self._share_seed)

    def write_chosen(self, folder: str | os.PathLike) -> list[Path]:
        """Write which stored training questions have layouts, one file a task, after ``setup``.

        Returns the files; none where all have one, or questions are made up while training.
        """
        imdbs = {task: _imdb_of(found) for task, found in self._questions["train"].items()}
        paths = []
        for task, imdb in imdbs.items():
            if imdb is not None and self._layout_share < 1:
                paths.append(Path(folder) / f"layouts_{task}.txt")
                write_chosen(paths[-1], imdb, self._layout_share, self._share_seed)
        return paths

    def _task_seed(self, task: str) -> int:
        """A seed for each task, so that the orders of two tasks have nothing to do with another."""
        if task == TASKS[0]:
            return self._seed
        return int(np.random.SeedSequence([self._seed, TASKS.index(task)]).generate_state(1)[0])

    def _process(self) -> dict[str, int]:
        """Which process this is, of how many."""
        if not self.trainer:
            return {"rank": 0, "ranks": 1}
        return {"rank": self.trainer.global_rank, "ranks": self.trainer.world_size}

    def _batches_done(self) -> int:
        return self.trainer.fit_loop.total_batch_idx + 1 if self.trainer else 0

    def val_dataloader(self) -> DataLoader | list:
        """Every validation question once, grouped by image."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader | list:
        """Every test question once, grouped by image."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: str) -> DataLoader | list:
        imdbs = self._questions.get(split)
        if not imdbs:
            return []
        self._check_processes(split, self._process()["ranks"])
        datasets = {
            task: StoredBatches(imdb, self._stores[split][task], steps=self._steps)
            for task, imdb in imdbs.items()
        }
        order = EvaluationOrder(imdbs, batch_size=self._eval_batch_size, **self._process())
        return self._loader(TaskBatches(datasets), order, persistent=False)

    def check_processes(self, processes: int) -> None:
        """Refuse validation in more processes than it has batches; opens the split's files.

        One without a batch would wait for ever for the others, which have something to do.
        """
        self.setup("validate")
        self._check_processes("val", processes)

    def _check_processes(self, split: str, processes: int) -> None:
        batches = EvaluationOrder(self._questions[split], batch_size=self._eval_batch_size)
        if len(batches) < processes:
            raise DataError(
                f"{split} has fewer batches ({len(batches)}) than there are processes "
                f"({processes}): make TEST.BATCH_SIZE smaller, or train on fewer devices"
            )

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
            worker_init_fn=_leave_signals_to_the_main_process,
        )


def _imdb_of(questions: Imdb | QuestionSource) -> Imdb | None:
    """The imdb that questions are stored in; None for those that are made up."""
    stored = questions.imdb if isinstance(questions, StoredQuestions) else questions
    return stored if isinstance(stored, Imdb) else None


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal, and SIGTERM all of a scheduler's job.

    What ends a run in order needs its loaders for a while: SIGTERM ends them after `_GRACE`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
