"""Products with a shared operand: the gradient gathered in a ledger is the ordinary one."""

import pytest
import torch

from snmn.network.collected import Collected, Ledger

B, R, D, K = 2, 5, 3, 4


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_gradients_are_those_of_plain_products():
    operand, query, weights = tensors((B, R, D), (B, K, D), (B, K, R))

    def function(operand, query, weights):
        collected = Collected(2 * operand)
        mixed = collected.mixtures(weights)
        # A product of a product, and a use outside the ledger.
        return collected.products(query), collected.products(mixed), collected.operand.sum(dim=1)

    def plain(operand, query, weights):
        mixed = weights @ (2 * operand)
        return query @ (2 * operand).mT, mixed @ (2 * operand).mT, (2 * operand).sum(dim=1)

    for ours, theirs in zip(
        function(operand, query, weights), plain(operand, query, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(function, (operand, query, weights))


@pytest.mark.parametrize("needed", [0, 1])
def test_one_side_may_need_no_gradient(needed):
    pair = tensors((B, R, D), (B, K, D))
    pair[1 - needed].requires_grad_(False)

    def function(operand, query):
        return Collected(operand).products(query)

    assert torch.autograd.gradcheck(function, pair)


def test_a_settled_ledger_is_empty():
    ledger = Ledger()
    assert ledger.settle() is None
    weights, vectors, start = (torch.randn(B, *shape) for shape in ((K, R), (K, D), (R, D)))
    ledger.add(weights, vectors)
    ledger.add(2 * weights, vectors)
    torch.testing.assert_close(ledger.settle(), 3 * weights.mT @ vectors)
    assert ledger.settle() is None
    ledger.add(weights, vectors)
    expected = start + weights.mT @ vectors
    torch.testing.assert_close(ledger.settle(start), expected)
