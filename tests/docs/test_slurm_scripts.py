"""The SLURM scripts of docs/real_clevr.md: two local processes with the variables of a job.

`srun` is a program that starts as many tasks as the script asks for, up to two of them: two on
one machine, and one on each of two.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.errors import TERMINATED
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

PAGE = ROOT / "docs" / "real_clevr.md"

# Starts tasks, passes SIGTERM on to all of them as SLURM does, and ends as the worst of them.
SRUN = f"""#!{sys.executable}
import os, signal, socket, subprocess, sys
nodes, per_node = int(os.environ["NODES"]), int(os.environ["PER_NODE"])
with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = str(found.getsockname()[1])
tasks = []
for rank in range(nodes * per_node):
    node, local = divmod(rank, per_node)
    names = dict(NTASKS=nodes * per_node, NTASKS_PER_NODE=per_node, NNODES=nodes, PROCID=rank,
                 NODEID=node, LOCALID=local, JOB_ID=1, JOB_NAME="train", NODELIST="localhost")
    job = {{"SLURM_" + name: str(value) for name, value in names.items()}}
    job |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}}
    tasks.append(subprocess.Popen(sys.argv[1:], env=os.environ | job))
def passed_on(*_):
    for task in tasks:
        task.send_signal(signal.SIGTERM)
signal.signal(signal.SIGTERM, passed_on)
sys.exit(max(task.wait() for task in tasks))
"""


def scripts():
    """The lines of each script, and its nodes and tasks on each, of at most two in all."""
    found = re.findall(r"^```slurm\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for text in found:
        nodes = int(re.search(r"--nodes=(\d+)", text)[1])
        tasks = int(re.search(r"--ntasks-per-node=(\d+)", text)[1])
        # They say the same to SLURM and to train.py.
        assert f"--devices {tasks} --num-nodes {nodes} " in text
        assert f"--gpus-per-node={tasks} " in text
        yield text, nodes, 2 // nodes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    (root / "srun").write_text(SRUN)
    (root / "srun").chmod(0o755)
    (root / "python").symlink_to(sys.executable)
    return root, write_experiment(root)


def start(tiny, script, name, *more):
    """A script as a batch job has it, with the tiny experiment's settings at its end."""
    root, overrides = tiny
    text, nodes, tasks = script
    text = re.sub(r"--devices \d+", f"--devices {tasks}", text).rstrip("\n")
    more = ["EXP_NAME", name, "--accelerator", "cpu", "--logger", "none", "-s", "3", *more]
    quoted = " ".join(f"'{word}'" for word in [*overrides, "TRAIN.BATCH_SIZE", "4", *more])
    environment = os.environ | {
        "PATH": f"{root}:{os.environ['PATH']}",
        "NODES": str(nodes),
        "PER_NODE": str(tasks),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        ["bash", "-c", f"exec {text[text.index('srun') :]} {quoted}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("script", list(scripts()), ids=["one-machine", "two-machines"])
def test_a_script_trains_and_goes_on_after_sigterm(tiny, script):
    name, steps = f"nodes-{script[1]}", 400
    long = ["TRAIN.MAX_ITER", steps, "TRAIN.VAL_INTERVAL", steps, "TRAIN.SNAPSHOT_INTERVAL", 20]
    folder = tiny[0] / "runs" / name
    stopped = start(tiny, script, name, *map(str, long))
    while not list(folder.glob("step=*.ckpt")):
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    status, out, err = ended(stopped)
    assert status == TERMINATED and "Traceback" not in err
    assert out.count("2 processes make batches of 2 x 4 questions") == 1
    last = folder / "last.ckpt"
    sentence = f"train.py: stopped by SIGTERM; go on with --resume {last}"
    assert err.strip().splitlines()[-1] == sentence and err.count("stopped by") == 1
    assert 20 <= read_checkpoint(last)["global_step"] < steps

    status, out, err = ended(start(tiny, script, name, *map(str, long)))
    assert status == 0, err
    assert f"going on from {last}" in out
    assert read_checkpoint(last)["global_step"] == steps
