"""Products with a shared operand: the gradient that is collected is the ordinary one."""

import pytest
import torch

from snmn.network.model import build_model
from snmn.network.shared_operand import SharedOperand
from tests.network.test_speedups import SIZES, make_batch

B, R, D, K = 2, 5, 3, 4


@pytest.fixture(params=[True, False], ids=["collected", "ordinary"])
def collects(request, monkeypatch):
    monkeypatch.setattr(SharedOperand, "collects", request.param)


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_gradients_are_those_of_plain_products(collects):
    operand, query, weights = tensors((B, R, D), (B, K, D), (B, K, R))

    def function(operand, query, weights):
        shared = SharedOperand(2 * operand)
        mixed = shared.mixtures(weights)
        squares = shared.products_of_squares(query), shared.products_of_squares(mixed)
        return *squares, shared.products(query), shared.products(mixed)  # Products of products.

    def plain(operand, query, weights):
        mixed = weights @ (2 * operand)
        squares = (2 * operand).square()
        products = query @ (2 * operand).mT, mixed @ (2 * operand).mT
        return query @ squares.mT, mixed @ squares.mT, *products

    pairs = zip(function(operand, query, weights), plain(operand, query, weights), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(function, (operand, query, weights))


@pytest.mark.parametrize("needed", [0, 1])
def test_one_side_may_need_no_gradient(needed):
    operand, query, weights = tensors((B, R, D), (B, K, D), (B, K, R))
    (query if needed == 0 else operand).requires_grad_(False)
    weights.requires_grad_(needed == 1)

    def function(operand, query, weights):
        shared = SharedOperand(operand)
        return shared.products(query), shared.mixtures(weights), shared.products_of_squares(query)

    assert torch.autograd.gradcheck(function, (operand, query, weights))


@pytest.mark.parametrize("name", ["products", "products_of_squares"])
def test_one_kind_of_product_alone(collects, name):
    operand, query = tensors((B, R, D), (B, K, D))
    function = lambda operand, query: getattr(SharedOperand(operand), name)(query)  # noqa: E731
    assert torch.autograd.gradcheck(function, (operand, query))


def test_what_is_used_by_no_loss_has_no_gradient():
    operand, query = tensors((B, R, D), (B, K, D))
    shared = SharedOperand(operand)
    unused = shared.products(query)
    (gradient,) = torch.autograd.grad(0 * operand.sum(), operand, allow_unused=True)
    assert unused.requires_grad and not gradient.any()


def test_a_second_backward_pass_collects_anew():
    operand, query = tensors((B, R, D), (B, K, D))
    total = SharedOperand(operand).products(query).sum()
    first, second = (torch.autograd.grad(total, operand, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_a_model_has_the_same_values_and_gradients_without(monkeypatch):
    torch.manual_seed(0)
    model, batch = build_model(**SIZES).double(), make_batch(torch.float64)
    found = []
    for collects in (True, False):
        monkeypatch.setattr(SharedOperand, "collects", collects)
        output = model(batch.question, batch.length, batch.features)
        total = output.answer_logits.square().sum() + output.image_attention.square().sum()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
        found.append([output.answer_logits, output.stack, *gradients])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
