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
from contextlib import nullcontext
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.synthetic.training_sources import training_sources
from config import Config, check_training, load_config, splits, stored_data, tasks, to_dict
from snmn.checkpoints.checkpoint import load_weights, read_checkpoint
from snmn.common.commands import run
from snmn.common.freed_memory import keep_freed_memory
from snmn.common.paths import home_path
from snmn.data.data_module import CLEVRDataModule
from snmn.data.from_settings import build_data
from snmn.storage.locks import lock_folder
from snmn.training.denormals import denormals_as_zeros
from snmn.training.from_settings import build_run_trainer, build_training
from snmn.training.interrupt import StopOnInterrupt, stopping_on_sigterm
from snmn.training.logs.loggers import LOGGERS, close_logger, upload_checkpoints
from snmn.training.logs.quiet import quiet_lightning
from snmn.training.logs.wandb_account import LoggerError
from snmn.training.nonfinite_check import NonFiniteError
from snmn.training.restarts.comparison import Run, best_run, prior_score, report
from snmn.training.restarts.record_file import open_series
from snmn.training.restarts.train_seeds import train_seeds
from snmn.training.resuming.checkpoint_writing import keep_checkpoint, remove_remains
from snmn.training.resuming.run_identity import data_identity
from snmn.training.resuming.score_history import ScoreHistory
from snmn.training.resuming.starting_point import named_checkpoint, own_checkpoint
from snmn.training.trainer_options import check_precision, check_seeds

# Options that are Lightning's.
LIGHTNING = ("devices", "num_nodes", "strategy", "precision", "accelerator")

say = rank_zero_only(print)  # Of several processes, one speaks.


def build_training_data(config: Config, *, seed: int) -> CLEVRDataModule:
    """Training and validation data."""
    settings, train = to_dict(config), config.TRAIN
    sources = training_sources(settings, stored_data(config, train), splits(config, train))
    return build_data(settings, train=sources, val=stored_data(config, config.TEST), seed=seed)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", type=home_path, help="yaml file of the experiment")
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
    given.lightning = {name: getattr(given, name) for name in LIGHTNING}
    given.lightning_given = {
        f"--{name.replace('_', '-')}": value
        for name, value in given.lightning.items()
        if value != parser.get_default(name)
    }
    return given


def train_once(
    config: Config,
    given: argparse.Namespace,
    directory: Path,
    data: CLEVRDataModule,
    *,
    seed: int,
    resume: Path | None = None,
) -> Run:
    """Train one run; returns what became of it, without a verdict."""
    pl.seed_everything(seed, verbose=False)
    name = config.EXP_NAME if given.restarts is None else f"{config.EXP_NAME}-{seed}"
    history, stop = ScoreHistory(), StopOnInterrupt(directory / "last.ckpt")
    trainer, notes = build_run_trainer(
        to_dict(config),
        directory,
        name=name,
        updates=len(tasks(config)),
        resumed=resume is not None,
        callbacks=[history, stop],
        logger=given.logger,
        options=given.lightning,
        given=given.lightning_given,
    )
    for note in notes:
        say(note)
    if trainer.is_global_zero:
        data.setup("fit")
        for path in data.write_chosen(directory):
            print(f"{path} names the questions whose layouts are used")
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
        upload_checkpoints(trainer.logger, paths)
    close_logger(trainer.logger)
    return run


def train_restarts(config: Config, given: argparse.Namespace, directory: Path) -> None:
    """Train --restarts runs, or go on with them, and keep the best one's checkpoint."""
    data = build_training_data(config, seed=given.seed)
    data.setup("fit")
    how = {f"--{name}": getattr(given, name) for name in ("precision", "compile")}
    series = open_series(
        directory / "restarts.json",
        seeds=range(given.seed, given.seed + given.restarts),
        command=given.command,
        settings=to_dict(config) | how | data_identity(data),
        prior=prior_score(data.questions("val")),
    )

    def train_seed(seed: int, folder: Path, resume: Path | None) -> Run:
        data = build_training_data(config, seed=seed)
        return train_once(config, given, folder, data, seed=seed, resume=resume)

    train_seeds(
        series,
        train_seed,
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
    # Training itself stops in better order.
    with denormals_as_zeros(), stopping_on_sigterm():
        train(given)


def train(given: argparse.Namespace) -> None:
    """Train what the command line asks for."""
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
    settings, updates = to_dict(config), len(tasks(config))
    resume = named_checkpoint(settings, directory)
    data = build_training_data(config, seed=given.seed)
    if given.resume == "auto":
        resume, note = own_checkpoint(settings, directory, data, seed=given.seed, updates=updates)
        if note:
            say(f"note: {note}")
    done = 0 if resume is None else read_checkpoint(resume)["global_step"]
    if resume is not None and done >= config.TRAIN.MAX_ITER * updates:
        # As when a run was killed after its last step, before its last checkpoint.
        keep_checkpoint(resume, directory / "last.ckpt")
        say(f"{directory}/last.ckpt has all {config.TRAIN.MAX_ITER} steps")
        return
    run = train_once(config, given, directory, data, seed=given.seed, resume=resume)
    best = Path(run.checkpoint).name
    say(f"checkpoints: {directory}/last.ckpt" + (f", best on validation: {best}" if best else ""))


if __name__ == "__main__":
    run(main, "train.py")
