"""Turns what libraries raise on damaged files into one error that names the file. Never hides a lack of memory or an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.errors import OrbitError

AGAIN = "delete it and retrieve it again"


@contextmanager
def reading(path: object, kind: str = "a provider's file", allowed: str | None = None, hint: str = AGAIN) -> Iterator[None]:
    """Around everything that reads `path`. HDF5, zlib and their like have no common base class: whatever they raise is damage.

    Raises OrbitError that names `path`; one raised inside gets the name where it has none.
    """
    try:
        yield
    except OrbitError as error:
        if str(path) in str(error):
            raise
        place = f"{path}: {error.where}"
        raise OrbitError(error.what, where=place, got=error.got, allowed=error.allowed, hint=error.hint) from None
    except MemoryError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise OrbitError(f"cannot be read as {kind} ({text})", where=path, allowed=allowed, hint=hint) from None


def refuse_broken_hdf5(file: Any) -> None:
    """Raises OSError for an HDF5 file whose frame is damaged. h5netcdf would print a traceback of its own while it is cleared away."""
    with h5py.File(file, "r"):
        pass


class Guarded:
    """A lazy field of one file as an array that dask can slice: damage found while computing names the file."""

    def __init__(self, field: xr.DataArray, path: Path, kind: str) -> None:
        self.field, self.path, self.kind = field, path, kind
        self.shape, self.dtype, self.ndim = field.shape, field.dtype, field.ndim

    def __getitem__(self, index: tuple[slice, ...]) -> npt.NDArray[Any]:
        with reading(self.path, self.kind):
            return np.asarray(self.field[index].values)
