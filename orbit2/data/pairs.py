"""The PairStore: coarse/fine sample pairs in one Zarr v3 store. Written part by part, refused until finalised.

Layout: groups `coarse/` and `fine/`, each with `fields(time, variable, lat, lon)` float32 (NaN where missing),
`static(static, lat, lon)`, `mask(lat, lon)` and coordinates with bounds; one chunk per sample, shards of many.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from orbit2.errors import OrbitError, did_you_mean
from orbit2.grid import Grid
from orbit2.variables import variable

Side = Literal["coarse", "fine"]
SIDES: tuple[Side, ...] = ("coarse", "fine")
TIME_UNITS = "hours since 1940-01-01 00:00:00"
_EPOCH = np.datetime64("1940-01-01T00:00:00", "s")
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SideSpec:
    """What one group holds: its grid, its dynamic and static variables."""

    grid: Grid
    variables: tuple[str, ...]
    statics: tuple[str, ...]
    static_values: FloatArray  # [S, H, W]


def initialise(
    path: str | Path,
    coarse: SideSpec,
    fine: SideSpec,
    times: npt.NDArray[np.datetime64],
    *,
    shard: int = 8,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create the empty store (all fields NaN). Keeps a store that already has the same geometry and times.

    Raises OrbitError when the grids do not nest.
    """
    path = Path(path)
    factor = fine.grid.nests_in(coarse.grid)
    signature = f"{coarse.grid.digest}-{fine.grid.digest}-{len(times)}-{'.'.join((*coarse.variables, '|', *fine.variables))}"
    if path.exists():
        root = zarr.open_group(str(path), mode="r")
        if root.attrs.get("signature") == signature:
            return
        shutil.rmtree(path)
    temporary = path.with_name(f".{path.name}.init.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    root = zarr.create_group(str(temporary), zarr_format=3)
    for side, spec in zip(SIDES, (coarse, fine), strict=True):
        _create_side(root.create_group(side), spec, times, shard)
    root.attrs.update(
        {
            "Conventions": "CF-1.11",
            "orbit2_store": "pairs-1",
            "signature": signature,
            "refinement": factor,
            "shard": shard,
            "finalised": False,
            **(attributes or {}),
        }
    )
    temporary.rename(path)


def _create_side(group: zarr.Group, spec: SideSpec, times: npt.NDArray[np.datetime64], shard: int) -> None:
    height, width = spec.grid.shape
    samples, count = len(times), len(spec.variables)
    chunk = (1, count, height, width)
    group.create_array(
        "fields",
        shape=(samples, count, height, width),
        chunks=chunk,
        shards=(shard, count, height, width),
        dtype="float32",
        fill_value=float("nan"),
        dimension_names=("time", "variable", "lat", "lon"),
    )

    def put(name: str, values: npt.ArrayLike, dims: tuple[str, ...], **attrs: Any) -> None:
        data = np.asarray(values)
        if data.dtype.kind in "US":
            data = data.astype(np.dtypes.StringDType())
        array = group.create_array(name, data=data, dimension_names=dims)
        array.attrs.update(attrs)

    put("static", spec.static_values.astype(np.float32), ("static", "lat", "lon"))
    put("mask", np.ones((height, width), dtype=np.int8), ("lat", "lon"), long_name="1 where the field is defined")
    hours = (times.astype("datetime64[s]") - _EPOCH).astype(np.int64) / 3600
    put("time", hours, ("time",), units=TIME_UNITS, calendar="proleptic_gregorian", standard_name="time")
    put("variable_name", list(spec.variables), ("variable",))
    put("static_name", list(spec.statics), ("static",))
    put("lat", spec.grid.lat, ("lat",), units="degrees_north", standard_name="latitude", bounds="lat_bnds")
    put("lon", spec.grid.lon, ("lon",), units="degrees_east", standard_name="longitude", bounds="lon_bnds")
    for axis, edges in (("lat", spec.grid.lat_edges), ("lon", spec.grid.lon_edges)):
        put(f"{axis}_bnds", np.stack([edges[:-1], edges[1:]], -1), (axis, "bounds"))
    group.attrs.update(
        {
            "variables": list(spec.variables),
            "statics": list(spec.statics),
            "units": {name: variable(name).units for name in (*spec.variables, *spec.statics)},
        }
    )


def write_part(path: str | Path, start: int, coarse: FloatArray, fine: FloatArray) -> None:
    """Write samples `start : start + n` ([n, V, H, W] and [n, C, sH, sW], canonical units, NaN = missing).

    Raises OrbitError when `start` is not a multiple of the shard length (two writers would share a shard).
    """
    root = zarr.open_group(str(path), mode="r+")
    shard = int(root.attrs["shard"])  # type: ignore[arg-type]
    if start % shard:
        raise OrbitError("part does not begin at a shard boundary", where=path, got=start, allowed=f"multiples of {shard}")
    for side, values in zip(SIDES, (coarse, fine), strict=True):
        array = root[f"{side}/fields"]
        assert isinstance(array, zarr.Array)
        if values.shape[1:] != array.shape[1:]:
            raise OrbitError("part has the wrong shape", where=f"{path}/{side}", got=values.shape, allowed=array.shape)
        array[start : start + len(values)] = values


def finalise(path: str | Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Declare the store complete; readers accept it from now on."""
    root = zarr.open_group(str(path), mode="r+")
    root.attrs.update({**(attributes or {}), "finalised": True})


class PairStore:
    """Read access to a finalised store. Raises OrbitError when it is missing or was never finalised."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "zarr.json").is_file():
            raise OrbitError("pair store not found", where=path, hint="run `orbit2 regrid` (or the regrid stage) first")
        self.root = zarr.open_group(str(self.path), mode="r")
        if not self.root.attrs.get("finalised"):
            raise OrbitError("pair store is not finalised", where=path, hint="its build was interrupted: re-run the regrid stage")
        self.refinement = int(self.root.attrs["refinement"])  # type: ignore[arg-type]
        self.attributes = dict(self.root.attrs)
        self._grids = {side: self._read_grid(side) for side in SIDES}
        hours = np.asarray(self.array("coarse", "time")[:], dtype=np.float64)
        self.times: npt.NDArray[np.datetime64] = _EPOCH + np.round(hours * 3600).astype("timedelta64[s]")

    def array(self, side: Side, name: str) -> zarr.Array[Any]:
        found = self.root[f"{side}/{name}"]
        assert isinstance(found, zarr.Array)
        return found

    def _read_grid(self, side: Side) -> Grid:
        edges = []
        for axis in ("lat", "lon"):
            bounds = np.asarray(self.array(side, f"{axis}_bnds")[:], dtype=np.float64)
            edges.append(np.append(bounds[:, 0], bounds[-1, 1]))
        return Grid(edges[0], edges[1])

    def grid(self, side: Side) -> Grid:
        return self._grids[side]

    def variables(self, side: Side) -> tuple[str, ...]:
        names: Sequence[str] = self.root[side].attrs["variables"]  # type: ignore[assignment]
        return tuple(names)

    def statics(self, side: Side) -> tuple[str, ...]:
        names: Sequence[str] = self.root[side].attrs["statics"]  # type: ignore[assignment]
        return tuple(names)

    def static_values(self, side: Side) -> FloatArray:
        """Static fields [S, H, W], canonical units."""
        return np.asarray(self.array(side, "static")[:], dtype=np.float32)

    def read(self, side: Side, index: int) -> FloatArray:
        """One sample [V, H, W], canonical units, NaN where missing."""
        return np.asarray(self.array(side, "fields")[index], dtype=np.float32)

    def variable_index(self, side: Side, name: str) -> int:
        names = self.variables(side)
        if name not in names:
            raise OrbitError(
                "variable not in the pair store",
                where=f"{self.path}/{side}",
                got=name,
                allowed=", ".join(names),
                hint=did_you_mean(name, names),
            )
        return names.index(name)

    def indices(self, start: str, end: str) -> npt.NDArray[np.int64]:
        """Sample indices whose time lies in [start, end] (ISO dates or times; a bare end date means its whole day)."""
        first, last = np.datetime64(start, "s"), np.datetime64(end, "s")
        if len(end) == 10:
            last += np.timedelta64(86399, "s")
        return np.flatnonzero((self.times >= first) & (self.times <= last))

    def dataset(self, side: Side) -> xr.Dataset:
        """The group as a lazy xarray Dataset, one data variable per field (dims time, lat, lon)."""
        opened = xr.open_zarr(str(self.path), group=side, zarr_format=3, consolidated=False, chunks={})
        names = self.variables(side)
        data = {
            name: opened["fields"]
            .isel(variable=i)
            .assign_attrs(
                units=variable(name).units,
                standard_name=variable(name).standard_name,
                long_name=variable(name).long_name,
                cell_methods=variable(name).cell_methods,
            )
            for i, name in enumerate(names)
        }
        return xr.Dataset(data, coords={"time": opened["time"], "lat": opened["lat"], "lon": opened["lon"]})
