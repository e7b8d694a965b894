"""Weight matrices on disk, keyed by what they were made from. Never trusts a damaged file, never fails for want of a writable folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from orbit2.files import atomic

VERSION = "2"  # of the weights: part of the key
Matrices = tuple[sparse.csr_matrix, ...]


def cached(
    folder: str | Path | None, name: str, identity: str, shapes: tuple[tuple[int, int], ...], build: Callable[[], Matrices]
) -> Matrices:
    """The matrices saved under `identity` (`<folder>/weights/<name>-<hash>.npz`), or those `build` makes, which are then saved.

    `folder` defaults to $ORBIT2_CACHE, else ~/.cache/orbit2. Files that cannot be read, or hold other `shapes`, are written again.
    """
    key = hashlib.sha256(f"{VERSION}|{name}|{identity}".encode()).hexdigest()[:20]
    file = Path(folder or os.environ.get("ORBIT2_CACHE") or Path.home() / ".cache" / "orbit2") / "weights" / f"{name}-{key}.npz"
    found = _load(file, shapes)
    if found is None:
        found = build()
        _store(file, found)
    return found


def _load(file: Path, shapes: tuple[tuple[int, int], ...]) -> Matrices | None:
    try:
        with np.load(file, allow_pickle=False) as saved:
            return tuple(sparse.csr_matrix((saved[f"{i}_data"], saved[f"{i}_indices"], saved[f"{i}_indptr"]), shape=shape)
                         for i, shape in enumerate(shapes))
    except Exception:  # a damaged cache must never stop the work
        return None


def _store(file: Path, matrices: Matrices) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, matrix in enumerate(matrices):
        arrays |= {f"{i}_data": matrix.data, f"{i}_indices": matrix.indices, f"{i}_indptr": matrix.indptr}
    try:
        with atomic(file) as temporary, open(temporary, "wb") as handle:  # a handle: given a name, numpy would add .npz
            np.savez(handle, allow_pickle=False, **arrays)
    except OSError:
        return  # a read-only home or a full disk is no reason to stop: the weights are in memory
