"""What follows from edits: a model's own runs of a folder's questions, and edited ones."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.what_if.edits import MeantEdit, meant_edits
from clevr_prep.clevr.expert_layouts import expert_layout
from snmn.common.vocabulary import ANSWERS, encode, tokenise
from snmn.network.edits import plan_edits
from snmn.network.intervention import Intervention
from snmn.network.model import SNMN, SNMNOutput
from snmn.predict import Predictor, image_features
from snmn.storage.image_files import open_image

MOST = 3  # edits of one kind of one question


@dataclass
class Case:
    """One edit and what came of it; answers with their probabilities."""

    question: str
    image: str
    edit: MeantEdit
    before: tuple[str, float]
    after: tuple[str, float]

    @property
    def follows(self) -> bool:
        """Whether the model answers what the edited program gives."""
        return self.after[0] == self.edit.answer

    @property
    def surety(self) -> float:
        return min(self.before[1], self.after[1])


def cases(predictor: Predictor, folder: Path, split: str) -> list[Case]:
    """All edits of a split's questions, of each kind at most MOST for each question."""
    scenes = json.loads((folder / f"scenes/CLEVR_{split}_scenes.json").read_text())["scenes"]
    questions = folder / f"questions/CLEVR_{split}_questions.json"
    by_image = defaultdict(list)
    for one in json.loads(questions.read_text())["questions"]:
        by_image[one["image_index"]].append(one)
    random.seed(0)
    found = []
    for scene in scenes:
        name = scene["image_filename"]
        image = open_image(folder / "images" / split / name)
        features = image_features(predictor.backbone, image)
        for one in by_image[scene["image_index"]]:
            run = _Asked(predictor.model, one["question"], features, image.size)
            if run.right_as_the_expert(one):
                found += run.cases(meant_edits(one["program"], scene, run.heard, run.steps), name)
    return found


class _Asked:
    """One question, the model's own run of it, and edited ones."""

    def __init__(self, model: SNMN, text: str, features: Tensor, size: tuple[int, int]):
        self.model, self.text, self.features, self.size = model, text, features, size
        self.question, self.words = torch.tensor([encode(text)]), tokenise(text)
        self.steps = model.controller.num_steps
        self.own = self.run([None])
        self.heard = self.own.question_attention[0].tolist()
        self.before = answers(self.own)[0]

    def run(self, interventions: list[Intervention | None]) -> SNMNOutput:
        """All at once."""
        N, S = len(interventions), len(self.words)
        grid = math.prod(self.model.knowledge_base.grid)
        nothing = {
            "layout": torch.full((1, self.steps), -1),
            "words": torch.zeros(1, self.steps, S),
            "regions": torch.full((1, self.steps, grid), torch.nan),
        }
        parts = {
            name: torch.cat(
                [
                    none if one is None or getattr(one, name) is None else getattr(one, name)
                    for one in interventions
                ]
            )
            for name, none in nothing.items()
        }
        with torch.inference_mode():
            question, length = self.question.expand(N, S), torch.full((N,), S)
            return self.model(question, length, self.features, Intervention(**parts))

    def right_as_the_expert(self, asked: dict) -> bool:
        """Whether the model answers rightly, with the expert's layout."""
        chosen = self.own.module_probs[0].argmax(dim=1).tolist()
        expert = expert_layout(asked["program"])
        layout = [self.model.module_names[index] for index in chosen]
        padded = expert + ["_NoOp"] * (self.steps - len(expert))
        return self.before[0] == asked["answer"] and layout == padded

    def cases(self, edits: Iterable[MeantEdit], image: str) -> list[Case]:
        """What follows from edits."""
        kinds = defaultdict(list)
        for edit in edits:
            kinds[edit.kind].append(edit)
        chosen = [
            edit for ones in kinds.values() for edit in random.sample(ones, min(MOST, len(ones)))
        ]
        if not chosen:
            return []
        plans = [
            plan_edits(edit.edits, self.model, self.question, self.words, self.size).intervention
            for edit in chosen
        ]
        return [
            Case(self.text, image, edit, self.before, after)
            for edit, after in zip(chosen, answers(self.run(plans)), strict=True)
        ]


def answers(output: SNMNOutput) -> list[tuple[str, float]]:
    """The likeliest answer of each question, and its probability."""
    shares, indices = output.answer_logits.softmax(dim=1).max(dim=1)
    return [(ANSWERS[i], share) for i, share in zip(indices.tolist(), shares.tolist(), strict=True)]
