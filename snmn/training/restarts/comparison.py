"""Several runs of one experiment with different seeds, of which the best is kept.

Without layouts, training falls into poor minima now and then: the published results of scratch
training are the best of four runs (the paper's section 4.1), by accuracy on validation.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from snmn.common.boxes import IOU_THRESHOLD, box_iou
from snmn.data.imdb import Imdb

# Knowing the question alone gives a little more than the best constant answers.
MARGIN = 0.02


@dataclass
class Run:
    """What became of one run.

    ``scores`` are val/score (answer accuracy, precision, or the mean of both) by step,
    ``checkpoint`` the best one's path, ``collapsed`` says why the run is worthless; else empty.
    """

    seed: int
    folder: str
    scores: dict[int, float] = field(default_factory=dict)
    checkpoint: str = ""
    collapsed: str = ""

    @property
    def best(self) -> float | None:
        """The best score; None without a validation."""
        return max(self.scores.values(), default=None)


def prior_score(imdbs: Mapping[str, Imdb]) -> float:
    """The score of one who never looks at images: the mean of its tasks' shares that are right.

    For questions with the most frequent answer of each question type, for expressions with the mean
    of all boxes, as parts of the image.
    """
    shares = []
    for task, imdb in imdbs.items():
        if task == "vqa":
            right = 0
            for kind in np.unique(imdb.question_type):
                right += np.bincount(imdb.answer[imdb.question_type == kind]).max()
            shares.append(right / len(imdb))
        else:
            scale = np.tile(imdb.image_size[imdb.image], 2)  # [N,4]
            mean = (imdb.box / scale).mean(axis=0) * scale
            overlap = box_iou(torch.from_numpy(mean).float(), torch.from_numpy(imdb.box))
            shares.append((overlap >= IOU_THRESHOLD).float().mean().item())
    return float(np.mean(shares))


def collapse(scores: Mapping[int, float], *, prior: float, after: int) -> str:
    """Why a run counts as collapsed: since step ``after`` it is no better than the prior."""
    late = [score for step, score in scores.items() if step >= after]
    if late and max(late) <= prior + MARGIN:
        return f"{max(late):.4f} on validation at best since step {after}, the answer prior's level"
    return ""


def best_run(runs: Sequence[Run]) -> Run | None:
    """The run with the best score; None if none has any."""
    scored = [run for run in runs if run.best is not None]
    return max(scored, key=lambda run: run.best, default=None)


def summary(runs: Sequence[Run], *, prior: float) -> dict:
    """Mean and spread (standard deviation of a sample) of the best scores, and each run."""
    scores = [run.best for run in runs if run.best is not None]
    best = best_run(runs)
    return {
        "best_seed": best.seed if best else None,
        "mean": statistics.mean(scores) if scores else None,
        "spread": statistics.stdev(scores) if len(scores) > 1 else None,
        "prior": prior,
        "runs": [asdict(run) | {"best": run.best} for run in runs],
    }


def report(runs: Sequence[Run], *, prior: float) -> str:
    """The same in words, a line for each run."""
    facts = summary(runs, prior=prior)
    lines = []
    for run in runs:
        score = "-" if run.best is None else f"{run.best:.4f}"
        why = f"  collapsed: {run.collapsed}" if run.collapsed else ""
        mark = "  best" if run.seed == facts["best_seed"] else ""
        lines.append(f"seed {run.seed}  {score}{mark}{why}")
    if facts["mean"] is not None:
        spread = "" if facts["spread"] is None else f", spread {facts['spread']:.4f}"
        lines.append(f"mean {facts['mean']:.4f}{spread}, best constant answers {prior:.4f}")
    return "\n".join(lines)
