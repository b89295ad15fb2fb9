"""How long steps will take on this machine, from a few of what they do, done here and now.

Rendering, features, training and pretraining are measured, a few seconds each. What else a training
run does (drawing questions, validation), how many passes an explained question takes, and how fast
questions are read is assumed.
"""

import os
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from benchmarks.reproduce.steps import Step
from benchmarks.step import MINI
from benchmarks.step import Step as Network
from clevr_prep.data.extraction import pick_device
from clevr_prep.pretraining.evaluate import normalise
from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.backbones import build_backbone
from snmn.backbones.cellnet import CellNet

# Of a run's time, beside its updates: questions drawn by another process, validation, checkpoints.
_AROUND_TRAINING = 1.3
# Passes of the network: as it is, made discrete, and without the features under several masks.
_PASSES = 8
_READ = 4000  # questions a second, with their layouts


def seconds(step: Step) -> float:
    """That a step's work takes."""
    return sum(amount * MEASURES[unit]() for unit, amount in step.work.items())


def _seconds_each(work: Callable[[], object], times: int) -> float:
    work()  # Compiles, allocates, warms up.
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


@cache
def _image() -> float:
    rng = np.random.default_rng(0)
    one = _seconds_each(
        lambda: render_scene(sample_scene(rng, width=240, height=160, samples=4)), 4
    )
    return one / (os.cpu_count() or 1)


@cache
def _features() -> float:
    device = pick_device("auto")
    backbone = build_backbone("cellnet").to(device)
    pixels = torch.zeros(16, 224, 224, 3, dtype=torch.uint8, device=device)
    return _seconds_each(lambda: backbone(backbone.normalise(pixels)).cpu(), 2) / 16


@cache
def _network() -> Network:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Network(images=6, each=10, device=device, **MINI)


def _waiting(work: Callable[[], object]) -> Callable[[], None]:
    def done() -> None:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return done


@cache
def _training_step() -> float:
    return _AROUND_TRAINING * _seconds_each(_waiting(_network().train), 8)


@cache
def _explained_question() -> float:
    network = _network()
    return _PASSES * _seconds_each(_waiting(network.answer), 4) / len(network)


@cache
def _pretraining_step() -> float:
    network = CellNet().to(memory_format=torch.channels_last).train()
    pixels = normalise(torch.zeros(32, 224, 224, 3, dtype=torch.uint8))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found = network.predict(network.trunk(pixels))
        sum(part.square().mean() for part in found.values()).backward()

    return _seconds_each(step, 1)


MEASURES: dict[str, Callable[[], float]] = {
    "images": _image,
    "features": _features,
    "questions read": lambda: 1 / _READ,
    "training steps": _training_step,
    "pretraining steps": _pretraining_step,
    "explained questions": _explained_question,
}
