"""The modules' algebra equals the plain version, values and gradients, for every option."""

import itertools

import pytest
import torch

from benchmarks.plain_model import PlainNMN
from snmn.network.knowledge_base import KnowledgeBase
from snmn.network.nmn import StackNMN

N, T, L, P, C, D = 6, 9, 4, 12, 5, 8

OPTIONS = [
    dict(
        zip(
            ("guarded", "hard_sharpen", "validate", "hard_validation", "keep_stack"), o, strict=True
        )
    )
    for o in itertools.product([True, False], repeat=5)
    if o[2] or not o[3]
]


def build(length, o):
    nmn = StackNMN(
        control_dim=C,
        kb_dim=D,
        memory_dim=D,
        stack_length=length,
        guard_pointer=o["guarded"],
        hard_sharpen=o["hard_sharpen"],
        soft_sharpen_temperature=0.3,
        validate_modules=o["validate"],
        hard_validation=o["hard_validation"],
        describe_one_keep_stack=o["keep_stack"],
        describe_two_keep_stack=not o["keep_stack"],
    ).double()
    plain = PlainNMN(
        nmn,
        guarded=o["guarded"],
        hard_sharpen=o["hard_sharpen"],
        temperature=0.3,
        validate=o["validate"],
        hard_validation=o["hard_validation"],
    )
    return nmn, plain


def inputs(seed):
    torch.manual_seed(seed)
    control = torch.randn(N, T, C, dtype=torch.float64)
    # Sharp enough to move the pointer about, soft enough to mix modules.
    probs = (3 * torch.randn(N, T, 9, dtype=torch.float64)).softmax(-1)
    cells = torch.randn(N, P, D, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in (control, probs, cells)]


@pytest.mark.parametrize("length", [1, L])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(k for k, v in o.items() if v))
def test_equals_plain_modules_in_value_and_gradient(length, options):
    torch.manual_seed(0)
    nmn, plain = build(length, options)
    tensors = inputs(1)
    control, probs, cells = tensors

    run = nmn(control, probs, KnowledgeBase(cells, questions_per_image=1))
    stacks, pointers, memory = plain.run(control, probs, cells)

    expected_stack = torch.stack(stacks, dim=1).transpose(2, 3)
    expected_pointer = torch.stack(pointers, dim=1)
    pairs = [
        (run.stack, expected_stack),
        (run.pointer, expected_pointer),
        (run.memory, memory),
        (run.attention, (expected_stack * expected_pointer[..., None]).sum(2)),
    ]
    torch.manual_seed(2)
    ours = theirs = 0.0
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
        mix = torch.randn_like(actual)
        ours, theirs = ours + (mix * actual).sum(), theirs + (mix * expected).sum()

    leaves = [*tensors, *nmn.parameters()]
    gradients = torch.autograd.grad(ours, leaves, allow_unused=True)
    expected = torch.autograd.grad(theirs, leaves, allow_unused=True)
    for actual, wanted in zip(gradients, expected, strict=True):
        if wanted is None:
            assert actual is None or not actual.any()
        else:
            torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-9)


def test_questions_of_one_image_share_its_knowledge_base():
    nmn, _ = build(L, OPTIONS[0])
    control, probs, cells = inputs(3)
    shared = nmn(control, probs, KnowledgeBase(cells[:2], questions_per_image=3))
    repeated = cells[:2].repeat_interleave(3, dim=0)
    apart = nmn(control, probs, KnowledgeBase(repeated, questions_per_image=1))
    torch.testing.assert_close(shared.stack, apart.stack)
    torch.testing.assert_close(shared.memory, apart.memory)


@pytest.mark.parametrize("rest", [1e-7, 1e-20, 1e-38, 1e-44, 0.0])
def test_weight_all_but_wholly_on_impossible_modules(rest):
    """Dividing by what little is left overflows float32, first in the gradient."""
    nmn, _ = build(L, OPTIONS[0] | {"validate": True})
    nmn.float()
    probs = torch.full((N, T, 9), rest)
    probs[:, :, 4] = 1.0  # _And on an empty stack
    probs.requires_grad_()
    control, _, cells = (x.float() for x in inputs(4))
    run = nmn(control, probs, KnowledgeBase(cells, questions_per_image=1))
    run.stack.square().mean().backward()
    assert run.stack.isfinite().all()
    assert probs.grad.isfinite().all()


def test_a_hard_layout_without_a_valid_module_changes_nothing():
    nmn, _ = build(L, OPTIONS[0] | {"validate": True, "hard_validation": True})
    control, _, cells = inputs(4)
    impossible = torch.zeros(N, T, 9, dtype=torch.float64)
    impossible[:, :, 4] = 1.0  # _And on an empty stack
    run = nmn(control, impossible, KnowledgeBase(cells, questions_per_image=1))
    assert not run.stack.any() and not run.memory.any()
    assert (run.pointer[..., 0] == 1).all()
