"""The model equals its plain rendering from question and features to answers and boxes."""

import pytest
import torch

from benchmarks.plain_model import PlainSNMN
from snmn.network.model import build_model
from tests.network.test_speedups import SIZES, make_batch

# What the plain model computes of all that an output has.
NAMES = (
    "answer_logits module_logits module_probs question_attention stack stack_pointer "
    "image_attention memory cell_scores box_offsets box_offset"
).split()


@pytest.mark.parametrize(
    "options", [{}, {"normalize_features": True}], ids=["published", "centred"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equals_the_plain_model_in_value_and_gradient(dtype, options):
    torch.manual_seed(0)
    # Attention picked out a little, or the pointer would never see one module differ from another.
    model = build_model(**SIZES, **options, loc=True, attention_init_scale=10.0).to(dtype)
    batch = make_batch(dtype)
    if options:
        model.knowledge_base.fit_normalization(batch.features)
    inputs = batch.question, batch.length, batch.features
    ours, plain = model(*inputs), PlainSNMN(model)(*inputs)
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    )
    torch.manual_seed(1)
    totals = [0.0, 0.0]
    for name in NAMES:
        actual, expected = getattr(ours, name), getattr(plain, name)
        torch.testing.assert_close(
            actual, expected, **tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )
        mix = torch.randn_like(expected)
        totals = [
            total + (mix * value).mean()
            for total, value in zip(totals, (actual, expected), strict=True)
        ]
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(total, parameters) for total in totals]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, **tolerance)
