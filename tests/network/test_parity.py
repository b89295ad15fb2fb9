"""The model computes what the two published codebases computed, to float precision.

Every ``*.npz`` in the folder named by SNMN_GOLDEN_DIR holds outputs of one of them (and, for the
original, five training steps) for weights that are regenerated here from their names.
"""

import json
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snmn.checkpoints.published_settings import loss_arguments
from snmn.convert import build_from_adaptation, build_from_original
from snmn.training.losses import SNMNLoss, l2_regularisation, reconstruction_loss
from snmn.training.optimiser import TFAdam
from tests.helpers.paths import SHARED

DEFAULT_DIR = SHARED / "golden"
GOLDEN_DIR = Path(os.environ.get("SNMN_GOLDEN_DIR", DEFAULT_DIR))
FILES = [path for path in sorted(GOLDEN_DIR.glob("*.npz")) if path.stem != "boxes"]

pytestmark = pytest.mark.skipif(not FILES, reason=f"no golden files in {GOLDEN_DIR}")
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

OUTPUT_TOLERANCE = 1e-4
TRAJECTORY_TOLERANCE = 2e-3
# The original's name of a loss in its files -> ours.
LOSS_NAMES = {
    "vqa": "answer",
    "layout": "layout",
    "bbox_ind": "cell",
    "bbox_offset": "offset",
    "rec": "reconstruction",
    "sharpen": "sharpen",
}


class Golden:
    """One file: its settings, inputs, regenerated weights and expected outputs."""

    def __init__(self, path):
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.settings = json.loads(str(self.arrays["config"]))
        self.is_original = path.stem.startswith("tf")
        question = self.arrays["question"].astype(np.int64)
        self.question = torch.from_numpy(question.T.copy() if self.is_original else question)
        self.length = torch.from_numpy(self.arrays["length"].astype(np.int64))
        features = np.maximum(np.random.RandomState(1).randn(4, 14, 14, 1024), 0)
        self.features = torch.from_numpy(features.astype(np.float32))

    def shapes(self):
        return json.loads(str(self.arrays["shapes"]))

    def weights(self, shapes):
        weights = {}
        for name, shape in shapes.items():
            random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
            if len(shape) >= 2:
                fan = np.prod(shape[:-1] if self.is_original else shape[1:])
                value = random.randn(*shape) * np.sqrt(4 / fan)
            else:
                value = random.randn(*shape) * 0.3
            weights[name] = torch.from_numpy(np.asarray(value, dtype=np.float32))
        return weights

    def prefix(self):
        return "" if self.is_original else str(self.arrays["weights"]) + "_model."

    def model(self, shapes=None):
        weights = self.weights(shapes or self.shapes())
        if self.is_original:
            return build_from_original(weights, self.settings)
        prefix = self.prefix()
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        return build_from_adaptation(weights, self.settings)


def named_outputs(golden, model, output):
    """Our outputs under the names and in the axis order of the file's source."""
    named = {
        "vqa_scores": output.answer_logits,
        "logits": output.answer_logits,
        "loc_scores": output.cell_scores,
        "bbox_offset": output.box_offset,
        "bbox_offset_fcn": output.box_offsets,
        "mem_last": output.memory,
        "qattns": output.question_attention,
        "iattns": output.image_attention,
        "module_logits": output.module_logits,
        "module_probs": output.module_probs,
        "txt_att": output.question_attention.permute(1, 2, 0)[..., None],
        "att_stack": output.stack.permute(1, 0, 3, 4, 2),
        "stack_ptr": output.stack_pointer.transpose(0, 1),
        "att_last": output.image_attention[:, -1, :, :, None],
        "l2_reg": l2_regularisation(model),
    }
    if golden.is_original:
        for name in ("module_logits", "module_probs"):
            named[name] = named[name].transpose(0, 1)
    if output.reconstruction_logits is not None:
        named["rec_loss"] = reconstruction_loss(
            output.reconstruction_logits, golden.question, golden.length
        )
    return named


def relative_error(actual, expected):
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-8)


@each_file
def test_outputs(path):
    golden = Golden(path)
    model = golden.model().eval()
    with torch.no_grad():
        output = model(golden.question, golden.length, golden.features)
        ours = named_outputs(golden, model, output)
    inputs = {"config", "shapes", "source", "weights", "question", "length"}
    expected = {
        name: value
        for name, value in golden.arrays.items()
        if name not in inputs and not name.startswith("traj_")
    }
    assert "module_logits" in expected
    for name, value in expected.items():
        assert ours[name] is not None, f"{name} was not computed"
        actual = ours[name].numpy()
        assert actual.shape == value.shape, name
        assert relative_error(actual, value) < OUTPUT_TOLERANCE, name


def without_question(golden):
    """Shapes of the same model without the question in its answer head, and the head's names."""
    shapes = golden.shapes()
    if golden.is_original:
        first, last = "model/output_unit/fc1_wo_q", "model/output_unit/fc2"
        memory = shapes["model/NMN/DescribeOne/fc_mem_out/biases"][0]
        for kind in ("weights", "biases"):
            shape = shapes.pop(f"model/output_unit/fc1/{kind}", None)
            if shape:
                shapes[f"{first}/{kind}"] = [memory, shape[1]] if kind == "weights" else shape
        return shapes, (f"{first}/weights", f"{first}/biases", f"{last}/weights", f"{last}/biases")
    first, last = (f"{golden.prefix()}output_unit.{place}" for place in (0, 3))
    memory = shapes[f"{golden.prefix()}nmn.describeone_mem.bias"][0]
    shapes[f"{first}.weight"] = [shapes[f"{first}.weight"][0], memory]
    return shapes, (f"{first}.weight", f"{first}.bias", f"{last}.weight", f"{last}.bias")


@each_file
def test_answers_without_the_question(path):
    golden = Golden(path)
    if not any("output_unit/" in name or "output_unit." in name for name in golden.shapes()):
        pytest.skip("a model without an answer head")
    shapes, names = without_question(golden)
    weight, bias, out_weight, out_bias = (
        part.numpy() for part in map(golden.weights(shapes).get, names)
    )
    if not golden.is_original:
        weight, out_weight = weight.T, out_weight.T
    model = golden.model(shapes).eval()
    with torch.no_grad():
        output = model(golden.question, golden.length, golden.features)
    if output.answer_logits is None:
        pytest.skip("its settings ask for no answers")
    # All that comes before the answer head is as it was.
    memory = output.memory.numpy()
    if "mem_last" in golden.arrays:
        assert relative_error(memory, golden.arrays["mem_last"]) < OUTPUT_TOLERANCE
    hidden = memory @ weight + bias
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    expected = hidden @ out_weight + out_bias
    assert relative_error(output.answer_logits.numpy(), expected) < OUTPUT_TOLERANCE


@each_file
def test_training_trajectory(path):
    golden = Golden(path)
    expected = {
        name.removeprefix("traj_"): value
        for name, value in golden.arrays.items()
        if name.startswith("traj_")
    }
    if not expected:
        pytest.skip("the file holds no trajectory")
    model = golden.model().train()
    if model.answer_head is not None:
        model.answer_head.dropout.p = 0.0
    # The files' sharpen scale is 1: far beyond the end of any schedule.
    loss, step = SNMNLoss(**loss_arguments(golden.settings)), 10**9
    optimiser = TFAdam(model.parameters(), lr=1e-3)
    max_norm = golden.settings["TRAIN"]["GRAD_MAX_NORM"]
    batch = SimpleNamespace(
        question=golden.question,
        length=golden.length,
        answer=torch.from_numpy(np.random.RandomState(2).randint(0, 28, 4)),
        layout=torch.from_numpy(np.random.RandomState(3).randint(0, 9, (9, 4)).T.copy()),
        box_cell=torch.from_numpy(np.random.RandomState(4).randint(0, 196, 4)),
        box_offset=torch.from_numpy(np.random.RandomState(5).randn(4, 4)).float(),
    )
    for update in range(len(expected["grad_norm"])):
        losses = loss(model(golden.question, golden.length, golden.features), batch, model, step)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimiser.step()
        ours = {theirs: losses[name] for theirs, name in LOSS_NAMES.items() if name in losses}
        ours["grad_norm"] = norm
        assert ours.keys() >= expected.keys()
        for name, values in expected.items():
            error = abs(ours[name].item() - values[update]) / max(abs(values[update]), 1e-8)
            assert error < TRAJECTORY_TOLERANCE, f"{name} at update {update}"
