"""The data of an experiment, from nested settings with all published keys."""

from collections.abc import Mapping
from typing import Any

from snmn.data.data_module import CLEVRDataModule, TaskData


def build_data(
    settings: Mapping[str, Any],
    *,
    train: Mapping[str, TaskData] | None = None,
    val: Mapping[str, TaskData] | None = None,
    test: Mapping[str, TaskData] | None = None,
    seed: int = 0,
) -> CLEVRDataModule:
    """Batches as the settings ask for them, of features and questions for each task."""
    training, model = settings["TRAIN"], settings["MODEL"]
    return CLEVRDataModule(
        train=train,
        val=val,
        test=test,
        batch_size=training["BATCH_SIZE"],
        questions_per_image=training["QUESTIONS_PER_IMAGE"],
        eval_batch_size=settings["TEST"]["BATCH_SIZE"],
        num_workers=training["NUM_WORKERS"],
        seed=seed,
        grid=(model["H_FEAT"], model["W_FEAT"]),
        feature_dim=model["FEAT_DIM"],
        steps=model["T_CTRL"],
        require_layouts=training["USE_GT_LAYOUT"],
        layout_share=training["LAYOUT_SHARE"],
        image_share=training["IMAGE_SHARE"],
        share_seed=training["SHARE_SEED"],
        epoch_steps=training["VAL_INTERVAL"],
    )
