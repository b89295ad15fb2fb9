"""Recipes and settings that make a whole model in little: a few images, a small network."""

from pathlib import Path

import yaml

from tests.helpers.tiny.experiment import WIDTHS

# As many training images as a backbone's statistics need at least.
TINY = {
    "clevr": {"train": 50, "val": 4, "test": 4},
    "clevr_loc": {"train": 12, "val": 4, "test": 4},
    "seeds": {"joint_scratch": 2},
    "cellnet": {"steps": 2, "lr": 0.001, "every": 1},
}
_SETTINGS = {
    **WIDTHS,
    "TRAIN.BATCH_SIZE": 20,
    "TRAIN.MAX_ITER": 6,
    "TRAIN.VAL_INTERVAL": 3,
    "TRAIN.SNAPSHOT_INTERVAL": 2,
    "TRAIN.LOG_INTERVAL": 1,
    "TRAIN.NUM_WORKERS": 0,
    "TEST.BATCH_SIZE": 20,
}
OVERRIDES = [text for key, value in _SETTINGS.items() for text in (key, str(value))]


def write_recipes(folder: Path) -> Path:
    """The file of them."""
    path = folder / "recipes.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path
