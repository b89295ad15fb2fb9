"""Train an experiment.

    python train.py configs/vqa_gt_layout.yaml
    python train.py configs/mini_vqa_gt_layout.yaml TRAIN.MAX_ITER 2000 TRAIN.SOLVER.LR 3e-4 -s 1

Any configuration key can be overridden by its dotted name and a value. Checkpoints and logs go
to TRAIN.SNAPSHOT_DIR; `last.ckpt` there is the newest, `best-*.ckpt` the best on validation.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from clevr_prep.json_stream import JsonStreamError
from clevr_prep.layouts import LayoutError
from clevr_prep.synthetic.fresh import FreshExpressions, FreshQuestions
from clevr_prep.synthetic.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.synthetic.scene_masks import SceneError
from config import (
    Config,
    ConfigError,
    check_training,
    load_config,
    splits,
    stored_data,
    tasks,
    to_dict,
)
from snmn.allocation import keep_freed_memory
from snmn.checkpoint import CheckpointError, check_model, model_state, read_checkpoint
from snmn.data import CLEVRDataModule, DataError, TaskData
from snmn.ema import ExponentialMovingAverage
from snmn.feature_store import FeatureStoreError
from snmn.imdb import Imdb, ImdbError
from snmn.published import loss_arguments, model_arguments
from snmn.question_source import StoredQuestions
from snmn.training import SNMNTraining, quiet_lightning


def build_training(config: Config) -> SNMNTraining:
    """The model with its losses and optimiser, from a configuration."""
    settings = to_dict(config)
    model = model_arguments(settings)
    if config.USE_FIXED_WORD_EMBED:
        embedding = np.load(config.FIXED_WORD_EMBED_FILE, allow_pickle=False)
        model["fixed_embedding"] = torch.from_numpy(embedding)
    solver = config.TRAIN.SOLVER
    training = SNMNTraining(
        model=model,
        loss=loss_arguments(settings),
        learning_rate=solver.LR,
        schedule=solver.SCHEDULE,
        warmup_steps=solver.WARMUP_ITER,
        attention_lr_scale=solver.ATTENTION_LR_SCALE,
        max_steps=config.TRAIN.MAX_ITER,
        question_types=QUESTION_TYPES,
        expression_types=REFERRING_TYPES,
        config=settings,
    )
    if config.TRAIN.INIT_FROM_WEIGHTS:
        checkpoint = read_checkpoint(config.TRAIN.INIT_WEIGHTS_FILE)
        check_model(config.TRAIN.INIT_WEIGHTS_FILE, checkpoint, settings)
        training.model.load_state_dict(model_state(checkpoint, ema=False))
    return training


def training_data(config: Config) -> dict[str, TaskData]:
    """Features and questions of each task, stored or made up as they are asked for."""
    train = config.TRAIN
    hops = [tuple(entry) for entry in train.MAX_HOPS_SCHEDULE] or None
    scenes = {"vqa": train.FRESH_SCENES_FILE, "loc": train.FRESH_SCENES_FILE_LOC}
    sources = {"vqa": FreshQuestions, "loc": FreshExpressions}
    data = {}
    for task, (features, questions) in stored_data(config, train).items():
        if scenes[task]:
            path = scenes[task] % splits(config, train)[task]
            questions = sources[task](path, max_hops=hops, steps=config.MODEL.T_CTRL)
        elif train.QUESTIONS_PER_IMAGE > 1:
            questions = StoredQuestions(Imdb(questions), max_hops=hops)
        data[task] = features, questions
    return data


def build_data(config: Config, *, seed: int) -> CLEVRDataModule:
    """Training and validation data, from a configuration."""
    train, model = config.TRAIN, config.MODEL
    return CLEVRDataModule(
        train=training_data(config),
        val=stored_data(config, config.TEST),
        batch_size=train.BATCH_SIZE,
        questions_per_image=train.QUESTIONS_PER_IMAGE,
        eval_batch_size=config.TEST.BATCH_SIZE,
        num_workers=train.NUM_WORKERS,
        seed=seed,
        grid=(model.H_FEAT, model.W_FEAT),
        feature_dim=model.FEAT_DIM,
        steps=model.T_CTRL,
        require_layouts=train.USE_GT_LAYOUT,
        epoch_steps=train.VAL_INTERVAL,
    )


def build_trainer(config: Config, directory: Path, *, resumed: bool = False) -> pl.Trainer:
    """Lightning's trainer with checkpoints, EMA and logs, from a configuration."""
    train = config.TRAIN
    # Lightning counts updates, of which an iteration makes one for each task.
    updates = len(tasks(config))
    best = ModelCheckpoint(
        dirpath=directory, filename="best-{step:08d}", monitor="val/score", mode="max"
    )
    # Lightning's own save_last follows only those checkpoints that were worth keeping.
    last = ModelCheckpoint(dirpath=directory, filename="last", enable_version_counter=False)
    regular = ModelCheckpoint(
        dirpath=directory,
        filename="{step:08d}",
        every_n_train_steps=train.SNAPSHOT_INTERVAL * updates,
        save_top_k=-1,
    )
    logger = CSVLogger(directory, name="", version=_log_name(directory, resumed))
    return pl.Trainer(
        devices=1,  # On several, batches would no longer be the published ones.
        max_steps=train.MAX_ITER * updates,
        gradient_clip_val=train.GRAD_MAX_NORM if train.CLIP_GRADIENTS else None,
        log_every_n_steps=train.LOG_INTERVAL * updates,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        logger=logger,
        callbacks=[ExponentialMovingAverage(train.EMA_DECAY), best, last, regular],
    )


def _log_name(directory: Path, resumed: bool) -> str:
    """The folder of the log: "logs", or a new one beside it for a run that goes on."""
    name, number = "logs", 1
    while resumed and (directory / name).exists():
        number += 1
        name = f"logs-{number}"
    return name


def resume_path(config: Config, directory: Path) -> Path | None:
    """The checkpoint that the configuration resumes from, if any."""
    path = None
    if config.LOAD:
        path = Path(config.CHECKPOINT_FILENAME)
    elif config.TRAIN.START_ITER:
        path = directory / f"step={config.TRAIN.START_ITER:08d}.ckpt"
    if path is not None:
        # A clear error now, rather than Lightning's after loading the data.
        check_model(path, read_checkpoint(path), to_dict(config))
    return path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="yaml file of the experiment")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings to change")
    parser.add_argument("-s", "--seed", type=int, default=0, help="of weights, order and draws")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    quiet_lightning()
    keep_freed_memory()
    config, notes = load_config(given.config, given.overrides)
    for note in notes:
        print(f"note: {note}")
    check_training(config)
    directory = Path(config.TRAIN.SNAPSHOT_DIR.replace("%s", config.EXP_NAME))
    resume = resume_path(config, directory)
    pl.seed_everything(given.seed, verbose=False)
    trainer = build_trainer(config, directory, resumed=resume is not None)
    data = build_data(config, seed=given.seed)
    trainer.fit(
        build_training(config),
        datamodule=data,
        ckpt_path=resume,
        weights_only=True,
    )
    best = Path(trainer.checkpoint_callback.best_model_path).name
    print(f"checkpoints: {directory}/last.ckpt" + (f", best on validation: {best}" if best else ""))


# What a user can put right.
USER_ERRORS = (
    CheckpointError,
    ConfigError,
    DataError,
    FeatureStoreError,
    ImdbError,
    JsonStreamError,
    LayoutError,
    SceneError,
    FileNotFoundError,
)


def run(command: Callable[[], None], name: str) -> None:
    """Run a command; what a user can put right ends it with one sentence."""
    try:
        command()
    except USER_ERRORS as error:
        text = str(error)
        if text.startswith("Caught "):  # By a loader's process, which adds its traceback.
            text = text.strip().splitlines()[-1].partition(": ")[2]
        sys.exit(f"{name}: {text}")


if __name__ == "__main__":
    run(main, "train.py")
