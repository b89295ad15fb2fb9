"""The trained models that come with the project: checkpoints with a card each."""

import json
from pathlib import Path

from snmn.checkpoints.checks import CheckpointError
from snmn.common.paths import visible_files

# The demo is what they are trained for, so they lie with it.
BUNDLED = Path(__file__).resolve().parents[2] / "server" / "models"


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return [path.stem for path in visible_files(BUNDLED, "*.ckpt")]


def bundled_path(name: str) -> Path:
    """Checkpoint of a bundled model. Raises CheckpointError, which names those there are."""
    if name not in bundled_names():
        known = ", ".join(bundled_names()) or "none"
        raise CheckpointError(f"no bundled model is called {name!r}; there are: {known}")
    return BUNDLED / f"{name}.ckpt"


def read_card(checkpoint: Path) -> dict:
    """The card beside a checkpoint, NAME.json; a missing or damaged one counts as empty."""
    try:
        card = json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
        json.dumps(card, allow_nan=False, ensure_ascii=False).encode("utf-8")  # To be sent on.
    except (OSError, ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}
