"""The results of a test run: files for each task, and what is said about them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from snmn.common.vocabulary import MODULES
from snmn.data.imdb import Imdb
from snmn.evaluation.explanation_measures import explanation_table
from snmn.evaluation.prediction_rows import in_order, prediction_rows, write_answers, write_csv
from snmn.evaluation.scores import score_table, summarise
from snmn.figures.reliability_plot import reliability_plot


def write_results(
    folder: Path,
    imdb: Imdb,
    batches: list[dict[str, Tensor]],
    about: dict,
    explained: dict,
    modules: Sequence[str] = MODULES,
    more: Mapping[int, dict[str, str]] | None = None,
) -> str:
    """Write one task's files; returns its scores and where the files are, to be printed.

    Args:
        folder: for the files, named as the split.
        imdb: the questions.
        batches: the task's `SNMNTraining.predictions`.
        about: put at the summary's head; "experiment" is its name.
        explained: the task's "explanation" if there is one, put at the summary's end; else empty.
        modules: names of the model's.
        more: further columns of the rows, by their places in the imdb.
    """
    rows = prediction_rows(batches, imdb, modules)
    columns = in_order(batches)
    seen = columns["question_index"].numpy()
    if more:
        rows = [row | more[place] for row, place in zip(rows, seen.tolist(), strict=True)]
    expert = None if imdb.layout is None else imdb.layout[seen]
    scores = summarise(rows, columns["layout"].numpy(), expert, modules)
    summary = about | scores | explained
    answers = imdb.image_size is None
    write_csv(folder / "predictions.csv", rows)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    written = ["predictions.csv", "summary.json"]
    title = f"{about['experiment']} on {folder.name}"
    if explained and summary["accuracy"]:
        written.append("reliability.png")
        reliability_plot(summary["calibration"], title=title).save(folder / written[-1])
    if answers and len(rows) == len(imdb):
        written.append(f"CLEVR_{folder.name}_answers.txt")
        write_answers(folder / written[-1], rows)
    some = "" if len(rows) == len(imdb) else f", {len(rows)} of {len(imdb)} questions"
    lines = [f"\n{title}{some}", score_table(summary, answers=answers)]
    if explained:
        lines.append(f"\n{explanation_table(explained['explanation'])}\n")
    lines.append(f"predictions: {folder / 'predictions.csv'}")
    lines.append(f"also in {folder}: {', '.join(written[1:])}")
    return "\n".join(lines)
