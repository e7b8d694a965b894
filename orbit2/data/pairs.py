"""The PairStore: coarse/fine sample pairs in one Zarr v3 store, as int16. Read here, written in `store_layout`; refused until finalised.

Layout: groups `coarse/` and `fine/`, each with `fields(time, variable, lat, lon)` (or y, x; rlat, rlon) int16 (see
`packing`; -32768 where missing), `static(static, lat, lon)`, `missing(time, variable)` and coordinates with bounds; one chunk per sample,
shards of many; a side without variables has no fields. `written(time, column)` at the top is how far writing has come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from orbit2 import times
from orbit2.data import packing
from orbit2.data.cache import open_cache
from orbit2.data.packing import unpack
from orbit2.data.shards import FieldReader
from orbit2.data.store_grid import grid_of
from orbit2.data.store_layout import (
    EPOCH,
    SIDES,
    STORE_VERSION,
    FloatArray,
    Side,
    SideSpec,
    digest,
    finalise,
    initialise,
    missing_fractions,
    open_root,
    reopen,
    stored_attributes,
    write_part,
    written,
)
from orbit2.errors import OrbitError, one_of
from orbit2.grid import AnyGrid
from orbit2.timing import Seconds, add
from orbit2.variables import ATTRIBUTE, adopt, cell_methods, variable

__all__ = [
    "SIDES", "PairStore", "Side", "SideSpec", "digest", "finalise", "initialise", "missing_fractions", "reopen", "unpack", "write_part",
    "written",
]


class PairStore:
    """Read access to a finalised store; shards that are read may be kept in the folder `cache` (see `cache`), of `cache_gb` in all.

    The variables that it declares are known to the process afterwards. Raises OrbitError when it is missing, was never finalised, is of an
    older layout, or declares what means something else here.
    """

    def __init__(self, path: str | Path, cache: str | None = None, cache_gb: float = 0.0) -> None:
        self.path = Path(path)
        if not (self.path / "zarr.json").is_file():
            raise OrbitError("pair store not found", where=path, hint="run `orbit2 regrid` (or the regrid stage) first")
        self.attributes = stored_attributes(self.path)
        if not self.attributes.get("finalised"):
            raise OrbitError("pair store is not finalised", where=path, hint="its build was interrupted: re-run the regrid stage")
        if self.attributes.get("orbit2_store") != STORE_VERSION:
            raise OrbitError("pair store has another layout", where=path, got=str(self.attributes.get("orbit2_store")),
                             allowed=STORE_VERSION, hint="delete it and re-run the regrid stage")
        self.root = open_root(self.path)
        self.refinement = int(self.attributes["refinement"])
        self._groups: dict[Side, dict[str, Any]] = {side: dict(self.root[side].attrs) for side in SIDES}
        adopt(self.attributes.get(ATTRIBUTE), [n for side in SIDES for n in (*self.variables(side), *self.statics(side))], self.path)
        self._grids = {side: self._read_grid(side) for side in SIDES}
        self._packings = {side: self._read_packings(side) for side in SIDES}
        kept = open_cache(cache, cache_gb, self.path)
        self._readers = {side: FieldReader(self.path, side, kept) for side in SIDES if self.variables(side)}
        hours = np.asarray(self.array("coarse", "time")[:], dtype=np.float64)
        told = str(self.array("coarse", "time").attrs.get("calendar", "standard"))
        self.times: times.Times = times.from_seconds(hours * 3600, EPOCH, told)  # datetime64[s], or cftime dates of another calendar
        if (np.diff(hours) <= 0).any():
            raise OrbitError("pair store is damaged (its times do not increase)", where=path, hint="delete it and re-run the regrid stage")

    def cell_methods(self, name: str) -> str:
        """What the samples of a variable are over time (CF); stores from before say it by their daily spacing."""
        stored: dict[str, str] = self.attributes.get("cell_methods", {})
        return stored.get(name) or cell_methods(name, max(self.step_hours, 24) if len(self.times) > 1 and self.step_hours >= 24 else 1)

    def array(self, side: Side, name: str) -> zarr.Array[Any]:
        found = self.root[f"{side}/{name}"]
        assert isinstance(found, zarr.Array)
        return found

    def _read_grid(self, side: Side) -> AnyGrid:
        group = self.root[side]
        assert isinstance(group, zarr.Group)
        try:
            return grid_of(group)
        except OrbitError as error:  # a chunk that is gone reads as zeros
            raise OrbitError(f"pair store is damaged ({error})", where=self.path, hint="delete it and re-run the regrid stage") from None

    def _read_packings(self, side: Side) -> tuple[packing.Packing, ...]:
        stored: dict[str, Any] = self._groups[side]["packing"]
        return tuple(packing.from_attributes(name, stored[name]) for name in self.variables(side))

    @property
    def step_hours(self) -> float:
        """The shortest time between samples; a day where there is only one."""
        steps = times.steps(self.times)
        return float(steps.min()) if len(steps) else 24.0

    def grid(self, side: Side) -> AnyGrid:
        return self._grids[side]

    def variables(self, side: Side) -> tuple[str, ...]:
        names: Sequence[str] = self._groups[side]["variables"]
        return tuple(names)

    def statics(self, side: Side) -> tuple[str, ...]:
        names: Sequence[str] = self._groups[side]["statics"]
        return tuple(names)

    def packings(self, side: Side) -> tuple[packing.Packing, ...]:
        """How the variables were packed when the store was written: what `unpack` needs beside the codes."""
        return self._packings[side]

    def static_values(self, side: Side) -> FloatArray:
        """Static fields [S, H, W], canonical units. Raises OrbitError when they are gone."""
        if not self.statics(side):
            return np.empty((0, *self.grid(side).shape), dtype=np.float32)
        values = np.asarray(self.array(side, "static")[:], dtype=np.float32)
        if np.isnan(values).all():
            raise OrbitError(f"pair store is damaged (its {side} static fields are gone)", where=self.path,
                             hint="delete it and re-run the regrid stage")
        return values

    def read_packed(self, side: Side, index: int, out: npt.NDArray[np.int16] | None = None) -> npt.NDArray[np.int16]:
        """One sample's codes [V, H, W] int16 (`packing.MISSING` where missing), into `out` when given.

        Half the bytes of `read`: move these to the device and `unpack` them there. Raises OrbitError for a damaged sample.
        """
        if not self.variables(side):
            return np.empty((0, *self.grid(side).shape), dtype=np.int16) if out is None else out
        return self._readers[side].read(index, self.missing(side)[index], out)

    def took(self) -> Seconds:
        """Seconds of staging, reading and decoding in this process since somebody last asked (empty where zarr itself reads)."""
        found: Seconds = defaultdict(float)
        for reader in self._readers.values():
            add(found, reader.took)
        return found

    def read(self, side: Side, index: int) -> FloatArray:
        """One sample [V, H, W] float32, canonical units, NaN where missing. Raises OrbitError for a damaged sample."""
        return unpack(self.read_packed(side, index), self.packings(side))

    def digest(self, side: Side, start: int, count: int) -> str:
        """sha256 of the stored codes of some samples: what `packing.digest` says of the same fields before writing."""
        return digest(self.path, side, start, count)

    def missing(self, side: Side) -> FloatArray:
        """Fraction of missing cells [T, V]; NaN where nothing was written."""
        return self._missing[side]

    @cached_property
    def _missing(self) -> dict[Side, FloatArray]:
        return {
            side: np.asarray(self.array(side, "missing")[:], dtype=np.float32)
            if self.variables(side)
            else np.empty((len(self.times), 0), dtype=np.float32)
            for side in SIDES
        }

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which samples [T] hold something on every side that has variables; the others are recorded gaps."""
        found = np.ones(len(self.times), dtype=bool)
        for side in SIDES:
            if self.variables(side):
                found &= (self.missing(side) < 1).any(1)
        return found

    def variable_index(self, side: Side, name: str) -> int:
        names = self.variables(side)
        if name not in names:
            raise OrbitError(
                "variable not in the pair store",
                where=f"{self.path}/{side}",
                got=name,
                allowed=", ".join(names),
                hint=one_of(name, names),
            )
        return names.index(name)

    def indices(self, start: str, end: str) -> npt.NDArray[np.int64]:
        """Indices of usable samples whose time lies in [start, end] (ISO dates or times; a bare end date means its whole day)."""
        return np.flatnonzero(self._between(start, end) & self.usable)

    @property
    def calendar(self) -> str:
        """CF name of the calendar of the times."""
        return times.calendar_of(self.times)

    def gaps(self, start: str, end: str) -> times.Times:
        """Times in [start, end] that `indices` leaves out, because all inputs or all outputs are missing."""
        return self.times[self._between(start, end) & ~self.usable]

    def _between(self, start: str, end: str) -> npt.NDArray[np.bool_]:
        try:
            first, last = times.begin(start, self.calendar), times.end(end, self.calendar)
        except ValueError:
            raise OrbitError("not dates of the store's calendar", where=self.path, got=f"{start} to {end}", allowed=self.calendar,
                             hint=f"write dates that exist in the calendar {self.calendar}, e.g. 2001-01-31") from None  # fmt: skip
        return np.asarray((self.times >= first) & (self.times <= last), dtype=bool)

    def dataset(self, side: Side) -> xr.Dataset:
        """The group as a lazy xarray Dataset of physical float32 fields, one data variable each (dims time, lat, lon)."""
        from orbit2 import lazy  # noqa: F401 -- before dask computes what is opened here

        opened = xr.open_zarr(str(self.path), group=side, zarr_format=3, consolidated=False, chunks={})
        data = {}
        for i, (name, packed) in enumerate(zip(self.variables(side), self.packings(side), strict=True)):
            known = variable(name)
            data[name] = xr.apply_ufunc(
                _unpack_one, opened["fields"].isel(variable=i), kwargs={"packed": packed}, dask="parallelized", output_dtypes=[np.float32]
            ).assign_attrs(
                **known.described, cell_methods=self.cell_methods(name)
            )
        grid = self.grid(side)
        for field in data.values():
            field.attrs |= grid.field_attributes
        names = dict.fromkeys(("time", *grid.dims, "lat", "lon", *grid.field_attributes.values()))
        return xr.Dataset(data, coords={name: opened[name] for name in names})


def _unpack_one(codes: npt.NDArray[np.int16], packed: packing.Packing) -> FloatArray:
    return unpack(codes[..., None, :, :], [packed])[..., 0, :, :]
