"""A step never waits for its device: nothing in it has a result that the host must read.

PyTorch's fake tensors have a device, here a GPU that need not be there, and a shape, but no
numbers. Whatever the host would have to know, such as the number that `.item()` gives or the size
of what a boolean index leaves, raises.
"""

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.utils._python_dispatch import TorchDispatchMode

from snmn.common.reading_order import NOBODY
from snmn.network.model import build_model
from snmn.network.shared_operand import SharedOperand
from snmn.training.lightning_module import SNMNTraining
from snmn.training.losses import UNKNOWN, SNMNLoss
from snmn.training.optimiser import TFAdam
from tests.helpers.small_models import SMALL

N, S, T, H, W, F = 4, 5, 3, 3, 4, 6
SIZES = SMALL | {"num_steps": T, "stack_length": 4}
BOXES = {"cell_weight": 1.0, "offset_weight": 1.0, "layout_weight": 1.0}
PRIOR = [(0, "_Find _Find/_Scene _DescribeOne"), (2, "_Find _Transform _DescribeTwo")]
# Arguments of the model and of the loss.
CASES = {
    "vqa": ({}, {"layout_weight": 1.0, "weight_decay": 1e-5}),
    "loc": ({"vqa": False, "loc": True}, {"answer_weight": None, **BOXES}),
    "joint": ({"loc": True, "box_convolutional": False, "box_use_question": True}, BOXES),
    "question and convolution": (
        {"loc": True, "box_use_question": True, "cell_affine": None, "normalize_features": True},
        BOXES,
    ),
    "reconstruction": (
        {"reconstruct_question": True, "answer_keep_prob": 0.5},
        {"reconstruction_weight": 1.0},
    ),
    "reading order": ({}, {"layout_weight": 1.0, "reading_order_weight": 1.0}),
    "sharpen": (
        {"hard_sharpen": False, "linear_module_weights": False},
        {"sharpen_weight": 1.0, "sharpen_end": 4, "sharpen_scaling": "cosine"},
    ),
    "sharpen the most probable": ({}, {"sharpen_weight": 1.0, "sharpen_type": "max_prob"}),
    "prior": ({}, {"prior_layouts": PRIOR, "prior_weight": 1.0, "prior_end": 9}),
    "validation": (
        {"validate_modules": True, "describe_one_keep_stack": False, "guard_pointer": False},
        {},
    ),
    "hard validation": (
        {"validate_modules": True, "hard_validation": True, "hard_argmax_layout": True},
        {},
    ),
    "gumbel": (
        {"use_gumbel_softmax": True, "use_word_embed": False, "normalize_attention": False},
        {},
    ),
}


def make_batch(device="cpu", task="vqa"):
    """N questions about half as many images, with all labels that there are."""
    batch = SimpleNamespace(
        task=task,
        question=torch.arange(1, N * S + 1).view(N, S),
        length=torch.tensor([S, 1, 3, 2]),
        image_features=torch.linspace(-1, 1, N // 2 * H * W * F).view(N // 2, H, W, F),
        answer=torch.tensor([0, 3, UNKNOWN, 27]),
        layout=torch.tensor([[1, 2, 7], [1, 1, 8], [6, 7, 0], [0, 0, 0]]),
        next_read=torch.tensor([[1, NOBODY, NOBODY]] * N),
        box_cell=torch.tensor([0, UNKNOWN, 11, 5]),
        box_offset=torch.linspace(-2, 2, N * 4).view(N, 4),
        question_index=torch.arange(N),
        image=torch.tensor([0, 0, 1, 1]),
    )
    for name, value in vars(batch).items():
        if isinstance(value, torch.Tensor):
            setattr(batch, name, value.to(device))
    return batch


class Transfer(Exception):
    """Something is copied between the host and the device, which waits for it."""


class NoTransfers(TorchDispatchMode):
    """Raises Transfer for a copy to another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != result.device:
            raise Transfer(f"a copy of {list(result.shape)} to the device {result.device}")
        return result


@contextmanager
def fake_device():
    """Tensors made within are fake, and meeting a genuine one raises."""
    # A GPU's own LSTM would ask the GPU; Python's dispatcher has one made of other operations.
    with (
        torch.backends.cudnn.flags(enabled=False),
        enable_python_dispatcher(),
        FakeTensorMode(allow_non_fake_inputs=False) as mode,
    ):
        assert mode.shape_env is None  # Sizes and numbers that depend on data are forbidden.
        yield mode


def moved(module, mode):
    """A genuine module with all that its ``to`` would move on the device, as fake tensors."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            there = mode.from_tensor(parameter).detach().to("cuda")
            setattr(part, name, nn.Parameter(there, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, mode.from_tensor(buffer).to("cuda"))
    return module


FORBIDDEN = (DataDependentOutputException, DynamicOutputShapeException, Transfer)


@pytest.mark.parametrize("training", [True, False], ids=["train", "test"])
@pytest.mark.parametrize("name", CASES)
def test_forward_and_losses_leave_the_host_alone(name, training):
    of_model, of_loss = CASES[name]
    model, loss = build_model(**SIZES, **of_model).train(training), SNMNLoss(**of_loss)
    with fake_device() as mode:
        model, loss, batch = moved(model, mode), moved(loss, mode), make_batch("cuda")
        with NoTransfers():
            output = model(batch.question, batch.length, batch.image_features)
            losses = loss(output, batch, model, 1)
    weights = {"answer_weight": 1.0} | of_loss
    named = {name.removesuffix("_weight") for name in weights if weights[name] is not None}
    known = "answer layout cell offset reconstruction reading_order sharpen prior".split()
    l2 = {"l2"} if "weight_decay" in weights else set()
    assert set(losses) == named & set(known) | l2
    assert all(value.device.type == "cuda" and not value.shape for value in losses.values())


@pytest.mark.parametrize(
    "read",
    [
        lambda batch: batch.length.tolist(),
        lambda batch: batch.length.max().item(),
        lambda batch: bool(batch.length.any()),
        lambda batch: batch.question[:, : batch.length.max()],
        lambda batch: batch.box_offset[batch.box_cell >= 0],
        lambda batch: batch.box_cell.nonzero(),
        lambda batch: torch.nn.utils.rnn.pack_padded_sequence(batch.question, batch.length.cpu()),
        lambda batch: batch.box_offset.cpu(),
        lambda batch: batch.box_offset * torch.ones(4).to("cuda"),
        lambda batch: torch.tensor(3.0, device="cuda"),
    ],
)
def test_what_the_host_reads_or_sends_is_noticed(read):
    with fake_device():
        batch = make_batch("cuda")
        with NoTransfers(), pytest.raises(FORBIDDEN):
            read(batch)


def test_a_tensor_that_stayed_on_the_host_is_noticed():
    left_behind = torch.ones(4)
    with fake_device(), pytest.raises(Exception, match="FakeTensor"):
        make_batch("cuda").box_offset * left_behind


def test_a_read_in_the_model_is_noticed(monkeypatch):
    plain = SharedOperand.products

    def products(self, vectors):
        assert vectors.any()
        return plain(self, vectors)

    monkeypatch.setattr(SharedOperand, "products", products)
    with pytest.raises(DataDependentOutputException):
        test_forward_and_losses_leave_the_host_alone("vqa", True)


def test_updates_are_counted_on_the_host():
    reads = []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                reads.append(func)
            return func(*args, **(kwargs or {}))

    def updates(number):
        for _ in range(number):
            weight.grad = torch.ones(3)
            optimiser.step()

    weight = nn.Parameter(torch.ones(3))
    optimiser = TFAdam([weight], lr=0.1)
    with Reads():
        updates(3)
    assert not reads
    # A state that was loaded says how many there were, and is asked once.
    optimiser.load_state_dict(optimiser.state_dict())
    with Reads():
        updates(3)
    assert len(reads) == 1
    assert optimiser.param_groups[0]["eps"] == 1e-8 / (1 - 0.999**6) ** 0.5
    with Reads():
        optimiser = copy.deepcopy(optimiser)
        weight = optimiser.param_groups[0]["params"][0]
        updates(1)
    assert optimiser.param_groups[0]["eps"] == 1e-8 / (1 - 0.999**7) ** 0.5


class Trainer:
    """What a training step asks of Lightning's trainer."""

    def __init__(self, log_every):
        self.log_every_n_steps, self.global_step, self.global_rank = log_every, 0, 0
        self.training, self.checkpoint_callback = True, None
        self.strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)


@pytest.mark.parametrize("task", ["vqa", "loc"])
def test_a_training_step_that_logs_nothing_leaves_the_host_alone(task, monkeypatch):
    logged = {}
    model = SIZES | {"vqa": task == "vqa", "loc": task == "loc"}
    loss = {"answer_weight": 1.0} if task == "vqa" else {"answer_weight": None, **BOXES}
    module = SNMNTraining(model=model, loss=loss)
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "_trainer", Trainer(log_every=2))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: None)
    with fake_device() as mode:
        moved(module, mode)
        batch = make_batch("cuda", task)
        with NoTransfers():
            module.on_train_batch_start(batch, 0)
            module.training_step(batch, 0)
    assert set(logged) == {"step"} and logged["step"].device.type == "cpu"


def test_what_the_bar_shows_is_on_the_host(monkeypatch):
    """Lightning reads it after every batch, also of those after which nothing was logged."""
    shown = {}

    def log(name, value, prog_bar=False, **_):
        if prog_bar:
            shown[name] = value

    module = SNMNTraining(model=SIZES, loss={})
    monkeypatch.setattr(module, "log", log)
    monkeypatch.setattr(module, "_trainer", Trainer(log_every=1))
    monkeypatch.setattr(module, "lr_schedulers", lambda: SimpleNamespace(get_last_lr=lambda: [0.1]))
    monkeypatch.setattr(module._watch, "check", lambda folder: None)
    module.log_is_due = True
    with fake_device() as mode:
        moved(module, mode)
        module.training_step(make_batch("cuda"), 0)
    assert set(shown) == {"train/loss", "train/accuracy"}
    assert {value.device.type for value in shown.values()} == {"cpu"}
