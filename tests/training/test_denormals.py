"""Numbers too small for a processor to count fast are zeros while training, and only then."""

import pytest
import torch

import train
from snmn.training.denormals import denormals_as_zeros

SMALL = torch.tensor(1e-40)


def are_zeros() -> bool:
    return (SMALL * torch.tensor(1.0)).item() == 0.0


def test_they_are_zeros_as_long_as_it_lasts():
    assert not are_zeros()
    with pytest.raises(ValueError), denormals_as_zeros():
        assert are_zeros()
        raise ValueError
    assert not are_zeros()


def test_they_are_zeros_in_training(monkeypatch):
    seen = []
    monkeypatch.setattr(train, "train", lambda given: seen.append(are_zeros()))
    train.main(["configs/mini_vqa_scratch.yaml"])
    assert seen == [True] and not are_zeros()
