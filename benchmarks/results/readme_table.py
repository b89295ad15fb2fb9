"""README's table of the bundled models, from their files and cards."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results.tables import table
from snmn.checkpoints.bundled import read_card
from snmn.checkpoints.card_scores import CardScore, card_scores

COMMAND = "python -m benchmarks.reproduce {name}"
# What was asked about, as its name in cards begins, in the order of a cell's numbers.
DATA = ("rendered test", "genuine")


def readme_table(checkpoints: Sequence[Path]) -> str:
    """A row for each checkpoint: its card, scores, size, and the command that makes it again."""
    rows = []
    for path in checkpoints:
        scores = card_scores(read_card(path))
        of_task = {task: [s for s in scores if s.task == task] for task in ("vqa", "loc")}
        rows.append(
            [
                f"[`{path.stem}`](server/models/{path.stem}.json)",
                *(_cell(of_task[task], discrete=False) for task in ("vqa", "loc")),
                _cell(of_task["vqa"] or of_task["loc"], discrete=True),
                f"{path.stat().st_size / 2**20:.1f} MiB",
                f"`{COMMAND.format(name=path.stem)}`",
            ]
        )
    head = [
        "model and card",
        "answers, test; genuine",
        "boxes, test",
        "with the layout made discrete",
    ]
    return table([*head, "size", "command"], rows)


def _cell(scores: Sequence[CardScore], *, discrete: bool) -> str:
    """The scores of a task on each of `DATA` that the card has."""
    numbers = []
    for name in DATA:
        found = [score for score in scores if score.asked.startswith(name)]
        numbers += [score.discrete if discrete else score.share for score in found]
    return "; ".join(f"{number:.3f}" for number in numbers if number is not None)
