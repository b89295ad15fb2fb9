"""The models of a folder: NAME.ckpt files, each with a card NAME.json if there is one.

A card without its checkpoint announces a published model, if it has a `url` and a `sha256`:
`server.download` can fetch that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from server.descriptions import MODEL_TITLES, model_order
from server.schemas import ModelInfo, State, Task
from snmn.backbones import BackboneError
from snmn.checkpoints.bundled import read_card
from snmn.checkpoints.checkpoint import load_model
from snmn.checkpoints.model_backbone import find_backbone
from snmn.common.paths import visible_files
from snmn.evaluation.marks import Marker
from snmn.network.model import SNMN
from snmn.network.modules import NeuralModule


@dataclass
class Entry:
    """A model and what has become of it; ``model`` and ``marker`` are there once it is ready.

    - ema: whether the moving average of the weights answers, where there is one
    - tested: whether it is a walked-through test's, whose features are stored
    - extracts: whether its features can be made of other images than those
    """

    name: str
    path: Path
    card: dict
    state: State
    message: str | None = None
    progress: float | None = None
    model: SNMN | None = None
    backbone: str = ""
    ema: bool = True
    tested: bool = False
    extracts: bool = True
    marker: Marker | None = None
    tasks: list[Task] = field(default_factory=list)

    def load(self, modules: Mapping[str, type[NeuralModule]]) -> None:
        """Read the checkpoint, of whose modules beside the nine ``modules`` are the classes.

        CheckpointError if it is none or has others, BackboneError for unknown features.
        """
        model = load_model(self.path, ema=self.ema, modules=modules)
        try:
            self.backbone = find_backbone(self.card, model)
        except BackboneError:
            if not self.tested:
                raise
            self.extracts = False
        self.tasks = []
        if model.answer_head is not None:
            self.tasks.append("vqa")
        if model.cell_scores is not None:
            self.tasks.append("loc")
        self.model = model

    def info(self, *, default: bool) -> ModelInfo:
        """What the API tells about it."""
        tasks = self.tasks or [
            task
            for task, kinds in (("vqa", ("vqa", "joint")), ("loc", ("loc", "joint")))
            if self.name.startswith(kinds)
        ]
        return ModelInfo(
            name=self.name,
            title=MODEL_TITLES.get(self.name, self.name),
            tasks=tasks,
            state=self.state,
            default=default,
            message=self.message,
            progress=self.progress,
            card=self.card,
        )


def read_catalogue(folder: Path) -> dict[str, Entry]:
    """Entries by name in the order of the page; damaged cards count as empty ones."""
    names = {path.stem for path in visible_files(folder, "*.ckpt")} | set(_published(folder))
    entries = {}
    for name in sorted(names, key=model_order):
        path = folder / f"{name}.ckpt"
        here = path.exists()
        entries[name] = Entry(
            name=name,
            path=path,
            card=read_card(path),
            state="waiting" if here else "published",
            message="It is about to be loaded." if here else "It has to be downloaded first.",
        )
    return entries


def _published(folder: Path) -> list[str]:
    cards = {path.stem: read_card(path) for path in visible_files(folder, "*.json")}
    wanted = ("url", "sha256")
    return [name for name in cards if all(type(cards[name].get(key)) is str for key in wanted)]


def warm_up(entry: Entry) -> None:
    """Answer a question about nothing: the first forward pass of a process is a slow one."""
    height, width = entry.model.knowledge_base.grid
    features = torch.zeros(1, height, width, entry.model.knowledge_base.feature_dim)
    with torch.inference_mode():
        entry.model(torch.zeros(1, 4, dtype=torch.long), torch.tensor([4]), features)
