"""Small models and images for tests of the demo."""

import io
import json

import numpy as np
import torch
from PIL import Image

from server.settings import Settings
from snmn.checkpoints.checkpoint import save_model
from snmn.network.model import build_model

SIZES = {
    "feature_dim": 256,
    "embed_dim": 8,
    "lstm_dim": 8,
    "pe_dim": 4,
    "kb_dim": 8,
    "memory_dim": 8,
    "answer_hidden_dim": 8,
}
KINDS = {
    "vqa_gt_layout": {"vqa": True, "loc": False},
    "vqa_scratch": {"vqa": True, "loc": False},
    "loc_gt_layout": {"vqa": False, "loc": True},
    "joint_gt_layout": {"vqa": True, "loc": True},
}
QUESTION = "How many cubes are there?"
ASK = {"sample": "scene-01", "question": QUESTION}


def write_models(folder, names=tuple(KINDS), *, card=None):
    """Checkpoints of untrained models with their cards; returns the folder."""
    for name in names:
        torch.manual_seed(0)
        arguments = SIZES | KINDS[name]
        save_model(folder / f"{name}.ckpt", build_model(**arguments), arguments=arguments)
        content = {"about": name, "features": "cellnet"} | (card or {})
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def settings(folder, **changes) -> Settings:
    return Settings(checkpoints=folder, **{"concurrency": 2, **changes})


def image_bytes(size=(48, 32), kind="PNG", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def post(client, data=None, **files):
    return client.post("/api/predict", data=ASK if data is None else data, files=files or None)


def refused(response, status, code):
    assert response.status_code == status, response.text
    body = response.json()
    assert body["code"] == code
    assert body["detail"].endswith((".", "?"))
    return body
