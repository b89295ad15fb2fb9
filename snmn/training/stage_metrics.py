"""What is counted over a whole validation or test: accuracy, precision and layouts, by task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snmn.data.batch import Batch
from snmn.network.model import SNMNOutput
from snmn.training.metrics import AccuracyByGroup, PrecisionByGroup, layout_correct

# What the share of a task that is right is called.
_SCORES = {"vqa": "answer_accuracy", "loc": "precision"}


def task_name(name: str, task: str, tasks: Sequence[str]) -> str:
    """What a value that every task has is called in logs, in a model of these tasks."""
    return name if len(tasks) == 1 else f"{name}_{task}"


class StageMetrics(nn.Module):
    """The metrics of a validation or a test.

    Args:
        tasks: of the model, "vqa" (questions), "loc" (expressions) or both.
        question_types, expression_types: names of the groups of accuracy and of precision.
    """

    def __init__(
        self, tasks: Sequence[str], question_types: Sequence[str], expression_types: Sequence[str]
    ):
        super().__init__()
        self.tasks = tuple(tasks)
        groups = {
            "vqa": AccuracyByGroup(question_types),
            "loc": PrecisionByGroup(expression_types),
        }
        self.right = nn.ModuleDict({task: groups[task] for task in tasks})
        self.layout = nn.ModuleDict({task: AccuracyByGroup() for task in tasks})

    def update(self, batch: Batch, output: SNMNOutput, boxes: Tensor | None) -> None:
        """Count a batch, with its predicted boxes [N,4] in pixels if it is one of expressions."""
        task, kind = batch.task, batch.question_type
        if task == "vqa" and batch.answer is not None:
            known = batch.answer >= 0
            correct = output.answer_logits.argmax(dim=1) == batch.answer
            self.right[task].update(correct[known], kind[known])
        if task == "loc" and batch.box is not None:
            known = batch.box_cell >= 0
            self.right[task].update(boxes[known], batch.box[known], kind[known])
        if batch.layout is not None:
            self.layout[task].update(layout_correct(output.module_logits, batch.layout))

    def compute(self) -> tuple[dict[str, Tensor], Tensor | None]:
        """All values by name, and the mean of the tasks' shares that are right; forgets them.

        The mean is None if a task has none.
        """
        values, shares = {}, []
        for task in self.tasks:
            layouts = task_name("layout_accuracy", task, self.tasks)
            for metric, name in ((self.right[task], _SCORES[task]), (self.layout[task], layouts)):
                found = metric.compute()
                metric.reset()
                for group, value in found.items():
                    values[name if group == "all" else f"{name}_{group}"] = value
                if metric is self.right[task] and found:
                    shares.append(found["all"])
        return values, torch.stack(shares).mean() if len(shares) == len(self.tasks) else None
