"""Features as stores and other programs keep them: the model computes in its own type."""

import pytest
import torch

from snmn.network.model import build_model
from tests.helpers.tiny.server import SIZES

QUESTION, LENGTH = torch.tensor([[3, 5, 8], [9, 4, 0]]), torch.tensor([3, 2])


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_features_of_another_type(kept, own):
    torch.manual_seed(0)
    model = build_model(**SIZES, vqa=True, loc=True).eval().to(own)
    features = torch.rand(2, 14, 14, SIZES["feature_dim"]).to(kept)
    with torch.inference_mode():
        found = model(QUESTION, LENGTH, features)
        expected = model(QUESTION, LENGTH, features.to(own))
    assert found.answer_logits.dtype == found.box_offsets.dtype == own
    torch.testing.assert_close(found.answer_logits, expected.answer_logits)
    torch.testing.assert_close(found.cell_scores, expected.cell_scores)
