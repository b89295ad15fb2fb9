"""How much arithmetic the published experiments take, and how long a device needs for it.

    python -m benchmarks.flops [--rate 10 --extraction-utilisation 0.8 --training-utilisation 0.5]

PyTorch's counter counts the floating-point operations of matrix products and convolutions, two for
a multiplication with its addition: ResNet-101 up to conv4 for one image, and for each configuration
one iteration (forward, losses, backward) of the batch and model that its file names. All else that
an iteration does, such as ELU or Adam, is bound by memory and not counted; it is part of what a
utilisation below 1 stands for.

With --rate, a device's TFLOP/s in large matrix products, hours are FLOP / (rate x utilisation), the
utilisations being what `python -m benchmarks.full_size` measures on a CPU, or a guess. A GPU is
told each call of an operation by the processor, which takes some microseconds: the number of calls
is another floor.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import resnet101

from benchmarks.questions import make_scene
from benchmarks.step import encoded, operations, questions
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from config import Config, load_config, tasks, to_dict
from snmn.backbones import BACKBONES
from snmn.checkpoints.published_settings import loss_arguments, model_arguments
from snmn.network.model import build_model
from snmn.training.losses import SNMNLoss

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXPERIMENTS = [
    f"{task}_{layouts}" for layouts in ("gt_layout", "scratch") for task in ("vqa", "loc", "joint")
]
IMAGES = 100_000  # of CLEVR, all splits
RESTARTS = 4  # of experiments without expert layouts, as published


class Calls(TorchDispatchMode):
    """Counts the operations that are called, but for those that only look at memory anew."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


def parameters(module: nn.Module) -> int:
    """Numbers that a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def resnet101_c4() -> nn.Module:
    """ResNet-101 up to conv4, on a device that has shapes but no numbers."""
    with torch.device("meta"):
        network = resnet101(weights=None).eval()
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    return nn.Sequential(*(getattr(network, name) for name in names))


def extraction() -> tuple[int, int]:
    """Operations for one image, and parameters, of the backbone."""
    network, size = resnet101_c4(), BACKBONES["resnet101_c4"].image_size
    image = torch.empty(1, 3, size, size, device="meta")
    with torch.no_grad():
        return operations(lambda: network(image)), parameters(network)


def make_batch(task: str, size: int, cells: int) -> SimpleNamespace:
    """As many questions or expressions about random scenes, with random labels."""
    if task == "vqa":
        return questions(size, 1)
    rng, said = np.random.default_rng(0), []
    for _ in range(size):
        scene = make_scene(rng, int(rng.integers(3, 11)))
        said += generate_expressions(scene, range(len(scene["objects"])), 1, rng)
    cell = torch.from_numpy(rng.integers(0, cells, size))
    return SimpleNamespace(
        **encoded(said), answer=None, box_cell=cell, box_offset=torch.zeros(size, 4)
    )


def training(name: str) -> tuple[Config, nn.Module, int, int]:
    """A configuration, its model, and the operations and calls of one iteration."""
    config, _ = load_config(CONFIGS / f"{name}.yaml")
    settings, shape = to_dict(config), config.MODEL
    torch.manual_seed(0)
    model = build_model(**model_arguments(settings)).train()
    loss = SNMNLoss(**loss_arguments(settings))
    size, cells = config.TRAIN.BATCH_SIZE, shape.H_FEAT * shape.W_FEAT
    features = torch.zeros(size, shape.H_FEAT, shape.W_FEAT, shape.FEAT_DIM)
    batches = [make_batch(task, size, cells) for task in tasks(config)]

    def iteration() -> None:
        for batch in batches:
            losses: dict[str, Tensor] = loss(
                model(batch.question, batch.length, features), batch, model, 0
            )
            torch.stack(list(losses.values())).sum().backward()

    with Calls() as calls:
        iteration()
    return config, model, operations(iteration), calls.number


def hours(amount: float, rate: float, utilisation: float) -> float:
    """FLOP / (rate x utilisation), ``rate`` in TFLOP/s."""
    return amount / (rate * 1e12 * utilisation) / 3600


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, help="TFLOP/s of a device, for hours")
    parser.add_argument("--extraction-utilisation", type=float, default=1.0, help="share of it")
    parser.add_argument("--training-utilisation", type=float, default=1.0, help="share of it")
    parser.add_argument("--experiment", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    given = parser.parse_args(arguments)
    if given.rate is not None and given.rate <= 0:
        parser.error("--rate must be more than 0")
    for name in ("extraction_utilisation", "training_utilisation"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")

    def time(amount: float, utilisation: float) -> str:
        return f"{hours(amount, given.rate, utilisation):10.2f} h" if given.rate else ""

    image, size = extraction()
    print(f"resnet101_c4: {size / 1e6:.1f} M parameters, {image / 1e9:.2f} GFLOP an image")
    total = image * IMAGES
    share = given.extraction_utilisation
    print(f"{IMAGES:,} images: {total / 1e15:.2f} PFLOP{time(total, share)}\n")
    print(
        f"{'':16}{'parameters':>12}{'iteration':>14}{'calls':>8}{'iterations':>12}{'runs':>6}"
        f"{'in all':>14}"
    )
    for name in given.experiment:
        config, model, iteration, calls = training(name)
        runs = 1 if config.TRAIN.USE_GT_LAYOUT else RESTARTS
        total = iteration * config.TRAIN.MAX_ITER * runs
        print(
            f"{name:16}{parameters(model) / 1e6:10.2f} M{iteration / 1e9:8.1f} GFLOP"
            f"{calls:8}{config.TRAIN.MAX_ITER:12}{runs:6}{total / 1e15:8.1f} PFLOP"
            f"{time(total, given.training_utilisation)}"
        )


if __name__ == "__main__":
    main()
