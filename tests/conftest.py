"""Settings of the whole test suite."""

import os

import torch

# Tests log where they are told to, whoever is logged in on the machine, and without a network.
os.environ.pop("WANDB_API_KEY", None)
os.environ["NETRC"] = os.devnull
os.environ["WANDB_MODE"] = "offline"

# The tests' matrices are too small for more, and several processes may share the machine.
torch.set_num_threads(1)
