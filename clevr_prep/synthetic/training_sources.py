"""Where an experiment's training questions come from: stored, or made up as they are asked for."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from clevr_prep.synthetic.fresh_questions import FreshExpressions, FreshQuestions
from snmn.data.data_module import TaskData
from snmn.data.imdb import Imdb
from snmn.data.question_sources import StoredQuestions


def training_sources(
    settings: Mapping[str, Any],
    stored: Mapping[str, tuple[str, str]],
    splits: Mapping[str, str],
) -> dict[str, TaskData]:
    """Features and questions of each task.

    Args:
        settings: nested settings with all keys of a configuration.
        stored: of each task the feature folder and the imdb.
        splits: of each task the split to train on.
    """
    train = settings["TRAIN"]
    hops, objects = (
        [tuple(entry) for entry in train[schedule]] or None
        for schedule in ("MAX_HOPS_SCHEDULE", "MAX_OBJECTS_SCHEDULE")
    )
    scenes = {"vqa": train["FRESH_SCENES_FILE"], "loc": train["FRESH_SCENES_FILE_LOC"]}
    sources = {
        "vqa": partial(
            FreshQuestions,
            intersecting=train["FRESH_INTERSECTING"],
            queries_until=train["FRESH_QUERIES_UNTIL"],
            counting=train["FRESH_COUNTING"],
            comparing=train["FRESH_COMPARING"],
            per_hop=train["FRESH_PER_HOP"],
            compositions=train["FRESH_COMPOSITIONS"],
            held_out=train["FRESH_HELD_OUT"],
        ),
        "loc": partial(FreshExpressions, intersecting=train["FRESH_INTERSECTING"]),
    }
    data = {}
    for task, (features, questions) in stored.items():
        if scenes[task]:
            path = scenes[task].replace("%s", splits[task])
            limits = {"max_hops": hops, "max_objects": objects}
            questions = sources[task](path, **limits, steps=settings["MODEL"]["T_CTRL"])
        elif train["QUESTIONS_PER_IMAGE"] > 1:
            questions = StoredQuestions(Imdb(questions), max_hops=hops)
        data[task] = features, questions
    return data
