"""The trained models that come with the project: checkpoints with a card each."""

import json
from pathlib import Path

from snmn.checkpoints.cards import Card, read_whole_card
from snmn.checkpoints.checks import CheckpointError
from snmn.common.errors import shown
from snmn.common.paths import visible_files
from snmn.storage.checksums import file_sha256

# The demo is what they are trained for, so they lie with it.
BUNDLED = Path(__file__).resolve().parents[2] / "server" / "models"


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return [path.stem for path in visible_files(BUNDLED, "*.ckpt")]


def bundled_path(name: str) -> Path:
    """Checkpoint of a bundled model.

    Raises CheckpointError, which names those there are; also for a card that is not whole, or is
    about another file.
    """
    if name not in bundled_names():
        known = ", ".join(bundled_names()) or "none"
        raise CheckpointError(f"no bundled model is called {name!r}; there are: {known}")
    path = BUNDLED / f"{name}.ckpt"
    bundled_card(name)
    check_file_of_card(path)
    return path


def bundled_card(name: str) -> Card:
    """The card of a bundled model. Raises CheckpointError for one that is not whole."""
    return read_whole_card(BUNDLED / f"{name}.json")


def read_card(checkpoint: Path) -> dict:
    """The card beside a checkpoint as it stands; a missing or damaged one counts as empty."""
    try:
        card = json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
        json.dumps(card, allow_nan=False, ensure_ascii=False).encode("utf-8")  # To be sent on.
    except (OSError, ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def check_file_of_card(checkpoint: Path) -> None:
    """Refuse a checkpoint whose card names another file's sha256. Raises CheckpointError.

    A missing checkpoint is left to whoever reads it.
    """
    said = read_card(checkpoint).get("sha256")
    if not isinstance(said, str) or not checkpoint.is_file():
        return
    found = file_sha256(checkpoint)
    if found != said.lower():
        card = checkpoint.with_suffix(".json")
        raise CheckpointError(
            f"{checkpoint}: not the file that its card {card} is about: its sha256 is "
            f"{found[:16]}..., the card's {shown(said[:16])}...; put the right file in its place, "
            f"or take the card away"
        )
