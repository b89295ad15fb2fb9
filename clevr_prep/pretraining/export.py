"""A trained CellNet as the weights file that the backbone loads."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset

from clevr_prep.pretraining.data import SceneCells
from clevr_prep.pretraining.evaluate import normalise
from snmn.backbones.base import state_sha256
from snmn.backbones.cellnet import CellNet, load_cellnet
from snmn.storage.torch_file import write_torch_file

# Features that hardly ever fire must not be blown up: no feature is scaled by more than this many
# times what the mean feature is.
MAX_AMPLIFICATION = 4.0


@torch.no_grad()
def feature_scale(
    network: CellNet, pairs: Sequence[tuple[Path, dict]], *, images: int = 256
) -> torch.Tensor:
    """Root mean square of each feature [256] over all cells of some images, with a floor."""
    data = SceneCells(pairs)
    chosen = range(0, len(data), max(1, len(data) // images))[:images]
    squares, cells = 0.0, 0
    for pixels, _ in DataLoader(Subset(data, list(chosen)), batch_size=32):
        features = network.trunk(normalise(pixels))
        squares = squares + features.double().square().sum((0, 2, 3))
        cells += features.numel() // features.shape[1]
    scale = (squares / cells).sqrt().float()
    return scale.clamp_min(float(scale.mean()) / MAX_AMPLIFICATION)


def export_weights(network: CellNet, pairs: Sequence[tuple[Path, dict]], folder: Path) -> Path:
    """Write cellnet.pt (float16, ready for inference) and cellnet.json (its card) to a folder.

    Batch normalisation is folded into the convolutions, and each feature is divided by its root
    mean square over training images, so that features are of order one for whoever reads them.

    Args:
        network: trained CellNet; left as it is.
        pairs: (image file, scene) to take the feature scale from.
        folder: where the files go; a card there is replaced.

    Returns:
        Path of cellnet.pt.
    """
    network = copy.deepcopy(network)
    network.fold()
    scale = feature_scale(network, pairs)
    network.rescale_features(scale)
    path = folder / "cellnet.pt"
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    write_torch_file(path, state)
    path.with_suffix(".json").unlink(missing_ok=True)
    record(
        path,
        parameters=sum(parameter.numel() for parameter in network.trunk.parameters()),
        feature_scale="each feature divided by its root mean square over training cells, or "
        f"by 1/{MAX_AMPLIFICATION:g} of the mean of these if that is more",
        # Over the values as the backbone loads them: what feature stores record.
        weights_sha256=state_sha256(load_cellnet(path).trunk),
    )
    return path


def record(weights: Path, **facts) -> None:
    """Add facts to the JSON card beside a weights file; the card is made when there is none."""
    path = weights.with_suffix(".json")
    card = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(card | facts, indent=2) + "\n")
