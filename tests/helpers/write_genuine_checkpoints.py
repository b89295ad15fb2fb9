"""Writes checkpoints with the classes of pytorch-lightning 1.0.8, which no longer installs.

    python tests/helpers/write_genuine_checkpoints.py FOLDER

FOLDER/state.pt holds the weights. The classes are made here, in modules of the names that a pickle
of that version gives; prints a JSON table from what is special in a file to its path.
"""

import argparse
import collections
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch


def make_class(module: str, name: str, *bases: type) -> type:
    """A class that pickles as MODULE NAME."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    made = type(name, bases, {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


ModelCheckpoint = make_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
EarlyStopping = make_class("pytorch_lightning.callbacks.early_stopping", "EarlyStopping")
AttributeDict = make_class("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
CfgNode = make_class("yacs.config", "CfgNode", dict)


def checkpoint(state: dict, **more: object) -> dict:
    score = torch.tensor(0.97)
    weights = [torch.nn.Parameter(torch.zeros(2, 3))]
    optimiser = torch.optim.Adam(weights)
    weights[0].sum().backward()
    optimiser.step()
    return {
        "epoch": 12,
        "global_step": 131136,
        "pytorch-lightning_version": "1.0.8",
        "callbacks": {
            ModelCheckpoint: {
                "monitor": "valid/acc",
                "best_model_score": score,
                "best_model_path": "/home/someone/snmn/epoch=11.ckpt",
                "current_score": score,
                "dirpath": "/home/someone/snmn",
            },
            EarlyStopping: {"wait_count": 0, "best_score": np.float64(0.97), "patience": 3},
        },
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [],
        "state_dict": collections.OrderedDict(state),
        **more,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    state = torch.load(folder / "state.pt", weights_only=True)
    node = CfgNode(MODEL=CfgNode(T_CTRL=3))
    node.__dict__["__immutable__"] = True
    hyper = AttributeDict(cfg=node, lr=np.float32(1e-4), words={"a", "b"}, blob=b"\xff")
    contents = {
        "plain": checkpoint(state),
        "hyper-parameters": checkpoint(
            state, hyper_parameters=hyper, hparams_name="cfg", hparams_type=AttributeDict
        ),
        "namespace": checkpoint(
            state, hyper_parameters=argparse.Namespace(cfg=node, path=Path("/x"))
        ),
        "weights alone": collections.OrderedDict(state),
    }
    paths = {}
    for kind, content in contents.items():
        for suffix in (".ckpt", ".pt", ".pth", ""):
            for old in (False, True):
                path = folder / f"{kind} {'old' if old else 'new'}{suffix}"
                torch.save(content, path, _use_new_zipfile_serialization=not old)
                paths[path.name] = str(path)
    print(json.dumps(paths))


main()
