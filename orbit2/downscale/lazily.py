"""Frames of a prediction one after the other: at once, or by dask when their values are asked for. Predicts nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

FloatArray = npt.NDArray[np.float32]


def stacked(
    frame: Callable[[int], FloatArray], count: int, shape: tuple[int, ...], axis: int, lazy: bool, progress: bool | None
) -> Any:
    """`count` frames of `shape`, [.., T, ..] with the times at `axis`: a numpy array, or `lazy` one of dask, a chunk a time.

    `progress`: a bar that counts frames as they are made (None: on a terminal).
    """
    disable = None if progress is None else not progress
    if not lazy:
        return np.stack([frame(i) for i in tqdm(range(count), "downscale", disable=disable, unit="field")], axis)
    from orbit2.lazy import da, delayed

    bar = tqdm(total=count, desc="downscale", disable=disable, unit="field")
    lock = threading.Lock()  # one frame at a time has the network and its threads, and files are read by one

    def counted(i: int) -> FloatArray:
        with lock:
            made = frame(i)
            bar.update()
        return made

    made = delayed(counted, pure=False)
    return da.stack([da.from_delayed(made(i), shape, np.float32) for i in range(count)], axis)  # type: ignore[no-untyped-call]
