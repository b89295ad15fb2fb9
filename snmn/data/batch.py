"""The batch that data loaders hand to the model."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch

from snmn.common.boxes import encode_boxes
from snmn.common.reading_order import NOBODY, next_read
from snmn.common.vocabulary import MODULES
from snmn.data.question_sources import NO_LAYOUT, EncodedQuestions


def _next_read(layout: list[int]) -> tuple[int, ...]:
    """`next_read` of module indices, `NOBODY` at each step of an unknown layout."""
    if NO_LAYOUT in layout:
        return (NOBODY,) * len(layout)
    return next_read(tuple(MODULES[index] for index in layout))


@dataclass
class Batch:
    """N questions about I images, k = N / I for each: question n is about image n // k.

    All questions of a batch belong to one task: "vqa", where they have an answer, or "loc", where
    they are referring expressions and have a box.

    Attributes:
        question: [N, S] int64 word indices, padded with 0; S is the longest of this batch.
        length: [N] int64 words.
        image_features: [I, H, W, D] float32. In a batch fresh from a loader they may still be
            float16, as stored, which halves what passes between processes and to the device;
            ``to`` makes them float32.
        answer: [N] int64 answer index, -1 unknown; None where nobody knows any.
        layout: [N, T] int64 module indices padded with 0 (_NoOp), `NO_LAYOUT` throughout where
            nobody tells it; None without layouts.
        question_index: [N] int64 row in the imdb, to restore the original order; -1 for
            questions that are in none.
        image: [N] int64 index into the imdb's (or other source's) ``filenames``.
        question_type: [N] int64 index into its ``question_types``, 255 unknown.
        hops: [N] int64, 255 unknown.
        next_read: [N, T] int64 for each step of a layout the step whose words come next, see
            `snmn.common.reading_order`; None without layouts.
        words: [N, T, S] float32 weights of the words that a layout's steps are to listen to; None
            where nothing says so.
        image_size: [N, 2] int64 (width, height) in pixels of each question's image; loc only.
        box: [N, 4] float32 true boxes [x, y, w, h] in pixels, NaN unknown; None where nobody
            knows any. With it come
        box_cell: [N] int64 cell of the grid, -1 unknown, and
        box_offset: [N, 4] float32 offsets from it, as `snmn.common.boxes.encode_boxes` gives them.
    """

    question: torch.Tensor
    length: torch.Tensor
    image_features: torch.Tensor
    answer: torch.Tensor | None
    layout: torch.Tensor | None
    question_index: torch.Tensor
    image: torch.Tensor
    question_type: torch.Tensor
    hops: torch.Tensor
    image_size: torch.Tensor | None = None
    next_read: torch.Tensor | None = None
    words: torch.Tensor | None = None
    box: torch.Tensor | None = None
    box_cell: torch.Tensor | None = None
    box_offset: torch.Tensor | None = None

    @classmethod
    def collate(
        cls, questions: EncodedQuestions, images: np.ndarray, features: np.ndarray, steps: int
    ) -> "Batch":
        """Make a batch of N questions about the images [I] with ``features`` [I, H, W, D].

        Layouts are padded or cut to ``steps``, T.
        """

        def long(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.astype(np.int64))

        layout = questions.layout
        if layout is not None:
            layout = np.pad(layout.astype(np.int64), ((0, 0), (0, max(0, steps - layout.shape[1]))))
            layout[(layout == NO_LAYOUT).any(axis=1)] = NO_LAYOUT  # of the padding, too
            layout = long(layout[:, :steps])
            rows = [_next_read(row) for row in layout.tolist()]
            following = torch.tensor(rows)
        boxes = {}
        if questions.image_size is not None:
            boxes["image_size"] = long(questions.image_size)
        if questions.box is not None:
            boxes["box"] = torch.from_numpy(questions.box)
            boxes["box_cell"], boxes["box_offset"] = encode_boxes(
                boxes["box"], boxes["image_size"], features.shape[1:3]
            )
        return cls(
            question=long(questions.question[:, : questions.length.max()]),
            length=long(questions.length),
            image_features=torch.from_numpy(features),
            answer=long(questions.answer) if (questions.answer >= 0).any() else None,
            layout=layout,
            next_read=None if layout is None else following,
            question_index=long(questions.question_index),
            image=long(np.repeat(images, len(questions) // len(images))),
            question_type=long(questions.question_type),
            hops=long(questions.hops),
            **boxes,
        )

    @property
    def task(self) -> str:
        """Which task the questions belong to, "vqa" or "loc"."""
        return "vqa" if self.image_size is None else "loc"

    def __len__(self) -> int:
        """N, the number of questions."""
        return len(self.length)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(
            **{name: None if value is None else function(value) for name, value in values.items()}
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, features in float32. Copies from pinned memory do not wait."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))
        moved.image_features = moved.image_features.float()
        return moved

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, for quick copies to a GPU."""
        return self._map(torch.Tensor.pin_memory)
