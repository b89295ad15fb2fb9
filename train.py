"""Train an experiment.

    python train.py configs/vqa_gt_layout.yaml
    python train.py configs/mini_vqa_gt_layout.yaml TRAIN.MAX_ITER 2000 TRAIN.SOLVER.LR 3e-4 -s 1
    python train.py configs/vqa_gt_layout.yaml --resume runs/vqa_gt_layout/last.ckpt
    python train.py configs/vqa_gt_layout.yaml --resume auto
    python train.py configs/vqa_scratch.yaml --restarts 4
    python train.py configs/vqa_gt_layout.yaml --devices 4 --precision bf16-mixed --compile

Any configuration key can be overridden by its dotted name and a value. Checkpoints and logs go
to TRAIN.SNAPSHOT_DIR; `last.ckpt` there is the newest, `best-*.ckpt` the best on validation. Ctrl-C
saves `last.ckpt` and stops.
"""

import snmn  # noqa: F401  (first: see snmn.common.threads)

# isort: split
import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.synthetic.training_sources import training_sources
from config import Config, check_training, load_config, splits, stored_data, tasks, to_dict
from snmn.checkpoints.checkpoint import load_weights, read_checkpoint
from snmn.checkpoints.checks import check_model, check_resumable
from snmn.common.commands import run
from snmn.common.freed_memory import keep_freed_memory
from snmn.data.data_module import CLEVRDataModule
from snmn.data.from_settings import build_data
from snmn.storage.locks import lock_folder
from snmn.training.checkpoint_writing import keep_checkpoint, remove_remains
from snmn.training.from_settings import build_training
from snmn.training.interrupt import StopOnInterrupt
from snmn.training.lightning_module import quiet_lightning
from snmn.training.loggers import (
    LOGGERS,
    LoggerError,
    close_logger,
    make_logger,
    upload_checkpoints,
)
from snmn.training.newest_checkpoint import newest_resumable
from snmn.training.nonfinite_check import NonFiniteError
from snmn.training.restarts.comparison import Run, best_run, prior_score, report
from snmn.training.restarts.record_file import open_series
from snmn.training.restarts.train_seeds import train_seeds
from snmn.training.run_settings import another_run, run_settings
from snmn.training.score_history import ScoreHistory
from snmn.training.trainer import build_trainer as lightning_trainer
from snmn.training.trainer_options import check_precision, check_seeds, naming_options

say = rank_zero_only(print)  # Of several processes, one speaks.


def build_training_data(config: Config, *, seed: int) -> CLEVRDataModule:
    """Training and validation data."""
    settings, train = to_dict(config), config.TRAIN
    sources = training_sources(settings, stored_data(config, train), splits(config, train))
    return build_data(settings, train=sources, val=stored_data(config, config.TEST), seed=seed)


def build_trainer(
    config: Config,
    given: argparse.Namespace,
    directory: Path,
    *,
    name: str,
    resumed: bool,
    callbacks: Sequence[pl.Callback],
) -> pl.Trainer:
    """The trainer of a run of this name, in its directory; says where it logs to."""
    train = config.TRAIN
    logger, note = make_logger(
        given.logger,
        directory,
        name=name,
        project=config.WANDB_PROJECT_NAME,
        config=to_dict(config),
        resumed=resumed,
    )
    say(note)
    with naming_options(given.lightning):
        trainer = lightning_trainer(
            directory,
            max_steps=train.MAX_ITER,
            updates=len(tasks(config)),
            save_every=train.SNAPSHOT_INTERVAL,
            log_every=train.LOG_INTERVAL,
            clip_norm=train.GRAD_MAX_NORM if train.CLIP_GRADIENTS else None,
            ema_decay=train.EMA_DECAY,
            logger=logger,
            callbacks=callbacks,
            devices=given.devices,
            num_nodes=given.num_nodes,
            strategy=given.strategy,
            precision=given.precision,
            accelerator=given.accelerator,
        )
    if trainer.world_size > 1:
        size = train.BATCH_SIZE
        say(
            f"note: {trainer.world_size} processes make batches of {trainer.world_size} x {size} "
            "questions; TRAIN.SOLVER.LR stays what it is"
        )
    return trainer


def resume_path(config: Config, given: argparse.Namespace, directory: Path) -> Path | None:
    """The checkpoint that the command line or the configuration resumes from, if any."""
    path = None
    if given.resume == "auto":
        settings = run_settings(to_dict(config), seed=given.seed)
        found = newest_resumable(
            directory,
            updates=len(tasks(config)),
            interval=config.TRAIN.VAL_INTERVAL,
            settings=settings,
        )
        note = f"going on from {found[0]}" if found else another_run(directory, settings)
        if note:
            say(f"note: {note}")
        return found[0] if found else None
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
    add(
        "--resume",
        metavar="CKPT",
        help="go on from a checkpoint, exactly; auto: from the newest of this run, or begin",
    )
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
    options = ("devices", "num_nodes", "strategy", "precision", "accelerator")
    given.lightning = {
        f"--{name.replace('_', '-')}": getattr(given, name)
        for name in options
        if getattr(given, name) != parser.get_default(name)
    }
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
        config, given, directory, name=name, resumed=resume is not None, callbacks=[history, stop]
    )
    run = Run(seed, str(directory), history.scores)
    training = build_training(
        to_dict(config),
        seed=seed,
        question_types=QUESTION_TYPES,
        expression_types=REFERRING_TYPES,
    )
    if given.compile:
        training.model.compile()
    if resume is not None:
        load_weights(training.model, resume, read_checkpoint(resume), ema=False)
    data = build_training_data(config, seed=seed)
    data.check_processes(trainer.world_size)
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


def train_restarts(config: Config, given: argparse.Namespace, directory: Path) -> None:
    """Train --restarts runs, or go on with them, and keep the best one's checkpoint."""
    questions = build_training_data(config, seed=given.seed)
    questions.setup("validate")
    how = {f"--{name}": getattr(given, name) for name in ("precision", "compile")}
    series = open_series(
        directory / "restarts.json",
        seeds=range(given.seed, given.seed + given.restarts),
        command=given.command,
        settings=to_dict(config) | how,
        prior=prior_score(questions.questions("val")),
    )
    train_seeds(
        series,
        lambda seed, folder, resume: train_once(config, given, folder, seed=seed, resume=resume),
        updates=len(tasks(config)),
        max_steps=config.TRAIN.MAX_ITER,
        val_interval=config.TRAIN.VAL_INTERVAL,
    )
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
    named = given.resume not in (None, "auto")
    resume = ["LOAD", "True", "CHECKPOINT_FILENAME", given.resume] if named else []
    config, notes = load_config(given.config, [*given.overrides, *resume])
    for note in notes:
        say(f"note: {note}")
    check_training(config)
    check_seeds(given.seed, given.restarts or 1)
    check_precision(given.precision)
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
    resume = resume_path(config, given, directory)
    updates = config.TRAIN.MAX_ITER * len(tasks(config))
    if resume is not None and read_checkpoint(resume)["global_step"] >= updates:
        # As when a run was killed after its last step, before its last checkpoint.
        keep_checkpoint(resume, directory / "last.ckpt")
        say(f"{directory}/last.ckpt has all {config.TRAIN.MAX_ITER} steps")
        return
    run = train_once(config, given, directory, seed=given.seed, resume=resume)
    best = Path(run.checkpoint).name
    say(f"checkpoints: {directory}/last.ckpt" + (f", best on validation: {best}" if best else ""))


if __name__ == "__main__":
    run(main, "train.py")
