"""A word embedding that is given rather than learnt, from an .npy file."""

from pathlib import Path

import torch
from torch import Tensor

from snmn.common.vocabulary import QUESTION_WORDS
from snmn.storage.npy_file import ArrayFileError, read_array
from snmn.storage.typed_settings import ConfigError


def read_embedding(path: str | Path, *, dim: int) -> Tensor:
    """The word embedding [words, E] of FIXED_WORD_EMBED_FILE, with E = ``dim``.

    Raises ConfigError for a file that is no such array of floating-point numbers.
    """
    shape = (len(QUESTION_WORDS), dim)
    try:
        embedding = read_array(path)
    except ArrayFileError as error:
        raise ConfigError(f"FIXED_WORD_EMBED_FILE: {path} {error}") from None
    if embedding.shape != shape or embedding.dtype.kind != "f":
        raise ConfigError(
            f"FIXED_WORD_EMBED_FILE: {path} holds {embedding.dtype} of shape {embedding.shape}, "
            f"not numbers of shape {shape} (words, MODEL.EMBED_DIM)"
        )
    return torch.from_numpy(embedding)
