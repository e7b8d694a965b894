"""Site memory: what a model gets wrong at a place again and again, learned from its training block, added back on that very grid.

A correction per cell of the fine training grid, in network space, of the prediction p at time t:

    p + offset + slope x p + sum_k wave_k(t) cycle_k

It is a station's correction for every cell: a network that shares its weights over the globe cannot know it. It says nothing about
another grid, and is never used there. `orbit2.train.site` learns it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from orbit2.config.network import Conserve
from orbit2.data.transforms import curved, transformed_
from orbit2.files import sha256
from orbit2.grid import AnyGrid, from_attributes
from orbit2.model.constraints import conserve_blocks
from orbit2.model.geometry import Geometry
from orbit2.model.tiles import Window
from orbit2.model.to_device import to_device
from orbit2.variables import variable

FOLDER = "site_memory"  # in the model folder, a NetCDF file per dataset
KEPT_BYTES = 256 * 2**20  # of whole maps; larger ones are read window by window
TOLERANCE = 1e-4  # of a cell: how near an edge must come to be the same
# angle of the clock (day of the year, hour of the day), multiple
CYCLES: dict[str, tuple[int, int]] = {"year": (0, 1), "half_year": (0, 2), "day": (1, 1), "half_day": (1, 2)}
FloatArray = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


def waves(clock: Tensor, cycles: Sequence[str]) -> Tensor:
    """sin and cos of every cycle [B, 2 K] from a `clock` [B, 4] (sin day, sin hour, cos day, cos hour)."""
    parts = []
    for name in cycles:
        which, multiple = CYCLES[name]
        angle = multiple * torch.atan2(clock[:, which].double(), clock[:, 2 + which].double())
        parts += [torch.sin(angle), torch.cos(angle)]
    return torch.stack(parts, 1) if parts else clock.new_zeros((len(clock), 0), dtype=torch.float64)


@dataclass(frozen=True)
class Maps:
    """Maps of a window: offset, slope [C, h, w], cycle [C, 2 K, h, w], all in network space."""

    offset: Tensor
    slope: Tensor
    cycle: Tensor
    cycles: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Maps:
        return Maps(to_device(self.offset, device), to_device(self.slope, device), to_device(self.cycle, device), self.cycles)

    def added(self, prediction: Tensor, clock: Tensor) -> Tensor:
        """`prediction` [B, C, h, w] at `clock` [B, 4], corrected; before conservation."""
        made = prediction + self.offset + self.slope * prediction
        if self.cycles:
            made = made + torch.einsum("bk,ckhw->bchw", waves(clock, self.cycles).to(made), self.cycle)
        return made


def limited(fine: Tensor, outputs: Sequence[str], moments: Tensor) -> Tensor:
    """[B, C, h, w] with rain, and what is seen through a logarithm or logit, within its range; `moments` [C, 2] as in `conserve_blocks`."""
    channels = list(fine.unbind(1))
    for i, name in enumerate(outputs):
        if curved(name):
            mean, std = moments[i]
            ends = torch.empty(2, device=fine.device, dtype=moments.dtype)
            for end, value in zip(ends, variable(name).valid, strict=True):
                end.fill_(value)  # on the device: a copy from the host would wait for it
            least, most = (transformed_(ends, name) - mean) / std
            channels[i] = torch.minimum(torch.maximum(channels[i], least), most)
    return torch.stack(channels, 1)


def settled(
    fine: Tensor, coarse: Tensor, names: Sequence[str], outputs: Sequence[str], geometry: Geometry, factor: int, moments: Tensor,
    conserve: Conserve,
) -> Tensor:
    """A corrected field [B, C, sH, sW] as the model would deliver it: `limited`, and block means the input's where the model conserves
    (`softmax`, which is of a network's own output, adds here as `additive` does)."""
    made = limited(fine, outputs, moments)
    if not conserve:
        return made
    layer: Conserve = "additive" if conserve == "softmax" else conserve
    return conserve_blocks(made, coarse, names, outputs, geometry, factor, moments, layer)


def said(entry: Mapping[str, Any]) -> str:
    """In words: how much of what is remembered, by variable; from config.json's `site_memory` of a dataset."""
    rows = [f"{name} " + " + ".join(f"{share:g} {part}" for part, share in row.items() if share)
            for name, row in entry["factors"].items() if any(row.values())]  # fmt: skip
    none = [name for name, row in entry["factors"].items() if not any(row.values())]
    return "; ".join([*rows, *([f"nothing of {', '.join(none)}"] if none else [])])


def write(path: Path, grid: AnyGrid, outputs: Sequence[str], maps: Maps, about: Mapping[str, str]) -> None:
    """The maps on `grid` as NetCDF, float32; `geometry` is the grid itself, as JSON."""
    told = {"units": "1", **grid.field_attributes}
    data: dict[str, tuple[tuple[str, ...], npt.NDArray[Any], dict[str, str]]] = {
        "offset": (("output", *grid.dims), maps.offset.numpy(), {"long_name": "Added to the prediction, network space", **told}),
        "slope": (("output", *grid.dims), maps.slope.numpy(), {"long_name": "Times the prediction, added to it", **told}),
    }
    coords: dict[str, Any] = {**grid.coordinates(), "output": ("output", list(outputs)), "geometry": json.dumps(grid.to_attributes())}
    if maps.cycles:
        coords["wave"] = ("wave", [f"{part}_{name}" for name in maps.cycles for part in ("sin", "cos")])
        data["cycle"] = (("output", "wave", *grid.dims), maps.cycle.numpy(), {"long_name": "Times a wave of the year or day", **told})
    encoding = {name: {"zlib": True, "complevel": 4, "dtype": "float32"} for name in data}
    xr.Dataset(data, coords=coords, attrs=dict(about)).to_netcdf(path, engine="h5netcdf", encoding=encoding)


class Site:
    """A model's memory laid under the fine grid of a prediction; `of` finds it."""

    def __init__(self, file: Path, rows: Index, columns: Index, cycles: tuple[str, ...], said: str) -> None:
        self.file, self.rows, self.columns, self.cycles, self.said = file, rows, columns, cycles, said
        with xr.open_dataset(file, engine="h5netcdf") as opened:
            size = sum(4 * opened[name].size for name in opened.data_vars)
            self._whole = self._read(opened, slice(None), slice(None)) if size <= KEPT_BYTES else None
        self._last: tuple[tuple[int, int, int, int], Maps] | None = None

    @property
    def identity(self) -> str:
        """What predictions made with it depend on."""
        return sha256(self.file)[:16]

    def _read(self, opened: xr.Dataset, rows: slice, columns: slice) -> Maps:
        cut = opened.isel(dict(zip(opened["offset"].dims[-2:], (rows, columns), strict=True)))
        parts = {str(name): torch.from_numpy(cut[name].to_numpy().astype(np.float32)) for name in cut.data_vars}
        offset = parts["offset"]
        cycle = parts.get("cycle", torch.zeros((len(offset), 0, *offset.shape[1:])))
        return Maps(offset, parts["slope"], cycle, self.cycles)

    def under(self, window: Window, factor: int) -> Maps:
        """The maps of a window; nothing is added in cells that the memory does not have (context around a regional training box)."""
        rows, columns = window.fine(factor)
        key = int(rows[0]), int(columns[0]), len(rows), len(columns)
        if self._last is None or self._last[0] != key:
            self._last = key, self._cut(self.rows[rows], self.columns[columns])
        return self._last[1]

    def _cut(self, rows: Index, columns: Index) -> Maps:
        here_rows, here_columns = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
        shape = len(rows), len(columns)
        if self._whole is not None:
            whole, first = self._whole, (0, 0)
        elif len(here_rows) and len(here_columns):
            first = int(rows[here_rows].min()), int(columns[here_columns].min())
            with xr.open_dataset(self.file, engine="h5netcdf") as opened:
                whole = self._read(opened, slice(first[0], int(rows[here_rows].max()) + 1),
                                   slice(first[1], int(columns[here_columns].max()) + 1))  # fmt: skip
        else:
            whole, first = None, (0, 0)

        def cut(values: Tensor) -> Tensor:
            result = torch.zeros((*values.shape[:-2], *shape))
            taken = values[..., (rows[here_rows] - first[0])[:, None], columns[here_columns] - first[1]]
            result[..., here_rows[:, None], here_columns] = taken
            return result

        if whole is None:  # a window of nothing but context
            with xr.open_dataset(self.file, engine="h5netcdf") as opened:
                whole = self._read(opened, slice(0, 1), slice(0, 1))
        return Maps(cut(whole.offset), cut(whole.slope), cut(whole.cycle), self.cycles)


def of(
    folder: Path | None, about: Mapping[str, Any], domain: AnyGrid, grid: AnyGrid, dataset: str | None = None
) -> tuple[Site | None, str]:
    """(the memory for predictions whose fine cells are `domain`, of an input whose refinement is `grid`; what is to be said).

    None where the model has none, and where the cells are not those it was learned on: another grid, or another `dataset` (a task's;
    None for a user's file) than those the model was trained on.
    """
    told: Mapping[str, Any] = about.get("site_memory") or {}
    if folder is None or not told:
        return None, "off: the model has none"
    if dataset is not None and dataset not in told:
        return None, f"off: dataset '{dataset}' is not one that the model was trained on"
    for name, entry in told.items():
        if dataset not in (None, name) or not entry.get("file"):
            continue
        file = folder / entry["file"]
        known = grid_of(file)
        if min(index.min() for index in positions(known, domain)) >= 0:
            rows, columns = positions(known, grid)
            said = f"on: of {name}, {entry['period'][0]} to {entry['period'][1]}, {entry['samples']} samples"
            return Site(file, rows, columns, tuple(entry["cycles"]), said), said
    if not any(entry.get("file") for entry in told.values()):
        return None, "off: nothing that it learned helped on the validation block"
    return None, "off: another grid than the model was trained on"


def grid_of(file: Path) -> AnyGrid:
    """The fine grid that a memory was learned on."""
    with xr.open_dataset(file, engine="h5netcdf") as opened:
        return from_attributes(json.loads(str(opened["geometry"].to_numpy())))


def positions(known: AnyGrid, grid: AnyGrid) -> tuple[Index, Index]:
    """Which row and which column of `known` each of `grid` is; -1 where it is none of them. Longitudes count in any turn."""
    ours, theirs = known.to_attributes(), grid.to_attributes()
    axes = [key for key in ours if key.endswith("_edges")]
    if any(ours[key] != theirs.get(key) for key in ours if key not in axes):  # another kind, or another reference system
        return np.full(grid.shape[0], -1), np.full(grid.shape[1], -1)
    rows, columns = (_matched(np.array(ours[key]), np.array(theirs[key]), 360.0 if key == "lon_edges" else None) for key in axes)
    return rows, columns


def _matched(known: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], turn: float | None) -> Index:
    start, stop = wanted[:-1], wanted[1:]
    if turn is not None:
        shift = np.floor((start - known[0]) / turn + 1e-9) * turn
        start, stop = start - shift, stop - shift
    near = _nearest(known[:-1], start)
    slack = TOLERANCE * np.diff(known)[near]
    same = (np.abs(known[near] - start) <= slack) & (np.abs(known[near + 1] - stop) <= slack)
    return np.where(same, near, -1).astype(np.int64)


def _nearest(ascending: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Index:
    after = np.clip(np.searchsorted(ascending, values), min(1, len(ascending) - 1), len(ascending) - 1)
    before = np.maximum(after - 1, 0)
    closer = values - ascending[before] < ascending[after] - values
    return np.where(closer, before, after).astype(np.int64)
