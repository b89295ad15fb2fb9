"""The backbone whose features a model takes: which one, and how it has to prepare images.

Its name is in the card beside the model, or follows from the features' shape. A checkpoint says
besides what its features were made with, as far as anybody knew: the same backbone trained anew
gives features that mean nothing to the model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from snmn.backbones import BACKBONES, Backbone, BackboneError, build_backbone
from snmn.checkpoints.bundled import read_card
from snmn.checkpoints.model_folder import folder_backbone
from snmn.network.model import SNMN


def features_card(checkpoint: Path) -> dict:
    """What is said of a model, in a card beside its file or in its folder."""
    if not checkpoint.is_dir():
        return read_card(checkpoint)
    named = folder_backbone(checkpoint)
    return {"features": named} if named else {}


def find_backbone(card: dict, model: SNMN) -> str:
    """Name of the backbone whose features a model was trained on: from its card, else by shape."""
    grid = tuple(model.knowledge_base.grid)
    shape = (*grid, model.knowledge_base.feature_dim)
    named = card.get("features")
    fitting = [name for name, entry in BACKBONES.items() if (*entry.grid, entry.dim) == shape]
    if named is None and len(fitting) == 1:
        return fitting[0]
    if named not in fitting:
        raise BackboneError(
            f"the model's features are said to be {named!r}; of its shape {shape} there are "
            f"{', '.join(fitting) or 'none'}"
        )
    return named


def model_backbone(
    name: str, model: SNMN, build: Callable[..., Backbone] = build_backbone
) -> Backbone:
    """The backbone of a name, preparing images as for a model's training, or as it always does.

    ``build`` is called as `build_backbone` is; one that keeps what it made serves several models.
    Raises BackboneError where its weights are other ones than the model's features came from, if
    those are known.
    """
    how = model.trained_on.get("preprocess", BACKBONES[name].preprocess[0])
    backbone = build(name, preprocess=how)
    if not takes(model, name, backbone.attributes):
        known = model.trained_on
        raise BackboneError(
            f"the model was trained on features of {known.get('backbone')} with weights_sha256 "
            f"{known['weights_sha256']}, here it has {backbone.attributes['weights_sha256']}"
        )
    return backbone


def takes(model: SNMN, name: str, features: Mapping) -> bool:
    """Whether features with such attributes are of a model's backbone, and of weights known to it.

    ``name`` is the backbone's, as `find_backbone` has it.
    """
    wanted = model.trained_on.get("weights_sha256", "unknown")
    return features["backbone"] == name and wanted in ("unknown", features["weights_sha256"])
