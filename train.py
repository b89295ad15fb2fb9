"""Train an experiment.

    python train.py configs/vqa_gt_layout.yaml
    python train.py configs/mini_vqa_gt_layout.yaml TRAIN.MAX_ITER 2000 TRAIN.SOLVER.LR 3e-4 -s 1
    python train.py configs/vqa_gt_layout.yaml --resume runs/vqa_gt_layout/last.ckpt
    python train.py configs/vqa_scratch.yaml --restarts 4
    python train.py configs/vqa_gt_layout.yaml --devices 4 --precision bf16-mixed --compile

Any configuration key can be overridden by its dotted name and a value. Checkpoints and logs go
to TRAIN.SNAPSHOT_DIR; `last.ckpt` there is the newest, `best-*.ckpt` the best on validation. Ctrl-C
saves `last.ckpt` and stops.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.synthetic.fresh_questions import FreshExpressions, FreshQuestions
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
from snmn.checkpoints.checkpoint import load_weights, read_checkpoint, start_from
from snmn.checkpoints.checks import check_model, check_resumable
from snmn.checkpoints.published_settings import loss_arguments, model_arguments
from snmn.common.commands import run
from snmn.common.errors import Interrupted
from snmn.common.freed_memory import keep_freed_memory
from snmn.common.vocabulary import QUESTION_WORDS
from snmn.data.data_module import CLEVRDataModule, TaskData
from snmn.data.imdb import Imdb
from snmn.data.question_sources import StoredQuestions
from snmn.storage.locks import lock_folder
from snmn.storage.npy_file import ArrayFileError, read_array
from snmn.storage.whole_files import remove_partials, replacing
from snmn.training.checkpoint_writing import WholeCheckpoints, checkpoint_callbacks
from snmn.training.ema import ExponentialMovingAverage
from snmn.training.interrupt import StopOnInterrupt
from snmn.training.lightning_module import SNMNTraining, quiet_lightning
from snmn.training.loggers import (
    LOGGERS,
    LoggerError,
    close_logger,
    make_logger,
    upload_checkpoints,
)
from snmn.training.nonfinite_check import NonFiniteError
from snmn.training.restarts.comparison import (
    Run,
    ScoreHistory,
    best_run,
    collapse,
    prior_score,
    report,
)
from snmn.training.restarts.record_file import Series, ended_run, newest_whole, open_series
from snmn.training.training_monitor import TrainingMonitor

say = rank_zero_only(print)  # Of several processes, one speaks.


def read_embedding(config: Config) -> torch.Tensor:
    """The word embedding [words, E] of FIXED_WORD_EMBED_FILE."""
    path, shape = config.FIXED_WORD_EMBED_FILE, (len(QUESTION_WORDS), config.MODEL.EMBED_DIM)
    try:
        embedding = read_array(path)
    except ArrayFileError as error:
        raise ConfigError(f"FIXED_WORD_EMBED_FILE: {path} {error}") from None
    if embedding.shape != shape or embedding.dtype.kind != "f":
        raise ConfigError(
            f"FIXED_WORD_EMBED_FILE: {path} holds {embedding.dtype} of shape {embedding.shape}, "
            f"not numbers of shape {shape} (words, MODEL.EMBED_DIM)"
        )
    return torch.from_numpy(embedding)


def build_training(config: Config, *, seed: int) -> SNMNTraining:
    """The model with its losses and optimiser, from a configuration."""
    settings = to_dict(config)
    model = model_arguments(settings)
    if config.USE_FIXED_WORD_EMBED:
        model["fixed_embedding"] = read_embedding(config)
    solver = config.TRAIN.SOLVER
    training = SNMNTraining(
        model=model,
        loss=loss_arguments(settings),
        learning_rate=solver.LR,
        schedule=solver.SCHEDULE,
        warmup_steps=solver.WARMUP_ITER,
        attention_lr_scale=solver.ATTENTION_LR_SCALE,
        max_steps=config.TRAIN.MAX_ITER,
        seed=seed,
        question_types=QUESTION_TYPES,
        expression_types=REFERRING_TYPES,
        config=settings,
    )
    if config.TRAIN.INIT_FROM_WEIGHTS:
        checkpoint = read_checkpoint(config.TRAIN.INIT_WEIGHTS_FILE)
        start_from(training.model, config.TRAIN.INIT_WEIGHTS_FILE, checkpoint, settings)
    return training


def training_data(config: Config) -> dict[str, TaskData]:
    """Features and questions of each task, stored or made up as they are asked for."""
    train = config.TRAIN
    hops, objects = (
        [tuple(entry) for entry in schedule] or None
        for schedule in (train.MAX_HOPS_SCHEDULE, train.MAX_OBJECTS_SCHEDULE)
    )
    scenes = {"vqa": train.FRESH_SCENES_FILE, "loc": train.FRESH_SCENES_FILE_LOC}
    sources = {
        "vqa": partial(
            FreshQuestions,
            queries_until=train.FRESH_QUERIES_UNTIL,
            counting=train.FRESH_COUNTING,
            comparing=train.FRESH_COMPARING,
            per_hop=train.FRESH_PER_HOP,
        ),
        "loc": FreshExpressions,
    }
    data = {}
    for task, (features, questions) in stored_data(config, train).items():
        if scenes[task]:
            path = scenes[task].replace("%s", splits(config, train)[task])
            limits = {"max_hops": hops, "max_objects": objects}
            questions = sources[task](path, **limits, steps=config.MODEL.T_CTRL)
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


def build_trainer(
    config: Config,
    given: argparse.Namespace,
    directory: Path,
    *,
    name: str,
    resumed: bool,
    more: Sequence[pl.Callback],
) -> pl.Trainer:
    """Lightning's trainer with checkpoints, EMA and logs.

    Args:
        config: the configuration.
        given: the command line's devices, num_nodes, strategy, precision, accelerator and logger.
        directory: for checkpoints and logs.
        name: of the run, for Weights & Biases.
        resumed: whether the run goes on from a checkpoint.
        more: callbacks to add.
    """
    train = config.TRAIN
    # Lightning counts updates, of which an iteration makes one for each task.
    updates = len(tasks(config))
    logger, note = make_logger(
        given.logger,
        directory,
        name=name,
        project=config.WANDB_PROJECT_NAME,
        config=to_dict(config),
        resumed=resumed,
    )
    say(note)
    strategy = given.strategy
    if strategy == "auto" and (given.devices != "1" or given.num_nodes > 1):
        # A batch of one task leaves the other's head without gradients.
        strategy = "ddp_find_unused_parameters_true"
    trainer = pl.Trainer(
        accelerator=given.accelerator,
        devices=int(given.devices) if given.devices.lstrip("-").isdigit() else given.devices,
        num_nodes=given.num_nodes,
        strategy=strategy,
        precision=given.precision,
        use_distributed_sampler=False,  # The orders of `snmn.data.batch_orders` know their share.
        max_steps=train.MAX_ITER * updates,
        gradient_clip_val=train.GRAD_MAX_NORM if train.CLIP_GRADIENTS else None,
        log_every_n_steps=train.LOG_INTERVAL * updates,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        logger=logger,
        plugins=[WholeCheckpoints()],
        callbacks=[
            ExponentialMovingAverage(train.EMA_DECAY),
            TrainingMonitor(),
            *more,
            *checkpoint_callbacks(directory, every=train.SNAPSHOT_INTERVAL * updates),
        ],
    )
    if trainer.world_size > 1:
        size = train.BATCH_SIZE
        say(
            f"note: {trainer.world_size} processes make batches of {trainer.world_size} x {size} "
            "questions; TRAIN.SOLVER.LR stays what it is"
        )
    return trainer


def resume_path(config: Config, directory: Path) -> Path | None:
    """The checkpoint that the configuration resumes from, if any."""
    path = None
    if config.LOAD:
        path = Path(config.CHECKPOINT_FILENAME)
    elif config.TRAIN.START_ITER:
        path = directory / f"step={config.TRAIN.START_ITER:08d}.ckpt"
    if path is not None:
        # A clear error now, rather than Lightning's after loading the data.
        checkpoint = read_checkpoint(path)
        check_resumable(path, checkpoint)
        check_model(path, checkpoint, to_dict(config))
    return path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", help="yaml file of the experiment")
    add("overrides", nargs="*", metavar="KEY VALUE", help="settings to change")
    add("-s", "--seed", type=int, default=0, help="of weights, order and draws")
    add("--resume", metavar="CKPT", help="go on from a checkpoint, exactly")
    add("--restarts", type=int, metavar="N", help="train with N seeds, or go on with that")
    add("--logger", choices=LOGGERS, help="default: wandb if you are logged in there, else csv")
    add("--artifacts", action="store_true", help="keep last and best checkpoint on wandb, too")
    add("--compile", action="store_true", help="compile the model with torch.compile")
    lightning = parser.add_argument_group("as Lightning's Trainer has them")
    add = lightning.add_argument
    add("--devices", default="1", help="how many, or which; each has a batch of its own")
    add("--num-nodes", type=int, default=1, help="machines")
    add("--strategy", default="auto", help="default: DDP if there are several processes")
    add("--precision", default="32-true", help="such as bf16-mixed; default: 32-true")
    add("--accelerator", default="auto", help="cpu, gpu, ...; default: what there is")
    given = parser.parse_intermixed_args(arguments)
    given.command = shlex.join(["python", "train.py", *(arguments or sys.argv[1:])])
    if given.restarts is not None:
        if given.restarts < 1:
            parser.error("--restarts counts runs: at least 1")
        if given.resume or given.devices != "1" or given.num_nodes > 1:
            parser.error("--restarts begins its runs one after the other, each on one device")
    return given


def train_once(
    config: Config,
    given: argparse.Namespace,
    directory: Path,
    *,
    seed: int,
    resume: Path | None = None,
) -> Run:
    """Train one run; returns what became of it, without a verdict."""
    pl.seed_everything(seed, verbose=False)
    name = config.EXP_NAME if given.restarts is None else f"{config.EXP_NAME}-{seed}"
    history, stop = ScoreHistory(), StopOnInterrupt(directory / "last.ckpt")
    trainer = build_trainer(
        config, given, directory, name=name, resumed=resume is not None, more=[history, stop]
    )
    run = Run(seed, str(directory), history.scores)
    training = build_training(config, seed=seed)
    if given.compile:
        training.model.compile()
    if resume is not None:
        load_weights(training.model, resume, read_checkpoint(resume), ema=False)
    data = build_data(config, seed=seed)
    try:
        with stop.listening():
            trainer.fit(training, datamodule=data, ckpt_path=resume, weights_only=True)
    except NonFiniteError as error:
        if given.restarts is None:
            raise
        run.collapsed = str(error)
    run.checkpoint = trainer.checkpoint_callback.best_model_path
    if given.artifacts and trainer.is_global_zero:
        paths = {"last": directory / "last.ckpt", "best": Path(run.checkpoint)}
        found = {alias: path for alias, path in paths.items() if path.is_file()}
        upload_checkpoints(trainer.logger, found)
    close_logger(trainer.logger)
    return run


@rank_zero_only
def keep_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint, if it is not there already."""
    if source.resolve() != target.resolve():
        with replacing(target) as partial:
            shutil.copyfile(source, partial)


@rank_zero_only
def remove_remains(directory: Path) -> None:
    """Remove what killed runs had begun to write, --restarts in folders of their own."""
    for folder in (directory, *directory.glob("seed-*")):
        remove_partials(folder)


def begin_series(config: Config, given: argparse.Namespace, directory: Path) -> Series:
    """The runs of --restarts: new, or begun by the same command before."""
    questions = build_data(config, seed=given.seed)
    questions.setup("validate")
    how = {f"--{name}": getattr(given, name) for name in ("precision", "compile")}
    return open_series(
        directory / "restarts.json",
        seeds=range(given.seed, given.seed + given.restarts),
        command=given.command,
        settings=to_dict(config) | how,
        prior=prior_score(questions.questions("val")),
    )


def finish_run(config: Config, given: argparse.Namespace, directory: Path, *, seed: int) -> Run:
    """Train one of --restarts, from where it was stopped if it has been begun."""
    updates = len(tasks(config))
    found = newest_whole(directory, updates=updates, interval=config.TRAIN.VAL_INTERVAL)
    path, checkpoint = found or (None, {})
    if path is not None and checkpoint["global_step"] >= config.TRAIN.MAX_ITER * updates:
        keep_checkpoint(path, directory / "last.ckpt")
        return ended_run(seed, directory, checkpoint)
    return train_once(config, given, directory, seed=seed, resume=path)


def train_restarts(config: Config, given: argparse.Namespace, directory: Path) -> None:
    """Train --restarts runs in folders of their own and keep the best one's checkpoint."""
    series = begin_series(config, given, directory)
    for seed in series.unfinished:
        try:
            run = finish_run(config, given, directory / f"seed-{seed}", seed=seed)
        except Interrupted:
            raise Interrupted("stopped; the same command goes on") from None
        run.collapsed = run.collapsed or collapse(
            run.scores, prior=series.prior, after=config.TRAIN.MAX_ITER // 2
        )
        series.runs.append(run)
        series.write()
    print(report(series.runs, prior=series.prior))
    best = best_run(series.runs)
    if best is not None:
        keep_checkpoint(Path(best.checkpoint), directory / "best.ckpt")
        print(f"best checkpoint: {directory}/best.ckpt, each run in {directory}/restarts.json")


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    quiet_lightning()
    keep_freed_memory()
    resume = ["LOAD", "True", "CHECKPOINT_FILENAME", given.resume] if given.resume else []
    config, notes = load_config(given.config, [*given.overrides, *resume])
    for note in notes:
        say(f"note: {note}")
    check_training(config)
    if given.artifacts and given.logger != "wandb":
        raise LoggerError("--artifacts are kept by Weights & Biases: add --logger wandb")
    directory = Path(config.TRAIN.SNAPSHOT_DIR.replace("%s", config.EXP_NAME))
    # Of several processes of one run, one writes.
    with lock_folder(directory) if rank_zero_only.rank == 0 else nullcontext():
        remove_remains(directory)
        if given.restarts is not None:
            train_restarts(config, given, directory)
        else:
            train_single(config, given, directory)


def train_single(config: Config, given: argparse.Namespace, directory: Path) -> None:
    """Train one run, from its beginning or from a checkpoint."""
    resume = resume_path(config, directory)
    updates = config.TRAIN.MAX_ITER * len(tasks(config))
    if resume is not None and read_checkpoint(resume)["global_step"] >= updates:
        # As when a run was killed after its last step, before its last checkpoint.
        keep_checkpoint(resume, directory / "last.ckpt")
        say(f"{resume} has all {config.TRAIN.MAX_ITER} steps: it is {directory}/last.ckpt now")
        return
    run = train_once(config, given, directory, seed=given.seed, resume=resume)
    best = Path(run.checkpoint).name
    say(f"checkpoints: {directory}/last.ckpt" + (f", best on validation: {best}" if best else ""))


if __name__ == "__main__":
    run(main, "train.py")
