"""Whether an imdb's columns fit each other and the vocabularies: no index leads beyond its list."""

import numpy as np

from snmn.common.errors import shown
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.data.question_sources import UNKNOWN


def is_filename(name: object) -> bool:
    """Whether a name is that of a file in whatever folder, rather than of one elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def check_columns(imdb) -> None:
    """Raise ValueError, which names the column at fault, for an `snmn.data.imdb.Imdb`."""
    count = len(imdb.length)
    wide = {"question": 2, "layout": 2, "box": 2, "image_size": 2}
    rows = {"image_size": len(imdb._encoded_filenames)}
    for name, column in imdb.columns().items():
        if column.ndim != wide.get(name, 1) or len(column) != rows.get(name, count):
            raise ValueError(f"{name} has shape {column.shape}, there are {count} questions")
    if not count:
        raise ValueError("it has no questions")
    for name in imdb.filenames:
        if not is_filename(name):
            raise ValueError(f"filenames has {shown(repr(name))}, which is no file name")
    types = len(imdb.question_types)
    known = imdb.question_type[imdb.question_type != UNKNOWN]
    for name, column, least, below in (
        ("question", imdb.question, 0, len(QUESTION_WORDS)),
        ("length", imdb.length, 1, imdb.question.shape[1] + 1),
        ("answer", imdb.answer, -1, len(ANSWERS)),
        ("image", imdb.image, 0, len(imdb._encoded_filenames)),
        ("question_type", known, 0, types),
        ("layout", imdb.layout, 0, len(MODULES)),
        ("image_size", imdb.image_size, 1, 1 << 20),
    ):
        if column is not None and column.size:
            worst = column.min() if column.min() < least else column.max()
            if not least <= worst < below:
                raise ValueError(f"{name} has {worst}, {least} to {below - 1} are possible")
    for name, end in (("box", 4), ("image_size", 2)):
        column = getattr(imdb, name)
        if column is not None and column.shape[1] != end:
            raise ValueError(f"{name} has shape {column.shape}")
    if imdb.box is not None and (np.isinf(imdb.box).any() or (imdb.box[:, 2:] <= 0).any()):
        raise ValueError("box has a box that is none")
