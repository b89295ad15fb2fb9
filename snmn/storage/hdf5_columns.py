"""Columns of HDF5 files, read without trusting who made them.

HDF5 can name other files whose bytes then stand for a column, and say sizes that nothing fills.
"""

import os

import h5py


def own_column(file: h5py.File, name: str, *, chunked: bool = False) -> h5py.Dataset:
    """The dataset of a name, if its numbers or texts lie in the file itself.

    Raises KeyError where there is none of this name, ValueError for one that lies elsewhere, holds
    references or is said to be larger than its file. ``chunked`` columns are read piece by piece
    and may be compressed; of others that is refused too.
    """
    if name not in file:
        raise KeyError(name)
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    column = file[name]
    if not isinstance(column, h5py.Dataset):
        raise ValueError(f"{name} is no column")
    if column.is_virtual or column.external:
        raise ValueError(f"{name} lies in another file")
    if column.dtype.kind not in "iufS":
        raise ValueError(f"{name} holds {column.dtype}")
    if not chunked:
        if column.chunks is not None:
            raise ValueError(f"{name} lies in pieces")
        if column.nbytes > os.path.getsize(file.filename):
            raise ValueError(f"{name} is said to be larger than its file")
    return column
