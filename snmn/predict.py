"""Ask a trained model about an image: answer or box, and the steps that led there.

    predictor = snmn.Predictor.bundled("vqa_gt_layout")
    result = predictor("scene.png", "How many cubes are there?")
    result.show()

or on the command line:

    python -m snmn.predict IMAGE "How many cubes are there?" --figure steps.png
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snmn.backbones import Backbone
from snmn.checkpoints.bundled import bundled_path
from snmn.checkpoints.checkpoint import load_model
from snmn.checkpoints.model_backbone import features_card, find_backbone, model_backbone
from snmn.common.answer_kinds import is_question
from snmn.common.boxes import cut_box, decode_boxes
from snmn.common.commands import run
from snmn.common.errors import UserError
from snmn.common.paths import home_path
from snmn.common.vocabulary import encode, tokenise
from snmn.evaluation.marks import Mark, Marker
from snmn.figures.question_figure import draw_figure
from snmn.figures.trace import Step, Trace, trace
from snmn.figures.trace_text import trace_text
from snmn.network.edits import Edits, Plan, edits_of_text, plan_edits
from snmn.network.model import SNMN, SNMNOutput
from snmn.network.modules import NeuralModule
from snmn.network.own_modules import import_modules, parse_modules
from snmn.storage.image_files import open_image
from snmn.storage.rgb import as_rgb


@dataclass
class Result:
    """What a model makes of one question about one image.

    - image, question: what was asked
    - answers: (answer, probability), likeliest first; empty for models of expressions alone
    - box: [x, y, width, height] in pixels, cut to the image; None for models of questions alone
    - trace: the steps, as `snmn.figures.question_figure.draw_figure` takes them
    - marks: why the answer should not be believed, each with its name and reason; none where
      nothing speaks against it
    """

    image: Image.Image
    question: str
    answers: list[tuple[str, float]]
    box: list[float] | None
    trace: Trace
    marks: list[Mark] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The steps and the answer as one line, see `snmn.figures.trace_text`."""
        return trace_text(self.trace)

    @property
    def answer(self) -> str | None:
        """The likeliest answer, None without an answer head."""
        return self.answers[0][0] if self.answers else None

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each answer, likeliest first."""
        return dict(self.answers)

    @property
    def steps(self) -> list[Step]:
        """All T steps."""
        return self.trace.steps

    def show(self) -> Image.Image:
        """The steps as a picture, which a notebook displays as a cell's last value."""
        return draw_figure(self.trace, self.image)

    def save(self, path: str | Path) -> None:
        """Write the picture of `show`; the name's ending decides the format."""
        try:
            self.show().save(path)
        except ValueError as error:  # An ending that is no format's.
            raise UserError(str(error)) from None


class Predictor:
    """A model and the backbone whose features it was trained on.

    ``checkpoint`` is a file, or a folder that `snmn.export` made. ``backbone`` names the features,
    where neither that folder, a card beside the file, nor their shape does. ``modules`` are the
    classes of modules beside the nine, see `snmn.load_model`. Raises CheckpointError, or
    BackboneError, also for features that do not fit.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        backbone: str | None = None,
        modules: Mapping[str, type[NeuralModule]] | None = None,
    ):
        self.model = load_model(checkpoint, modules=modules)
        card = {"features": backbone} if backbone else features_card(Path(checkpoint))
        self.backbone = model_backbone(find_backbone(card, self.model), self.model)
        self.marker = Marker(self.model, self.backbone.attributes)

    @classmethod
    def bundled(cls, name: str = "vqa_gt_layout") -> "Predictor":
        """A model that comes with the project. CheckpointError names those there are."""
        return cls(bundled_path(name))

    def __call__(
        self,
        image: str | os.PathLike | Image.Image | np.ndarray,
        question: str,
        *,
        layout: str | Sequence[str | None] | None = None,
        words: Sequence | None = None,
        attention: Sequence | None = None,
    ) -> Result:
        """Answer a question about an image: a file's path, Pillow's image, or an array.

        `snmn.storage.rgb` says which kinds are taken, and how. ``layout``, ``words`` and
        ``attention`` set what steps do, as `snmn.network.edits.Edits` has it; all else is computed
        from there. Raises ValueError: ImageError says what is wrong with the image,
        UnknownWordError names a word and its nearest, LayoutEditError a step that cannot run, and
        EditError one that cannot be given its words or attention.
        """
        if not any(word[0].isalnum() for word in tokenise(question)):
            raise UserError("the question is empty; ask something")
        indices = encode(question)
        path = isinstance(image, str | os.PathLike)
        image = open_image(image) if path else as_rgb(image)
        edits = Edits(layout, words, attention)
        asked = tokenise(question)
        plan = plan_edits(edits, self.model, torch.tensor([indices]), asked, image.size)
        features = image_features(self.backbone, image)
        output = forward(self.model, indices, features, plan)
        size = torch.tensor([image.size])
        encoded, length = torch.tensor(indices), len(indices)
        answers, box = [], None
        if output.cell_scores is not None:
            grid = tuple(output.image_attention.shape[2:])
            cell = output.cell_scores.argmax(dim=1)
            box = cut_box(decode_boxes(cell, output.box_offset, size, grid)[0], image.size)
            steps = trace(output, 0, encoded, length, box=box)
        # Asking comes first where a model does both, unless the words denote an object.
        if output.answer_logits is not None:
            answered = trace(output, 0, encoded, length)
            answers = answered.answers
            if box is None or is_question(asked):
                steps = answered
        for step, parts in zip(steps.steps, plan.given, strict=True):
            step.given = parts
        if edits:
            # Nothing is asked again of a run that was changed: it answers for no layout of its own.
            marks = self.marker.marks(steps, None, self.marker.look(features[0].numpy()))
        else:
            marks = self.marker.marks_of_one(steps, output, encoded, features, image.size)
        return Result(image, question, answers, None if box is None else box.tolist(), steps, marks)


def image_features(backbone: Backbone, image: Image.Image) -> Tensor:
    """[1,H,W,D], rounded to float16 as the features that models are trained on."""
    with torch.inference_mode():
        return backbone(backbone.preprocess([image])).half().float()


def forward(
    model: SNMN,
    indices: list[int],
    features: Tensor,
    plan: Plan | None = None,
) -> SNMNOutput:
    """One forward pass of a question's word indices [S] about features [1,H,W,D]."""
    question, length = torch.tensor([indices]), torch.tensor([len(indices)])
    edits = (plan.intervention, plan.decided) if plan else ()
    with torch.inference_mode():
        return model(question, length, features, *edits)


def describe(result: Result) -> str:
    """A result in words: answer, five likeliest, box, marks, and the steps up to the last that
    acts.
    """
    lines = []
    if result.answers:
        lines += [f"answer: {result.answer}", "likeliest:"]
        lines += [f"  {share:.3f} {answer}" for answer, share in result.answers[:5]]
    if result.box:
        lines.append("box (x, y, width, height): " + " ".join(f"{n:.1f}" for n in result.box))
    lines += [f"doubt ({mark.name}): {mark.reason}" for mark in result.marks]
    lines += [f"in words: {result.text}", "steps:"]
    for number, step in enumerate(result.trace.active_steps, start=1):
        order = (-step.words).argsort()[:3]
        heard = ", ".join(result.trace.words[i] for i in sorted(order) if step.words[i] >= 0.1)
        given = f" [set: {', '.join(step.given)}]" if step.given else ""
        lines.append(f"  {number} {step.module[1:]} ({step.probability:.2f}): {heard}{given}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m snmn.predict", description="Ask a trained model about an image."
    )
    parser.add_argument("image", type=home_path, help="file of the image")
    parser.add_argument("question", help="a question, or an expression that denotes an object")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="vqa_gt_layout", help="name of a bundled model")
    which.add_argument("--checkpoint", type=home_path, metavar="FILE", help="a model of your own")
    parser.add_argument(
        "--figure", type=home_path, metavar="FILE", help="write a picture of the steps"
    )
    parser.add_argument(
        "--layout",
        metavar="'_NAME _NAME ...'",
        help="modules to run instead of the controller's choice, which - leaves at a step; "
        "nothing runs after the last",
    )
    parser.add_argument(
        "--words",
        action="append",
        metavar="STEP=WORDS",
        help="words of the question that a step, counted from 1, listens to; may be repeated",
    )
    parser.add_argument(
        "--attention",
        action="append",
        metavar="STEP=X,Y,W,H",
        help="box in pixels that a step, counted from 1, looks at; may be repeated",
    )
    parser.add_argument(
        "--modules",
        metavar="_NAME=FILE.CLASS,...",
        default="",
        help="modules of the checkpoint beside the nine: their classes, which are imported",
    )
    given = parser.parse_args(arguments)
    run(lambda: _ask(given), "snmn.predict")


def _ask(given: argparse.Namespace) -> None:
    image = open_image(given.image)
    modules = import_modules(parse_modules(given.modules))
    predictor = Predictor(given.checkpoint or bundled_path(given.model), modules=modules)
    steps = predictor.model.controller.num_steps
    edits = edits_of_text(given.layout, given.words, given.attention, steps)
    result = predictor(
        image, given.question, layout=edits.layout, words=edits.words, attention=edits.attention
    )
    print(describe(result))
    if given.figure:
        result.save(given.figure)
        print(f"figure: {given.figure}")


if __name__ == "__main__":
    main()
