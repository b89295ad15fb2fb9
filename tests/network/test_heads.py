"""Each variant of the localisation heads against the formula it stands for, and training them."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchmarks.plain_model import norm
from snmn import build_model
from snmn.common.boxes import box_iou, decode_boxes
from snmn.network.heads import BoxOffsets, CellScores, offsets_at
from snmn.network.knowledge_base import KnowledgeBase
from snmn.training.losses import SNMNLoss
from snmn.training.optimiser import TFAdam

N, I, H, W, D, Q = 6, 3, 3, 4, 5, 7


@pytest.fixture
def scene():
    """Cells of each question's image [N,P,D], the knowledge base, attention and question."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(I, H * W, D, generator=generator)
    attention = torch.randn(N, H * W, generator=generator)
    question = torch.randn(N, Q, generator=generator)
    return cells.repeat_interleave(N // I, 0), KnowledgeBase(cells, N // I), attention, question


def with_random_weights(module):
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def test_scores_of_a_scalar_affine(scene):
    _, _, attention, _ = scene
    head = CellScores(height=H, width=W, affine="scalar")
    assert torch.equal(head(attention), attention)
    head.weight.data.fill_(-2.0)
    head.bias.data.fill_(0.5)
    torch.testing.assert_close(head(attention), 2 * attention + 0.5)


def test_scores_of_an_affine_for_each_cell(scene):
    _, _, attention, _ = scene
    head = with_random_weights(CellScores(height=H, width=W, affine="cell"))
    weight, bias = head.weight.tolist(), head.bias.tolist()
    expected = [
        [abs(w) * a + b for w, a, b in zip(weight, row, bias, strict=True)]
        for row in attention.tolist()
    ]
    torch.testing.assert_close(head(attention), torch.tensor(expected))


def test_scores_of_a_convolution(scene):
    _, _, attention, _ = scene
    head = with_random_weights(CellScores(height=H, width=W, affine=None))
    padded = F.pad(attention.view(N, H, W), (1, 1, 1, 1))
    kernel = head.convolution.weight[0, 0]
    expected = torch.stack(
        [
            (padded[:, r : r + 3, c : c + 3] * kernel).sum((1, 2)) + head.convolution.bias
            for r in range(H)
            for c in range(W)
        ],
        dim=1,
    )
    torch.testing.assert_close(head(attention), expected)


@pytest.mark.parametrize("use_question", [False, True])
@pytest.mark.parametrize("convolutional", [False, True])
def test_offsets(scene, convolutional, use_question):
    cells, knowledge, attention, question = scene
    head = with_random_weights(
        BoxOffsets(kb_dim=D, question_dim=Q, convolutional=convolutional, use_question=use_question)
    )
    inputs = cells if convolutional else (attention.softmax(1)[..., None] * cells).sum(1)
    if use_question:
        mapped = head.question(question)
        inputs = norm(inputs * (mapped[:, None] if convolutional else mapped))
    expected = head.offset(inputs)
    offsets = head(knowledge, attention, question)
    torch.testing.assert_close(offsets, expected)
    at = torch.tensor([0, 3, 11, 5, 5, 2])
    chosen = expected[torch.arange(N), at] if convolutional else expected
    torch.testing.assert_close(offsets_at(offsets, at), chosen)


def test_the_offset_given_is_that_of_the_best_cell():
    sizes = {"feature_dim": 6, "height": H, "width": W, "num_steps": 3, "embed_dim": 5}
    sizes |= {"lstm_dim": 8, "pe_dim": 4, "kb_dim": 8, "memory_dim": 8}
    model = build_model(**sizes, vqa=False, loc=True, box_use_question=True)
    torch.manual_seed(0)
    output = model(torch.randint(0, 82, (4, 6)), torch.full((4,), 6), torch.rand(2, H, W, 6))
    assert output.answer_logits is None
    for n in range(4):
        best = output.cell_scores[n].argmax()
        assert torch.equal(output.box_offset[n], output.box_offsets[n, best])
    torch.testing.assert_close(output.cell_scores, output.image_attention[:, -1].flatten(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell_affine": None, "box_use_question": True},
        {"cell_affine": "cell", "box_convolutional": False, "box_use_question": True},
    ],
    ids=["published", "convolution and question", "cell and attended"],
)
def test_thirty_two_expressions_are_overfitted(options):
    torch.manual_seed(0)
    sizes = {"feature_dim": 6, "height": H, "width": W, "num_steps": 3, "embed_dim": 16}
    sizes |= {"lstm_dim": 32, "pe_dim": 4, "kb_dim": 32, "memory_dim": 32, "stack_length": 3}
    model = build_model(**sizes, vqa=False, loc=True, attention_init_scale=10.0, **options)
    # Eight expressions, each about four of eight images, so that words alone do not tell the box.
    question, length = (
        torch.randint(0, 82, (8, 7)).repeat(4, 1),
        torch.randint(2, 8, (8,)).repeat(4),
    )
    layout = torch.tensor([1, 2, 0]) * torch.randint(0, 2, (8, 3)).repeat(4, 1)
    layout[:, 0] = 1  # _Find, then perhaps _Transform
    features = torch.rand(8, H, W, 6)
    size = torch.tensor([[80, 60], [120, 90]]).repeat_interleave(4, 0).repeat(4, 1)
    # The boxes of an image lie in different cells, as a cell has one box whatever is asked.
    cell = torch.cat([torch.randperm(H * W)[:4] for _ in range(8)])
    offset = (0.2 + 0.3 * torch.rand(32, 4)) * torch.tensor([-1, -1, 1, 1])
    box = decode_boxes(cell, offset, size, (H, W))
    batch = SimpleNamespace(answer=None, layout=layout, box_cell=cell, box_offset=offset)
    loss = SNMNLoss(layout_weight=1.0, cell_weight=1.0, offset_weight=1.0)
    optimiser = TFAdam(model.parameters(), lr=1e-2)
    for step in range(400):
        losses = loss(model(question, length, features), batch, model, step)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 8.0)
        optimiser.step()
    assert set(losses) == {"layout", "cell", "offset"}
    output = model.eval()(question, length, features)
    predicted = decode_boxes(output.cell_scores.argmax(1), output.box_offset, size, (H, W))
    assert (box_iou(predicted, box) >= 0.5).all()
    assert sum(losses.values()) < 0.05
