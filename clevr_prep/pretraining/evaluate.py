"""How well objects can be decoded from single cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clevr_prep.pretraining.data import SceneCells
from clevr_prep.pretraining.targets import GROUND_UNIT, object_places
from snmn.backbones.base import PREPROCESS
from snmn.backbones.cellnet import ATTRIBUTE_VALUES, CellNet
from snmn.storage.image_files import image_size

# A centre near the border of two cells leaves both in doubt, and merging takes care of doubles:
# this threshold finds most on rendered validation images.
MIN_LOGIT = -1.5
# A detection is of an object when their centres are at most this many cells apart; two detections
# nearer than MERGE are one object seen from two cells.
MATCH = 1.0
MERGE = 0.6


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] as CellNet's input [N, 3, H, W], channels last in memory."""
    mean, deviation = (torch.tensor(values) for values in PREPROCESS["signed"])
    return ((pixels.float() - mean) / deviation).permute(0, 3, 1, 2)


def decode_objects(outputs: dict[str, np.ndarray]) -> list[dict]:
    """Objects that the heads see in one image, strongest first.

    Args:
        outputs: {head: [H, W, channels]}.

    Returns:
        dicts with place (x, y) in cells, score (logit) and a value per attribute.
    """
    scores = outputs["object"][..., 0]
    rows, columns = np.nonzero(scores > MIN_LOGIT)
    found: list[dict] = []
    for i in np.argsort(-scores[rows, columns]):
        row, column = rows[i], columns[i]
        place = np.array([column, row]) + 0.5 + outputs["offset"][row, column]
        if any(np.hypot(*(place - other["place"])) < MERGE for other in found):
            continue
        attributes = {
            attribute: values[int(outputs[attribute][row, column].argmax())]
            for attribute, values in ATTRIBUTE_VALUES.items()
        }
        found.append({"place": place, "score": float(scores[row, column]), **attributes})
    return found


def match_objects(found: Sequence[dict], scene: dict, places: np.ndarray) -> dict[int, dict]:
    """{index of a scene's object: the detection of it}, nearest pairs first."""
    pairs = sorted(
        (float(np.hypot(*(detection["place"] - place))), d, i)
        for d, detection in enumerate(found)
        for i, place in enumerate(places)
    )
    matches: dict[int, dict] = {}
    used: set[int] = set()
    for distance, d, i in pairs:
        if distance <= MATCH and d not in used and i not in matches:
            matches[i] = found[d]
            used.add(d)
    return matches


class DecodingScores:
    """Running totals over images; :meth:`result` gives the measures."""

    def __init__(self):
        self.cells = self.objects = self.detections = self.matched = self.whole = 0
        self.right = dict.fromkeys((*ATTRIBUTE_VALUES, "all_four"), 0)
        self.errors: dict[str, list[float]] = {"offset": [], "ground": []}

    def add(
        self,
        outputs: dict[str, np.ndarray],
        targets: dict[str, np.ndarray],
        scene: dict,
        places: np.ndarray,
    ) -> None:
        """Count one image: outputs {head: [H, W, channels]}, targets of its cells, its scene and
        its objects' places in cells."""
        present = targets["object"] > 0.5
        self.cells += int(present.sum())
        all_four = np.ones(int(present.sum()), bool)
        for attribute in ATTRIBUTE_VALUES:
            right = outputs[attribute][present].argmax(-1) == targets[attribute][present]
            self.right[attribute] += int(right.sum())
            all_four &= right
        self.right["all_four"] += int(all_four.sum())
        for name, errors in self.errors.items():
            errors.extend(np.abs(outputs[name] - targets[name])[present].ravel().tolist())
        found = decode_objects(outputs)
        matches = match_objects(found, scene, places)
        self.objects += len(scene["objects"])
        self.detections += len(found)
        self.matched += len(matches)
        self.whole += sum(
            all(detection[a] == scene["objects"][i][a] for a in ATTRIBUTE_VALUES)
            for i, detection in matches.items()
        )

    def result(self) -> dict[str, float]:
        """recall, precision: of objects found; found_all_four: share of all objects found with
        all attributes right; size, color, material, shape, all_four: accuracy at the cells of true
        centres; offset_error (cells) and ground_error (CLEVR units): mean absolute, per axis."""
        return {
            "objects": self.objects,
            "recall": self.matched / max(self.objects, 1),
            "precision": self.matched / max(self.detections, 1),
            "found_all_four": self.whole / max(self.objects, 1),
            **{name: right / max(self.cells, 1) for name, right in self.right.items()},
            "offset_error": float(np.mean(self.errors["offset"] or 0)),
            "ground_error": float(np.mean(self.errors["ground"] or 0)) * GROUND_UNIT,
        }


@torch.inference_mode()
def evaluate(
    network: CellNet, pairs: Sequence[tuple[Path, dict]], *, workers: int = 0
) -> dict[str, float]:
    """Decoding measures of a network on plain images, see :meth:`DecodingScores.result`.

    Args:
        network: CellNet; put into evaluation mode.
        pairs: (image file, scene).
        workers: decoding processes.
    """
    network.eval()
    scores = DecodingScores()
    position = 0
    for pixels, targets in DataLoader(SceneCells(pairs), batch_size=32, num_workers=workers):
        outputs = {name: value.numpy() for name, value in network(normalise(pixels)).items()}
        for n in range(len(pixels)):
            path, scene = pairs[position]
            position += 1
            scores.add(
                {name: value[n] for name, value in outputs.items()},
                {name: value[n].numpy() for name, value in targets.items()},
                scene,
                object_places(scene, (0, 0, *image_size(path))),
            )
    return scores.result()


def report(name: str, result: dict[str, float]) -> str:
    """One line of measures for a terminal or a log."""
    parts = (
        "  ".join(f"{key} {result[key]:.4f}" for key in ("recall", "precision", "found_all_four")),
        "  ".join(f"{key} {result[key]:.4f}" for key in (*ATTRIBUTE_VALUES, "all_four")),
        "  ".join(f"{key} {result[key]:.3f}" for key in ("offset_error", "ground_error")),
    )
    return f"{name}: {int(result['objects'])} objects  " + " | ".join(parts)
