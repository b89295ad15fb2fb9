"""A series of runs with different seeds that can be stopped at any moment and gone on with.

The series' folder has restarts.json, which says from the start which seeds and settings it has and
from then on what became of each finished run, and a folder with checkpoints for each seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snmn.checkpoints.published_settings import flatten
from snmn.common.errors import UserError
from snmn.storage.whole_files import replacing
from snmn.training.restarts.comparison import Run, summary
from snmn.training.resuming.score_history import saved_scores


class SeriesError(UserError):
    """A folder has a series that cannot be gone on with; the message is fit for a user."""


@dataclass
class Series:
    """What restarts.json says: seeds, the command and settings of all runs, and finished runs.

    ``prior`` is the score of the best constant answers, see `prior_score`.
    """

    path: Path
    seeds: list[int]
    command: str
    settings: dict[str, Any]
    prior: float
    runs: list[Run] = field(default_factory=list)

    def write(self) -> None:
        """Write restarts.json."""
        content = {
            "seeds": self.seeds,
            "command": self.command,
            **summary(self.runs, prior=self.prior),
            "settings": self.settings,
        }
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @property
    def unfinished(self) -> list[int]:
        """Seeds whose runs have not ended yet, in order."""
        return [seed for seed in self.seeds if seed not in {run.seed for run in self.runs}]


def open_series(
    path: Path, *, seeds: Sequence[int], command: str, settings: Mapping[str, Any], prior: float
) -> Series:
    """The series of a restarts.json, or a new one, which is written there.

    Raises SeriesError for a file that is damaged or has other seeds or settings.
    """
    # As they come back from the file: tuples become lists.
    series = Series(path, list(seeds), command, json.loads(json.dumps(settings)), prior)
    if not path.exists():
        series.write()
        return series
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        theirs = {"seeds": found["seeds"]} | flatten(found["settings"])
        series.command = found["command"]
        series.runs = [_read_run(entry) for entry in found["runs"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SeriesError(
            f"{path}: not the record of runs that can be gone on with; take its folder away, or "
            "give another EXP_NAME"
        ) from None
    ours = {"seeds": series.seeds} | flatten(series.settings)
    for key in [*ours, *theirs]:
        if theirs.get(key) != ours.get(key):
            raise SeriesError(
                f"{path}: begun with {key} {theirs.get(key)}, not {ours.get(key)}; go on with its "
                f"command ({series.command}), or give another EXP_NAME"
            )
    return series


def _read_run(entry: dict) -> Run:
    scores = {int(step): float(score) for step, score in entry["scores"].items()}
    return Run(entry["seed"], entry["folder"], scores, entry["checkpoint"], entry["collapsed"])


def ended_run(seed: int, folder: Path, checkpoint: Mapping[str, Any]) -> Run:
    """The run of a checkpoint that was written at its end."""
    saved = checkpoint["callbacks"].items()
    best = next(state["best_model_path"] for _, state in saved if state.get("monitor"))
    return Run(seed, str(folder), saved_scores(checkpoint), best)
