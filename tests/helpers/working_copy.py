"""A copy of the project to run a document's commands in, without data and whatever they made."""

import shutil
from pathlib import Path

from tests.helpers.paths import ROOT

# What the commands of the README make, and what no command reads.
_LEFT_OUT = {".git", ".venv", "data", "runs", "results", "wandb", "tests"}
_LEFT_OUT |= {"clevr_prep/clevr_dataset", "clevr_prep/clevr_loc_dataset", "clevr_prep/clevr_cogent"}
_LEFT_OUT |= {"clevr_prep/data/features", "clevr_prep/data/imdb"}


def working_copy(target: Path) -> Path:
    """Copy the project's files to ``target``, which must not exist yet; returns it."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(ROOT)
        return {name for name in names if (inside / name).as_posix() in _LEFT_OUT}

    return Path(shutil.copytree(ROOT, target, ignore=left_out))
