"""A tiny CLEVR-format dataset and its features, for tests of what reads them."""

import json

import numpy as np

from snmn.data.feature_writer import FeatureWriter

ATTRIBUTES = {
    "backbone": "test",
    "weights_sha256": "0" * 64,
    "preprocess": "imagenet",
    "image_size": 224,
}


def image_name(image: int) -> str:
    return f"CLEVR_tiny_{image:06d}.png"


def feature_maps(images, grid=(2, 3), dim=4) -> np.ndarray:
    """[n, H, W, D] float16; the first number tells which image it is."""
    maps = np.zeros((len(images), *grid, dim), np.float16)
    maps[...] = np.asarray(images).reshape(-1, 1, 1, 1)
    return maps + np.linspace(0, 0.5, dim, dtype=np.float16)


def write_store(folder, images, *, shard_size=4, attributes=ATTRIBUTES, **shape):
    """A feature store of the given images in the given order; returns the folder."""
    with FeatureWriter(folder, attributes=attributes, shard_size=shard_size) as writer:
        for image in images:
            writer.add([image_name(image)], feature_maps([image], **shape))
    return folder


def node(function, *inputs, value=None):
    return {
        "function": function,
        "inputs": list(inputs),
        "value_inputs": [] if value is None else [value],
    }


def question(image: int, number: int, color="red", hops=0) -> dict:
    """How many things of a colour there are, ``hops`` relations away from a large thing."""
    program = [node("scene")]
    text = ""
    for _ in range(hops):
        program.append(node("filter_size", len(program) - 1, value="large"))
        program.append(node("unique", len(program) - 1))
        program.append(node("relate", len(program) - 1, value="left"))
        text += " left of the large thing"
    program.append(node("filter_color", len(program) - 1, value=color))
    program.append(node("count", len(program) - 1))
    return {
        "image_index": image,
        "image_filename": image_name(image),
        "question_index": number,
        "question_family_index": 0,
        "split": "tiny",
        "question": f"How many {color} things are there{text}?",
        "answer": str(number % 10),
        "program": program,
    }


def write_questions(root, questions, split="tiny"):
    """ROOT/questions/CLEVR_<split>_questions.json; returns the path."""
    path = root / "questions" / f"CLEVR_{split}_questions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {"split": split}, "questions": questions}))
    return path
