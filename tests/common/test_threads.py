"""Threads sleep while they wait, unless the user has said how they should."""

import os
import subprocess
import sys

import pytest

from snmn.common.threads import wait_asleep
from tests.helpers.paths import ROOT

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")

# What OpenMP reads when PyTorch is loaded: the variable must be there by then.
PROGRAM = """
import builtins, os, sys
real = builtins.__import__
def watch(name, *rest):
    if name == "torch" and "torch" not in sys.modules:
        print("torch", os.environ.get("OMP_WAIT_POLICY"))
        sys.exit()
    return real(name, *rest)
builtins.__import__ = watch
import {module}
from {module} import *
"""


@pytest.fixture
def unset(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # To be put back at the end,
        monkeypatch.delenv(name)  # whoever sets it meanwhile.


@pytest.mark.parametrize(
    "module",
    ["train", "test", "snmn.predict", "snmn.convert", "server.main"]
    + ["clevr_prep.train_cellnet", "clevr_prep.data.extract_resnet101_c4"],
)
def test_commands_say_so_before_pytorch_is_loaded(unset, module):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "torch PASSIVE\n", done.stderr


@pytest.mark.parametrize("name", VARIABLES)
def test_the_user_s_own_variables_win(unset, monkeypatch, name):
    monkeypatch.setenv(name, "7")
    wait_asleep()
    assert {key for key in VARIABLES if key in os.environ} == {name} and os.environ[name] == "7"
