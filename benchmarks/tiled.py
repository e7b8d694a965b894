"""A model applied tile by tile, as the benchmarks of TILES time it: read the windows, predict, keep the cores. Not a benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from orbit2.grid import Grid, uniform
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import forward_flops
from orbit2.model.reslim import Reslim
from orbit2.model.tiles import Tiling, Window


def batches(tiling: Tiling, size: int) -> list[list[Window]]:
    """Windows in groups of `size`, in order."""
    return [[tiling[i] for i in range(start, min(start + size, len(tiling)))] for start in range(0, len(tiling), size)]


def predict(model: Reslim, fields: Tensor, statics: Tensor, grid: Grid, windows: Sequence[Window]) -> Tensor:
    """One pass over equal windows of fields [V, H, W] and statics [S, sH, sW] -> [B, C, s h, s w]."""
    factor = model.config.refinement
    near = [np.stack([axis[index] for index in indices]) for axis, indices in (
        (grid.lat, [window.rows for window in windows]), (grid.lon, [window.columns for window in windows]))]  # fmt: skip
    lat, lon = (torch.from_numpy(values).float() for values in near)
    geometry = Geometry(lat, lon, grid.km, grid.km / factor, windows[0].periodic)
    coarse, fine = (torch.stack([w.take(x, k) for w in windows]) for x, k in ((fields, 1), (statics, factor)))
    result: Tensor = model(coarse, fine, geometry)
    return result


def stitched(model: Reslim, fields: Tensor, statics: Tensor, grid: Grid, tiling: Tiling, batch: int) -> Tensor:
    """The whole prediction [C, sH, sW], tile by tile."""
    factor = model.config.refinement
    out = torch.empty(len(model.outputs), *(factor * n for n in grid.shape))
    for windows in batches(tiling, batch):
        for window, fine in zip(windows, predict(model, fields, statics, grid, windows), strict=True):
            out[(slice(None), *window.owned(factor))] = fine[(slice(None), *window.fine_core(factor))]
    return out


def gflop(model_on_meta: Reslim, tiling: Tiling) -> float:
    """Operations of one prediction of everything, halos included, counted."""
    height, width = tiling.padded
    return len(tiling) * forward_flops(model_on_meta, uniform(-60, 60, 0, 120, height, width)) / 1e9


def core_seconds(call: Callable[[], object], at_least: float = 0.0) -> float:
    """Core seconds of one call, repeated until `at_least` have gone."""
    began, times = time.process_time(), 0
    while not times or time.process_time() - began < at_least:
        call()
        times += 1
    return (time.process_time() - began) / times
