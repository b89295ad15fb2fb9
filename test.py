"""Test a checkpoint.

    python test.py configs/vqa_gt_layout.yaml runs/vqa_gt_layout/last.ckpt
    python test.py configs/mini_vqa_gt_layout.yaml CHECKPOINT TEST.SPLIT_VQA test

Prints accuracy by question type, precision by type of expression, or both, and writes every
prediction to predictions.csv under TEST.RESULT_DIR. Tests the moving average of the weights unless
TEST.USE_EMA is False.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl

from config import Config, check_heads, load_config, splits, stored_data, to_dict
from snmn.allocation import keep_freed_memory
from snmn.checkpoint import check_model, model_state, read_checkpoint
from snmn.data import CLEVRDataModule
from snmn.predictions import prediction_rows, score_table, write_csv
from snmn.published import loss_arguments
from snmn.training import SNMNTraining, quiet_lightning
from train import run


def load_training(config: Config, path: str) -> SNMNTraining:
    """The training module of a checkpoint, with averaged or raw weights."""
    checkpoint, settings = read_checkpoint(path), to_dict(config)
    check_model(path, checkpoint, settings)
    hyper = checkpoint["hyper_parameters"]
    hyper.setdefault("loss", loss_arguments(settings))  # Converted checkpoints have none.
    training = SNMNTraining(**hyper)
    training.model.load_state_dict(model_state(checkpoint, ema=config.TEST.USE_EMA))
    return training


def build_data(config: Config) -> CLEVRDataModule:
    """Test data, from a configuration."""
    model = config.MODEL
    return CLEVRDataModule(
        test=stored_data(config, config.TEST),
        batch_size=config.TEST.BATCH_SIZE,
        num_workers=config.TRAIN.NUM_WORKERS,
        grid=(model.H_FEAT, model.W_FEAT),
        feature_dim=model.FEAT_DIM,
        steps=model.T_CTRL,
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="yaml file of the experiment")
    parser.add_argument("checkpoint", help="file made by train.py or snmn.convert")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings to change")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    quiet_lightning()
    keep_freed_memory()
    config, notes = load_config(given.config, given.overrides)
    for note in notes:
        print(f"note: {note}")
    check_heads(config)
    training = load_training(config, given.checkpoint)
    data = build_data(config)
    trainer = pl.Trainer(
        devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.test(training, datamodule=data, verbose=False)
    directory = Path(config.TEST.RESULT_DIR.replace("%s", config.EXP_NAME).replace("%08d", ""))
    for task, split in splits(config, config.TEST).items():
        rows = prediction_rows(training.predictions[task], data.questions("test")[task])
        path = directory / split / "predictions.csv"
        write_csv(path, rows)
        print(f"\n{config.EXP_NAME} on {split}\n{score_table(rows)}")
        print(f"predictions: {path}")


if __name__ == "__main__":
    run(main, "test.py")
