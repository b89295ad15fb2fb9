"""The stack under any sequence of modules: a distribution, finite, and no under- or overflow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.common.vocabulary import MODULE_INDEX, MODULES
from snmn.network.knowledge_base import KnowledgeBase
from snmn.network.nmn import StackNMN

P, C, D = 4, 3, 5
# What a module takes from the stack and puts on it, with KEEP_STACK as published.
TAKES = {"_NoOp": 0, "_Find": 0, "_Scene": 0, "_Transform": 1, "_Filter": 1, "_And": 2, "_Or": 2}
GIVES = {"_NoOp": 0} | dict.fromkeys(("_Find", "_Scene", "_Transform", "_Filter", "_And", "_Or"), 1)

quick = settings(derandomize=True, max_examples=60, deadline=None, database=None)
quicker = settings(quick, max_examples=25)
SEQUENCES = st.lists(st.sampled_from(MODULES), min_size=1, max_size=24)
LENGTHS = st.integers(1, 9)
EXTREME = st.sampled_from([0.0, 1.0, -1.0, 30.0, -30.0, 1e3, -1e4, 1e30, -1e30])


def build(length, *, seed=0, scale=1.0, **options):
    torch.manual_seed(seed)
    nmn = StackNMN(control_dim=C, kb_dim=D, memory_dim=D, stack_length=length, **options)
    with torch.no_grad():
        for parameter in nmn.parameters():
            parameter.mul_(scale)
    return nmn


def run(nmn, probs, *, scale=1.0, grad=False):
    """Run module probabilities [N,T,M] on a random question and image."""
    torch.manual_seed(1)
    control = (scale * torch.randn(len(probs), probs.shape[1], C)).requires_grad_(grad)
    cells = (scale * torch.randn(len(probs), P, D)).requires_grad_(grad)
    return nmn(control, probs, KnowledgeBase(cells, questions_per_image=1)), (control, cells)


def one_hot(sequence):
    return torch.eye(len(MODULES))[[MODULE_INDEX[name] for name in sequence]][None]


def height_after(sequence, length):
    """Maps on a stack of ``length`` places, or None where a module could not run.

    The pointer at place l stands for l maps, so that place 0 is that of the empty stack.
    """
    height = 0
    for name in sequence:
        if not runs(name, height, length):
            return None
        if name == "_Filter":
            # As published it pushes what it finds and then runs And, also on a full stack, whose
            # end the push cannot pass: there it ends one place lower.
            height = min(height + 1, length - 1) - 1
        else:
            height += GIVES.get(name, 0) - TAKES.get(name, 0)
    return height


def runs(name, height, length):
    """Whether a module finds its inputs at a height, and room for what it puts there."""
    takes = {"_DescribeOne": 1, "_DescribeTwo": 2}.get(name, TAKES.get(name))
    after = height - takes + GIVES.get(name, 1)
    return height >= takes and after <= length - 1


@pytest.mark.slow
@pytest.mark.slow
@quick
@given(
    logits=st.lists(
        st.lists(EXTREME, min_size=len(MODULES), max_size=len(MODULES)), min_size=1, max_size=20
    ),
    length=LENGTHS,
    hard=st.booleans(),
    validate=st.booleans(),
    hard_validation=st.booleans(),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    keep=st.booleans(),
)
def test_any_weights_leave_a_distribution_and_finite_numbers(
    logits, length, hard, validate, hard_validation, scale, keep
):
    nmn = build(
        length,
        scale=scale,
        hard_sharpen=hard,
        validate_modules=validate,
        hard_validation=hard_validation,
        describe_one_keep_stack=keep,
        describe_two_keep_stack=not keep,
    )
    logits = torch.tensor(logits)[None].requires_grad_()
    execution, inputs = run(nmn, logits.softmax(dim=-1), scale=scale, grad=True)
    pointer = execution.pointer
    assert ((pointer >= 0) & (pointer <= 1 + 1e-6)).all()
    torch.testing.assert_close(pointer.sum(dim=-1), torch.ones(pointer.shape[:2]))
    if hard:
        assert (pointer.amax(dim=-1) == 1).all()
    for name, value in vars(execution).items():
        assert value.isfinite().all(), name
    total = sum(value.double().sum() for value in vars(execution).values())
    leaves = [logits, *inputs, *nmn.parameters()]
    for gradient in torch.autograd.grad(total, leaves, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


@quicker
@given(sequence=SEQUENCES, length=LENGTHS)
def test_masks_forbid_exactly_the_under_and_overflows(sequence, length):
    """After any valid prefix, the mask is what counting maps says."""
    nmn = build(length, validate_modules=True, hard_validation=True)
    valid = []
    for name in sequence:
        if height_after([*valid, name], length) is not None:
            valid.append(name)
    valid = valid or ["_NoOp"]
    execution, _ = run(nmn, one_hot(valid))
    for step in range(len(valid)):
        height = height_after(valid[: step + 1], length)
        pointer = execution.pointer[0, step]
        assert pointer.argmax().item() == height and pointer.max() == 1
        expected = [float(runs(name, height, length)) for name in MODULES]
        assert (pointer @ nmn.validity).tolist() == expected
        # All weight goes to what can run, and where nothing asked for can, to NoOp.
        weights = nmn._weights(torch.eye(len(MODULES)), pointer.expand(len(MODULES), -1))
        for index, name in enumerate(MODULES):
            runner = index if runs(name, height, length) else MODULE_INDEX["_NoOp"]
            assert weights[index].argmax().item() == runner and weights[index].max() == 1


@pytest.mark.slow
@pytest.mark.slow
@quick
@given(sequence=SEQUENCES, length=LENGTHS)
def test_impossible_modules_leave_everything_as_it_is(sequence, length):
    nmn = build(length, validate_modules=True, hard_validation=True)
    possible, height = [], 0
    for name in sequence:
        possible.append(name if runs(name, height, length) else "_NoOp")
        height = height_after(possible, length)
    asked, _ = run(nmn, one_hot(sequence))
    done, _ = run(nmn, one_hot(possible))
    for name, value in vars(asked).items():
        assert torch.equal(value, vars(done)[name]), name


@pytest.mark.slow
@pytest.mark.slow
@quicker
@given(seed=st.integers(0, 10**6), swap=st.booleans())
def test_layouts_of_any_program_run_without_underflow(seed, swap):
    """Layouts of random questions fit into 9 steps and end on an empty or full answer's stack."""
    rng = np.random.default_rng(seed)
    nmn = build(8, validate_modules=True, hard_validation=True)
    for entry in generate_questions(sample_scene(rng), 2, rng):
        layout = expert_layout(entry["program"])
        assert len(layout) <= 9
        height = height_after(layout[:-1], 8)
        assert height == {"_DescribeOne": 1, "_DescribeTwo": 2}[layout[-1]]
        padded = layout + ["_NoOp"] * (9 - len(layout))
        execution, _ = run(nmn, one_hot(padded))
        unchecked, _ = run(build(8), one_hot(padded))
        assert torch.equal(execution.pointer, unchecked.pointer)
        assert torch.equal(execution.memory, unchecked.memory)
        assert execution.pointer[0, -1].argmax().item() == height
