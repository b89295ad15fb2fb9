"""Settings of the whole test suite."""

import os

import pytest
import torch

pytest_plugins = ["pytester", "tests.helpers.reliability"]

# Tests log where they are told to, whoever is logged in on the machine, and without a network.
os.environ.pop("WANDB_API_KEY", None)
os.environ["NETRC"] = os.devnull
os.environ["WANDB_MODE"] = "offline"

# The tests' matrices are too small for more, and several processes may share the machine.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def resnet():
    """A ResNet-101 with weights of its own making."""
    from torchvision.models import resnet101  # Slow to load, and wanted by few tests.

    torch.manual_seed(0)
    network = resnet101(weights=None).eval()
    # Fresh batch norms are the identity: make their order and place matter.
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network
