"""What is made beside a configuration: images, seeds, and how the backbone is trained."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from snmn.storage.typed_settings import ConfigError, apply_settings, read_yaml

FILE = Path(__file__).with_name("recipes.yaml")
CELLNET = "cellnet"


@dataclass
class Images:
    """Rendered images of each split."""

    train: int = 0
    val: int = 0
    test: int = 0


@dataclass
class Seeds:
    """How many seeds each model is trained with; of several the best one is kept."""

    vqa_gt_layout: int = 1
    loc_gt_layout: int = 1
    joint_gt_layout: int = 1
    vqa_scratch: int = 1
    loc_scratch: int = 1
    joint_scratch: int = 1
    vqa_any: int = 1


@dataclass
class Pretraining:
    """Options of ``python -m clevr_prep.train_cellnet``."""

    steps: int = 0
    lr: float = 0.0
    every: int = 0
    precision: str = "float32"


@dataclass
class Recipes:
    """What recipes.yaml says."""

    clevr: Images = field(default_factory=Images)
    clevr_loc: Images = field(default_factory=Images)
    seeds: Seeds = field(default_factory=Seeds)
    cellnet: Pretraining = field(default_factory=Pretraining)


# The backbone first: what it makes is what the others would be trained on.
NAMES = (CELLNET, *(entry.name for entry in dataclasses.fields(Seeds)))


def read_recipes(path: Path) -> Recipes:
    """Recipes of a file. Raises ConfigError, which names file and key."""
    recipes = Recipes()
    for file, settings in read_yaml(path):
        apply_settings(recipes, settings, where=str(file), ignored={})
    for section in dataclasses.fields(Recipes):
        for key, value in dataclasses.asdict(getattr(recipes, section.name)).items():
            if not isinstance(value, str) and value <= 0:
                raise ConfigError(f"{path}: {section.name}.{key} must be above 0, not {value}")
    return recipes
