"""Draws figures while a test runs, from the very output that is being scored."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from PIL import Image

from snmn.common.paths import name_but_suffix
from snmn.common.vocabulary import ANSWERS
from snmn.data.batch import Batch
from snmn.data.imdb import Imdb
from snmn.figures.question_figure import draw_figure
from snmn.figures.trace import Trace, trace
from snmn.figures.verdicts import verdicts
from snmn.network.model import SNMNOutput
from snmn.storage.image_files import open_image


@dataclass
class FigurePlan:
    """How many figures to draw, and what they show.

    ``count`` of the first questions tested; or with ``separate`` the first ``correct`` and
    ``incorrect`` of either kind, in folders of these names. (Where nobody knows the truth there
    is neither kind.)
    """

    count: int = 0
    separate: bool = False
    correct: int = 0
    incorrect: int = 0
    show_answer: bool = True
    show_stack: bool = True
    show_image: bool = True

    def wanted(self, verdict: bool | None) -> tuple[str, int]:
        """The subfolder that a question with this verdict belongs to, and how many it takes."""
        if not self.separate:
            return "", self.count
        if verdict is None:
            return "", 0
        return ("correct", self.correct) if verdict else ("incorrect", self.incorrect)


class FigureWriter(pl.Callback):
    """Writes one PNG a question, named by its question_index, while Lightning tests.

    Args:
        plan: what to draw.
        folders: for each task, where its figures go.
        images: for each task, the folder of the images.

    ``drawn`` counts the figures of each folder. Raises ``FileNotFoundError`` with a sentence fit
    for a user when an image is not there.
    """

    def __init__(
        self, plan: FigurePlan, *, folders: Mapping[str, Path], images: Mapping[str, Path]
    ):
        self.plan, self.folders, self.images = plan, folders, images
        self.drawn: dict[Path, int] = {}
        self._tested: dict[str, set[bool | None]] = {}  # the verdicts of each task

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: dict[str, SNMNOutput],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw what is still wanted of this batch."""
        imdb = trainer.datamodule.questions("test")[batch.task]
        output = outputs["output"]
        boxes = pl_module.predicted_boxes(batch, output) if batch.task == "loc" else None
        found = verdicts(batch, output, boxes)
        self._tested.setdefault(batch.task, set()).update(found)
        for n, verdict in enumerate(found):
            subfolder, most = self.plan.wanted(verdict)
            folder = self.folders[batch.task] / subfolder
            if self.drawn.get(folder, 0) >= most:
                continue
            box = None if boxes is None else boxes[n]
            traced = trace(output, n, batch.question[n], int(batch.length[n]), box=box)
            number = int(imdb.question_index[int(batch.question_index[n])])
            folder.mkdir(parents=True, exist_ok=True)
            figure = self._draw(traced, batch, n, imdb, verdict)
            figure.save(folder / f"{number:06d}.png")
            self.drawn[folder] = self.drawn.get(folder, 0) + 1

    def summary(self) -> list[str]:
        """A line on each folder of figures, and on why there is none where some were asked for."""
        lines = [f"figures: {count} in {folder}" for folder, count in sorted(self.drawn.items())]
        if not self.plan.separate:
            return lines
        for task, found in self._tested.items():
            folder = self.folders[task]
            if found == {None}:
                lines.append(
                    f"figures: none in {folder}, as nobody knows the truth of this split, which "
                    "would tell correct ones from incorrect ones; without --separate "
                    "(TEST.VIS_SEPARATE_CORRECTNESS) the first ones are drawn"
                )
                continue
            for verdict in (True, False):
                name, most = self.plan.wanted(verdict)
                if most and verdict not in found:
                    lines.append(f"figures: none in {folder / name}, as no prediction was {name}")
        return lines

    def _draw(
        self, traced: Trace, batch: Batch, n: int, imdb: Imdb, verdict: bool | None
    ) -> Image.Image:
        known = {}
        if batch.task == "vqa" and batch.answer is not None and batch.answer[n] >= 0:
            known["expected"] = ANSWERS[batch.answer[n]]
        if batch.task == "loc":
            known["image_size"] = tuple(batch.image_size[n].tolist())
            if verdict is not None:
                known["true_box"] = batch.box[n].tolist()
        image = None
        if self.plan.show_image:
            image = self._image(batch.task, imdb.filenames[int(batch.image[n])])
        return draw_figure(
            traced,
            image,
            correct=verdict,
            show_answer=self.plan.show_answer,
            show_stack=self.plan.show_stack,
            **known,
        )

    def _image(self, task: str, name: str) -> Image.Image:
        path = self.images[task] / name
        try:
            return open_image(path)
        except OSError:
            key = {"vqa": "TEST.DATA_DIR", "loc": "TEST.DATA_DIR_LOC"}[task]
            folder = path.parent
            found = os.listdir(folder) if folder.is_dir() else []
            if other := name_but_suffix(name, found):
                raise FileNotFoundError(
                    f"no image {path} to draw on, but {other} is there: let image_filename end "
                    "like that in the dataset's JSON files, and build the imdb again"
                ) from None
            raise FileNotFoundError(
                f"no image {path} to draw on: {key} names the dataset, and "
                "TEST.VIS_SHOW_IMG False draws attention alone"
            ) from None
