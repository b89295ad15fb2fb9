"""Whether imdbs and feature stores are what a model and a task can use."""

from collections.abc import Iterable

import numpy as np

from snmn.backbones.base import FEATURE_ATTRIBUTES
from snmn.data.datasets import DataError
from snmn.data.feature_npy import channels_hint
from snmn.data.feature_store import FeatureStore
from snmn.data.imdb import Imdb


def check_task(imdb: Imdb, task: str, *, labelled: bool) -> None:
    """Refuse an imdb of the other task and, ``labelled``, one that lacks answers or boxes."""
    found = "vqa" if imdb.image_size is None else "loc"
    if found != task:
        names = {"vqa": "questions", "loc": "referring expressions"}
        raise DataError(
            f"{imdb.path} holds {names[found]} ({found}), not {names[task]} ({task}); "
            "TRAIN and TEST have the keys SPLIT_VQA and SPLIT_LOC"
        )
    if labelled and task == "vqa" and (imdb.answer < 0).any():
        raise DataError(f"{imdb.path} has questions without answers; it can only be tested")
    if labelled and task == "loc" and (imdb.box is None or np.isnan(imdb.box).any()):
        raise DataError(f"{imdb.path} has expressions without boxes; it can only be tested")


def check_layouts(imdb: Imdb, *, steps: int, required: bool) -> None:
    """Refuse layouts of more than T = ``steps`` and, ``required``, an imdb without any."""
    if imdb.layout is None:
        if required:
            raise DataError(
                f"{imdb.path} has no layouts; run clevr_prep/data/get_ground_truth_layout.py, "
                "then clevr_prep/data/build_clevr_imdb.py, or train without them "
                "(TRAIN.USE_GT_LAYOUT False)"
            )
    elif imdb.layout[:, steps:].any():
        longest = int(np.nonzero(imdb.layout.any(axis=0))[0][-1]) + 1
        raise DataError(
            f"{imdb.path} has layouts of {longest} steps, the model only {steps}: "
            f"make MODEL.T_CTRL at least {longest}"
        )


def check_features(
    store: FeatureStore, shape: tuple[int, int, int], others: Iterable[FeatureStore]
) -> None:
    """Refuse features of another (H, W, D) than ``shape``, or not made as those of ``others``."""
    found = (*store.grid, store.dim)
    if found != shape:
        raise DataError(
            f"{store.folder} has features of (H, W, D) = {found} "
            f"(backbone {store.attributes['backbone']}), the model expects {shape}: set "
            "MODEL.H_FEAT, W_FEAT and FEAT_DIM to the features', or FEATURE_DIR to others"
            + channels_hint(found)
        )
    for other in others:
        for key in FEATURE_ATTRIBUTES:
            if store.attributes[key] != other.attributes[key]:
                raise DataError(
                    f"{store.folder} was made with {key} {store.attributes[key]}, "
                    f"{other.folder} with {other.attributes[key]}"
                )
