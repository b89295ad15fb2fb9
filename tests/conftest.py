"""Settings of the whole test suite."""

import torch

# The tests' matrices are too small for more, and several processes may share the machine.
torch.set_num_threads(1)
