"""The score of every validation of a run, kept in its checkpoints too."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl


class ScoreHistory(pl.Callback):
    """Keeps val/score of every validation, by step, in checkpoints too."""

    def __init__(self):
        self.scores: dict[int, float] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep this validation's."""
        if "val/score" in trainer.callback_metrics:
            self.scores[pl_module.iteration] = trainer.callback_metrics["val/score"].item()

    def state_dict(self) -> dict[str, dict[int, float]]:
        """What a checkpoint keeps of it."""
        return {"scores": dict(self.scores)}

    def load_state_dict(self, state_dict: dict[str, dict[int, float]]) -> None:
        """Go on from a checkpoint's."""
        self.scores.update(state_dict["scores"])


def saved_scores(checkpoint: Mapping[str, Any]) -> dict[int, float]:
    """The scores, by step, of all validations before a checkpoint."""
    return checkpoint.get("callbacks", {}).get(ScoreHistory.__name__, {}).get("scores", {})
