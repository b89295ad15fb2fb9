"""Test a checkpoint: how often it is right, and on request how it got there.

    python test.py configs/vqa_gt_layout.yaml runs/vqa_gt_layout/last.ckpt
    python test.py configs/vqa_gt_layout.yaml CHECKPOINT --split test
    python test.py configs/mini_vqa_gt_layout.yaml --bundled vqa_gt_layout
    python test.py configs/mini_vqa_gt_layout.yaml CHECKPOINT --figures 20 --separate
    python test.py configs/mini_vqa_gt_layout.yaml CHECKPOINT --explain
    python test.py configs/mini_vqa_gt_layout.yaml CHECKPOINT --browse
    python test.py configs/mini_vqa_gt_layout.yaml CHECKPOINT --batches 3 TEST.BATCH_SIZE 100

Prints accuracy by question type, precision by type of expression, or both, with 95% confidence
intervals, and writes under RESULTS/EXPERIMENT/SPLIT/:

    predictions.csv               one line a question; with --explain also its trace in words, the
                                  discrete program and what it gives, and its marks
    summary.json                  all that is printed, the confusion of layouts, calibration
    CLEVR_<split>_answers.txt     questions only: the predicted answers, one a line, in the order
                                  of the questions file
    vis/                          with --figures: how the model went about it, step by step
    reliability.png               with --explain: accuracy against confidence

--explain asks whether what the model shows is what it does, on data with scene annotations and
programs (TEST.DATA_DIR, TEST.DATA_DIR_LOC); the measures are defined in
snmn/evaluation/explanation_measures.py, the marks in snmn/evaluation/marks.py.

--browse then serves a page that lists the questions, by type, verdict and more, and shows of each
how the model went about it. SNMN_RESULTS=RESULTS/EXPERIMENT uvicorn server.main:app does that
without another test.

Tests the moving average of the weights unless --raw.
"""

import snmn  # noqa: F401  (first: see snmn.common.threads)

# isort: split
import argparse
import shlex
import sys
from pathlib import Path

import pytorch_lightning as pl

from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.truth.explaining import build_explainer
from config import Config, check_heads, load_config, splits, stored_data, to_dict
from server.browse import browse, listen
from snmn.checkpoints.bundled import bundled_names, bundled_path
from snmn.common.commands import run
from snmn.common.freed_memory import keep_freed_memory
from snmn.common.paths import home_path
from snmn.data.from_settings import build_data
from snmn.evaluation.result_files import write_results
from snmn.figures.figure_writer import FigurePlan, FigureWriter
from snmn.network.own_modules import import_modules
from snmn.storage.typed_settings import ConfigError
from snmn.training.from_checkpoint import load_training
from snmn.training.interrupt import stopping_on_sigterm
from snmn.training.logs.batch_bar import BatchBar
from snmn.training.logs.quiet import quiet_lightning
from snmn.training.trainer_options import naming_options


def result_folders(config: Config) -> dict[str, Path]:
    """Where the results of each task's split go."""
    root = Path(config.TEST.RESULT_DIR.replace("%s", config.EXP_NAME).replace("%08d", ""))
    return {task: root / split for task, split in splits(config, config.TEST).items()}


def datasets(config: Config) -> dict[str, Path]:
    """The dataset folder of each task: its images, scenes and questions."""
    return {"vqa": Path(config.TEST.DATA_DIR), "loc": Path(config.TEST.DATA_DIR_LOC)}


def build_figures(config: Config) -> FigureWriter | None:
    """What draws figures, if the configuration asks for any."""
    test = config.TEST
    if not (test.NUM_VIS or test.VIS_SEPARATE_CORRECTNESS):
        return None
    plan = FigurePlan(
        count=test.NUM_VIS,
        separate=test.VIS_SEPARATE_CORRECTNESS,
        correct=test.NUM_VIS_CORRECT,
        incorrect=test.NUM_VIS_INCORRECT,
        show_answer=test.VIS_SHOW_ANSWER,
        show_stack=test.VIS_SHOW_STACK,
        show_image=test.VIS_SHOW_IMG,
    )
    folders = {task: path / test.VIS_DIR_PREFIX for task, path in result_folders(config).items()}
    images = {
        task: datasets(config)[task] / "images" / split
        for task, split in splits(config, test).items()
    }
    return FigureWriter(plan, folders=folders, images=images)


def count(text: str) -> int:
    """A number of figures or batches, or a port, on the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=home_path, help="yaml file of the experiment")
    parser.add_argument("checkpoint", nargs="?", help="file made by train.py or snmn.convert")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings to change")
    parser.add_argument(
        "--bundled", metavar="NAME", help="a model that comes with the project, not a CHECKPOINT"
    )
    parser.add_argument(
        "--split",
        help="val or test, of expressions loc_val or loc_test (TEST.SPLIT_VQA, SPLIT_LOC)",
    )
    parser.add_argument("--out", metavar="RESULTS", help="folder of results (TEST.RESULT_DIR)")
    parser.add_argument("--raw", action="store_true", help="the raw weights (TEST.USE_EMA False)")
    parser.add_argument(
        "--figures", type=count, metavar="N", help="draw the first N questions (TEST.NUM_VIS)"
    )
    parser.add_argument(
        "--separate",
        action="store_true",
        help="draw the first N correct ones and the first N incorrect ones instead",
    )
    parser.add_argument(
        "--explain", action="store_true", help="compare what the model shows with the scenes"
    )
    parser.add_argument(
        "--without-deletions",
        action="store_true",
        help="with --explain, delete nothing from images: a third of the time",
    )
    parser.add_argument(
        "--browse", action="store_true", help="then list the questions on a page of this machine"
    )
    parser.add_argument("--port", type=count, default=8000, help="of that page (8000)")
    parser.add_argument("--batches", type=count, metavar="N", help="stop after so many batches")
    given = parser.parse_intermixed_args(arguments)
    if given.bundled and given.checkpoint and len(given.overrides) % 2:
        # Without a path, what stands in its place is the first setting's name.
        given.overrides.insert(0, given.checkpoint)
        given.checkpoint = None
    if (given.checkpoint is None) == (given.bundled is None):
        known = ", ".join(bundled_names())
        parser.error(f"give either a CHECKPOINT or --bundled NAME, which is one of: {known}")
    return given


def option_overrides(given: argparse.Namespace) -> list[str]:
    """The KEY VALUE pairs that the command's options stand for."""
    pairs: list[str] = []
    if given.split:
        name = given.split.removeprefix("loc_")
        pairs += ["TEST.SPLIT_VQA", name, "TEST.SPLIT_LOC", f"loc_{name}"]
    if given.out:
        pairs += ["TEST.RESULT_DIR", f"{given.out}/%s/"]
    if given.raw:
        pairs += ["TEST.USE_EMA", "False"]
    if given.figures is not None:
        for key in ("NUM_VIS", "NUM_VIS_CORRECT", "NUM_VIS_INCORRECT"):
            pairs += [f"TEST.{key}", str(given.figures)]
    if given.separate:
        pairs += ["TEST.VIS_SEPARATE_CORRECTNESS", "True"]
    return pairs


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    quiet_lightning()
    keep_freed_memory()
    if given.bundled:
        given.checkpoint = str(bundled_path(given.bundled))
    else:
        given.checkpoint = str(home_path(given.checkpoint))
    config, notes = load_config(given.config, [*given.overrides, *option_overrides(given)])
    check_heads(config)
    taken = listen(given.port) if given.browse else None  # before the test takes its time
    data = build_data(to_dict(config), test=stored_data(config, config.TEST))
    training, changed = load_training(
        given.checkpoint, data, to_dict(config), ema=config.TEST.USE_EMA
    )
    for note in [*notes, *changed]:
        print(f"note: {note}")
    figures = build_figures(config)
    explainer = None
    if given.explain:
        deleting = not given.without_deletions
        found = datasets(config), splits(config, config.TEST)
        try:
            explainer = build_explainer(*found, data, training.model, deleting=deleting)
        except DatasetError as error:
            keys = "TEST.DATA_DIR or TEST.DATA_DIR_LOC"
            raise ConfigError(f"{error}; {keys} names them") from None
    with naming_options({}):
        trainer = pl.Trainer(
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            limit_test_batches=given.batches,
            callbacks=[callback for callback in (figures, explainer, BatchBar()) if callback],
        )
    try:
        with stopping_on_sigterm():
            trainer.test(training, datamodule=data, verbose=False)
    except DatasetError as error:  # The annotations that an explanation is made from.
        raise ConfigError(str(error)) from None
    about = {
        "experiment": config.EXP_NAME,
        "command": shlex.join(["python", "test.py", *(arguments or sys.argv[1:])]),
        "checkpoint": given.checkpoint,
        "weights": "moving average" if config.TEST.USE_EMA else "raw",
    }
    tested = []
    for task, folder in result_folders(config).items():
        if task in training.predictions:
            tested.append(folder)
            imdb, batches = data.questions("test")[task], training.predictions[task]
            explained, columns = {}, {}
            if explainer:
                explained["explanation"] = explainer.explanations[task].summary()
                columns = explainer.columns[task]
            about_task = about | {
                "split": folder.name,
                "images": str(datasets(config)[task] / "images" / folder.name),
                "features": stored_data(config, config.TEST)[task][0],
            }
            names = training.model.module_names
            print(write_results(folder, imdb, batches, about_task, explained, names, columns))
        else:
            print(f"\nno batch of {folder.name} was tested")
    for line in figures.summary() if figures else ():
        print(line)
    if taken and tested:
        browse(tuple(tested), import_modules(config.MODEL.NMN.MODULES), taken)


if __name__ == "__main__":
    run(main, "test.py")
