"""What makes the model fast does not change what it learns or says."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks.plain_model import PlainSNMN
from snmn.network.model import build_model
from snmn.training.losses import SNMNLoss
from snmn.training.optimiser import TFAdam
from tests.helpers.paths import ROOT
from tests.helpers.small_models import SMALL

N, S, H, W, F = 8, 7, 3, 4, 6
SIZES = SMALL | {"feature_dim": F, "num_words": 9, "num_answers": 5, "stack_length": 4}


def make_batch(dtype):
    random = torch.Generator().manual_seed(3)
    length = torch.randint(1, S + 1, (N,), generator=random)
    return SimpleNamespace(
        question=torch.randint(1, 9, (N, S), generator=random),
        length=length,
        features=torch.randn(N // 2, H, W, F, generator=random).to(dtype),
        answer=torch.randint(0, 5, (N,), generator=random),
        layout=torch.randint(0, 9, (N, 9), generator=random),
        box_cell=None,
    )


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    return build_model(**SIZES).to(dtype)


def trained(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def loss_curve(model, steps):
    batch = make_batch(torch.float64)
    loss = SNMNLoss(layout_weight=1.0, weight_decay=1e-4)
    optimiser = TFAdam(model.parameters(), lr=2e-3)
    curve = []
    for step in range(steps):
        optimiser.zero_grad()
        output = model(batch.question, batch.length, batch.features)
        total = sum(loss(output, batch, model, step).values())
        total.backward()
        optimiser.step()
        curve.append(total.item())
    return torch.tensor(curve)


@pytest.mark.slow
def test_learns_as_the_plain_model():
    ours, plain = make_model(torch.float64), PlainSNMN(make_model(torch.float64))
    curve = loss_curve(ours, 100)
    torch.testing.assert_close(curve, loss_curve(plain, 100), rtol=1e-4, atol=1e-4)
    assert curve[-1] < 0.9 * curve[0]


def test_mixed_precision_stays_close():
    model, batch = make_model(), make_batch(torch.float32)
    loss = SNMNLoss(layout_weight=1.0)
    outputs, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            output = model(batch.question, batch.length, batch.features)
            total = sum(loss(output, batch, model, 0).values())
        outputs.append(output)
        gradient = torch.autograd.grad(total, trained(model), allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in gradient if g is not None]))
    full, mixed = outputs
    for name in ("answer_logits", "module_probs", "stack", "memory"):
        exact, close = getattr(full, name), getattr(mixed, name).float()
        assert (close - exact).norm() < 0.03 * exact.norm(), name
    # The stack stays in float32: it is written to nine times.
    assert mixed.stack.dtype == torch.float32
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_memory_is_kept_where_the_c_library_can():
    name = "keep_freed_memory"
    result = subprocess.run(
        [sys.executable, "-c", f"from snmn.common.freed_memory import {name}; print({name}())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert result.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
