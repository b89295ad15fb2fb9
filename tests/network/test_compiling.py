"""`torch.compile` takes the whole step as one graph, and changes none of its numbers.

The backends here make no machine code of what the compiler traced.
"""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from snmn.network.model import build_model
from snmn.training.losses import SNMNLoss
from tests.helpers.paths import ROOT
from tests.network.test_no_host_reads import BOXES, CASES, SIZES, make_batch

COMPILED = {
    "plain": ({}, {}),
    "vqa": (
        {"validate_modules": True, "reconstruct_question": True},
        CASES["reading order"][1] | {"reconstruction_weight": 1.0, "weight_decay": 1e-5},
    ),
    "joint": (
        {"loc": True, "use_gumbel_softmax": True, "hard_sharpen": False, "answer_keep_prob": 0.5},
        BOXES | CASES["prior"][1] | CASES["sharpen"][1],
    ),
}


@pytest.fixture(autouse=True)
def lstms_too():
    """The compiler unrolls an LSTM, which takes long for long questions, only if told to."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield


def values_and_gradients(function, model):
    torch.manual_seed(1)
    losses = function()
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = torch.stack(list(losses.values())).sum()
    return losses, torch.autograd.grad(total, parameters, allow_unused=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "aot"), [("vqa", False), ("joint", False), ("plain", True)], ids=str
)
def test_forward_and_losses_are_one_graph(name, aot):
    of_model, of_loss = COMPILED[name]
    torch.manual_seed(0)
    model, loss = build_model(**SIZES, **of_model), SNMNLoss(**of_loss)
    batch, graphs = make_batch(), CompileCounter()

    def step():
        output = model(batch.question, batch.length, batch.image_features)
        return loss(output, batch, model, 1)

    # One backend counts graphs; the other traces backward as well, which takes longer.
    backend = "aot_eager" if aot else graphs
    compiled = torch.compile(step, backend=backend, fullgraph=True)
    actual, expected = values_and_gradients(compiled, model), values_and_gradients(step, model)
    assert graphs.frame_count == (0 if aot else 1)
    torch.testing.assert_close(actual[0], expected[0])
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_nothing_that_is_compiled_caches_properties():
    """`functools.cached_property` has a lock on Python 3.10 and 3.11, which stops the compiler."""
    folders = ("snmn/network", "snmn/training", "snmn/common")
    sources = [path.read_text() for folder in folders for path in (ROOT / folder).glob("*.py")]
    assert len(sources) > 20 and not any("cached_property" in source for source in sources)
