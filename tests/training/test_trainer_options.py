"""What Lightning refuses, before training and testing: one sentence each."""

import importlib.util
import os
import signal

import pytest

import train
from snmn.common.commands import run
from snmn.common.errors import TERMINATED, Interrupted
from snmn.data.datasets import DataError
from snmn.training.lightning_module import SNMNTraining
from snmn.training.trainer_options import TrainerError
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

CONFIG = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")

_spec = importlib.util.spec_from_file_location("snmn_test_command", ROOT / "test.py")
test_command = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(test_command)

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("options")
    return [*write_experiment(root), "TRAIN.SNAPSHOT_DIR", f"{root}/runs/%s/"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--accelerator tpu", r"cannot train with --accelerator tpu \(.*torch_xla"),
        ("--accelerator mps", "cannot train with --accelerator mps"),
        ("--accelerator abacus", "cannot train with --accelerator abacus"),
        ("--precision fp16", "--precision must be one of 32-true, bf16-mixed, 16-mixed, not 'fp1"),
        ("--precision 64-true", "not '64-true'"),
        ("--precision bf16-true", "not 'bf16-true'"),
        ("--precision transformer-engine", "not 'transformer-engine'"),
        ("--accelerator cpu --devices 0", "cannot train with --devices 0 --accelerator cpu"),
        ("--accelerator cpu --devices=-1", "cannot train with --devices -1"),
        ("--accelerator cpu --devices 1.5", "cannot train with --devices 1.5"),
        ("--accelerator cpu --devices 0,1", "cannot train with --devices 0,1"),
        ("--num-nodes 0", "cannot train with --num-nodes 0"),
        ("--strategy dp", r"cannot train with --strategy dp \(You selected an invalid strategy"),
        ("--accelerator cpu --strategy fsdp", "cannot train with --strategy fsdp"),
        ("--strategy deepspeed", "cannot train with --strategy deepspeed"),
        ("-s=-1", "-s must lie between 0 and 4294967295, not be -1"),
        ("-s 4294967296", "-s must lie between 0 and 4294967295, not be 4294967296"),
        ("-s 4294967295 --restarts 2", "-s must lie between 0 and 4294967294"),
    ],
)
def test_options_that_cannot_be(tiny, options, message):
    with pytest.raises(TrainerError, match=message) as told:
        train.main([CONFIG, *tiny, "--logger", "none", *options.split()])
    assert "\n" not in str(told.value) and ". " not in str(told.value)


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_where_there_is_none(tiny, name):
    with pytest.raises(TrainerError, match=f"cannot train with --accelerator {name} "):
        train.main([CONFIG, *tiny, "--logger", "none", "--accelerator", name])


def test_slurm_s_variables_in_a_shell(tiny, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    message = r"SLURM's variables do not fit .*SLURM_JOB_NAME=bash before the command"
    with pytest.raises(TrainerError, match=message):
        train.main([CONFIG, *tiny, "--logger", "none"])
    with monkeypatch.context() as patch:
        patch.setattr(test_command, "load_training", lambda *_, **__: (None, []))
        with pytest.raises(TrainerError, match=message):
            test_command.main([CONFIG, "a.ckpt", *tiny])
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # The way out that the message names.
    train.main([CONFIG, *tiny, "--logger", "none", "TRAIN.MAX_ITER", "1"])


def test_fewer_validation_batches_than_processes_before_any_is_started(tiny, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.Trainer.fit", lambda *_, **__: pytest.fail("started"))
    options = ["--logger", "none", "--accelerator", "cpu", "--devices", "2"]
    with pytest.raises(DataError, match=r"val has fewer batches \(1\) than there are processes"):
        train.main([CONFIG, *tiny, *options, "TEST.BATCH_SIZE", "1000"])


def test_sigterm_while_testing_is_a_sentence(tiny, monkeypatch):
    train.main([CONFIG, *tiny, "--logger", "none", "TRAIN.MAX_ITER", "1"])
    last = tiny[tiny.index("TRAIN.SNAPSHOT_DIR") + 1].replace("%s", "mini_vqa_gt_layout")
    step = SNMNTraining.test_step

    def told_to_stop(module, batch, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(module, batch, index)

    monkeypatch.setattr(SNMNTraining, "test_step", told_to_stop)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="^stopped by SIGTERM$") as told:
        test_command.main([CONFIG, f"{last}/last.ckpt", *tiny])
    assert told.value.status == TERMINATED
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_command_that_a_scheduler_stopped_exits_as_shells_have_it(capsys):
    def stopped():
        raise Interrupted("stopped by SIGTERM; go on", TERMINATED)

    with pytest.raises(SystemExit) as exit:
        run(stopped, "train.py")
    assert exit.value.code == 143
    assert capsys.readouterr().err == "train.py: stopped by SIGTERM; go on\n"
