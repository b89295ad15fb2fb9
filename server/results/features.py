"""Features of a test's images: those that the test read, or made of the images."""

import logging
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from server.catalogue import Entry
from server.errors import DemoError
from server.results.folder import Results
from snmn.checkpoints.model_backbone import takes
from snmn.data.feature_shards import FeatureStoreError

log = logging.getLogger("uvicorn.error")


def tested_features(
    results: Results, number: int, entry: Entry, extract: Callable[[Entry, Image.Image], Tensor]
) -> Tensor:
    """Features [1,H,W,D] of a row's image for a model.

    ``extract`` makes features for a model, of an image whose stored ones are not here or not for
    this model. DemoError says why there are none.
    """
    stored = _stored(results, number, entry)
    if stored is not None:
        return stored
    refuse_other_images(entry)
    return extract(entry, results.open_image(number))


def refuse_other_images(entry: Entry) -> None:
    """DemoError (409) for a model whose features this server cannot make of images."""
    if not entry.extracts:
        raise DemoError(
            409,
            "stored_features",
            f"The features that {entry.name} takes cannot be made here; ask it about a question of "
            "its test, whose features are stored.",
        )


def _stored(results: Results, number: int, entry: Entry) -> Tensor | None:
    """What the test read, if this model takes it: it was tested, or has the same backbone."""
    store, base = results.features, entry.model.knowledge_base
    if store is None or (*store.grid, store.dim) != (*base.grid, base.feature_dim):
        return None
    if entry.name != results.model and not takes(entry.model, entry.backbone, store.attributes):
        return None
    name = results.find(number).image
    if name not in store:
        return None
    try:
        return torch.from_numpy(store.read([store.index(name)])).float()
    except FeatureStoreError as error:
        log.error("%s", error)
        raise DemoError(
            422, "damaged_features", "The stored features of this image cannot be read."
        ) from None
