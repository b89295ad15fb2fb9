"""The orders in which loaders ask for batches: training's two, taking turns, and evaluation's.

A request travels from an order (in the main process) to a dataset (in a loader's worker). What is
asked for depends on the seed and the step alone, so training can be resumed at any step.

Several processes train as one with a batch as large as theirs together: each takes its share of
every training batch, and whole batches of an evaluation by turns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from snmn.common.schedules import Staged
from snmn.data.imdb import Imdb

# Tells these random numbers from those of `snmn.data.datasets`, which have the same seed.
_ORDER = 0


class Request(NamedTuple):
    """What a loader asks of a dataset: the batch of a task for a step.

    ``items`` are imdb rows, [N] or [I, k], or images [I], as the task's dataset has it.
    """

    step: int
    task: str
    items: np.ndarray


class ShuffledPasses:
    """Shuffled passes over a task's items, one after the other, in batches of one size.

    Pass e visits every item once in an order made from (seed, e); its last batch is filled up
    from the beginning of that order. What step s asks for is a function of (seed, s) alone.

    Args:
        items: what to visit (imdb rows, or images).
        size: items in a batch of one process.
        seed: of this task's order.
        task: "vqa" or "loc".
        rank, ranks: which of how many processes asks. Together they ask for the batch of
            ``size * ranks`` items that one process with that size would.
    """

    def __init__(
        self,
        items: np.ndarray,
        *,
        size: int,
        seed: int,
        task: str = "vqa",
        rank: int = 0,
        ranks: int = 1,
    ):
        self._items = items
        self._size = size * ranks
        self._share = slice(rank, None, ranks)
        self._seed = seed
        self._task = task
        self._shuffled: tuple[int, np.ndarray] = (-1, items)

    def __len__(self) -> int:
        """Steps of one pass."""
        return -(-len(self._items) // self._size)

    def request(self, step: int) -> Request:
        """What training step ``step`` (from 0) asks for."""
        number, position = divmod(step, len(self))
        if self._shuffled[0] != number:
            rng = np.random.default_rng([self._seed, _ORDER, number])
            self._shuffled = number, rng.permutation(self._items)
        order = self._shuffled[1]
        places = np.arange(position * self._size, (position + 1) * self._size) % len(order)
        # Within a batch the order means nothing to training, but is quickest to read ascending.
        return Request(step, self._task, np.sort(order[places])[self._share])


class StagedPasses:
    """Passes over other items from given steps on.

    Args:
        stages: [(step, passes), ...], ascending from step 0, each until the next begins.
    """

    def __init__(self, stages: Sequence[tuple[int, ShuffledPasses]]):
        self._passes = Staged(stages)
        self._last = stages[-1][1]

    def __len__(self) -> int:
        """Steps of one pass over what is visited last."""
        return len(self._last)

    def request(self, step: int) -> Request:
        """What training step ``step`` (from 0) asks for."""
        start, passes = self._passes.stage(step)
        return passes.request(step - start)._replace(step=step)


class TrainingOrder(Sampler):
    """What training asks for: in each step one batch of every task, in the order of ``passes``.

    Every task goes round in passes of its own, so the shorter one starts over while the longer
    one goes on.

    Args:
        passes: the passes of each task.
        start: called whenever iteration begins; returns the number of batches already asked for.
        epoch_steps: steps in what loops over the loader will take for an epoch; None for as many
            as the longest pass has. Iteration ends where the next epoch begins.
    """

    def __init__(
        self,
        passes: Sequence[StagedPasses],
        *,
        start: Callable[[], int],
        epoch_steps: int | None = None,
    ):
        self._passes = passes
        self._start = start
        self._epoch_steps = epoch_steps or max(map(len, passes))

    def __len__(self) -> int:
        """Batches of one epoch."""
        return self._epoch_steps * len(self._passes)

    def __iter__(self) -> Iterator[Request]:
        start = self._start()
        return map(self.request, range(start, (start // len(self) + 1) * len(self)))

    def request(self, batch: int) -> Request:
        """What training's batch number ``batch`` (from 0) is."""
        step, turn = divmod(batch, len(self._passes))
        return self._passes[turn].request(step)


class EvaluationOrder(Sampler):
    """Every question of each task's imdb once, those of an image together: rows [I, k] at a time.

    A batch joins images that have equally many questions, so nothing is padded and nothing left
    out; only where the number changes are batches smaller. It has at most ``batch_size``
    questions; an image with more is spread over several batches. Of several processes (``ranks``)
    number ``rank`` gets every so many-th batch.
    """

    def __init__(
        self, imdbs: Mapping[str, Imdb], *, batch_size: int, rank: int = 0, ranks: int = 1
    ):
        batches = [
            (task, rows) for task, imdb in imdbs.items() for rows in _by_image(imdb, batch_size)
        ]
        self._batches = batches[rank::ranks]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Request]:
        return (Request(step, *batch) for step, batch in enumerate(self._batches))


def _by_image(imdb: Imdb, batch_size: int) -> Iterator[np.ndarray]:
    """The rows [I, k] of each batch of an imdb."""
    rows = np.argsort(imdb.image, kind="stable")
    per_image = np.split(rows, np.cumsum(np.bincount(imdb.image))[:-1])
    by_count: dict[int, list[np.ndarray]] = {}
    for image_rows in per_image:
        for start in range(0, len(image_rows), batch_size):
            part = image_rows[start : start + batch_size]
            by_count.setdefault(len(part), []).append(part)
    for count in sorted(by_count, reverse=True):
        lines = np.stack(by_count[count])
        size = batch_size // count
        for first in range(0, len(lines), size):
            yield lines[first : first + size]
