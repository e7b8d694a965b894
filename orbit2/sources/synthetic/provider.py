"""The test world as a source: a file a year, made here from the formula instead of fetched. Never says that it is weather."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from orbit2.config.sources import SYNTHETIC, SyntheticConfig
from orbit2.door.damage import reading
from orbit2.errors import OrbitError, one_of
from orbit2.files import atomic
from orbit2.grid import global_grid
from orbit2.sources.source import Facts, Need, Request
from orbit2.sources.synthetic.world import NAMES, RAIN, World
from orbit2.variables import variable

FORMULA = 1  # counts changes of the formula: files of another one are not mixed with these
FIRST, LAST = 1850, 2200
_PACKED = {RAIN: (0.05, 0.0)}  # mm; scale and offset of 16 bits
_TEMPERATURE = (0.01, 260.0)  # K
_BLOCK = 8  # days that lie together in a file
_LARGE = 1 << 26  # bytes of a year from which it is compressed, to half: that takes as long as making it
_AT_ONCE = 1 << 20  # cells of days that are read together: a hundred days at 2.5 degrees, a block at a quarter


class Synthetic:
    """Daily rain and temperature extremes of the test world, on the globe."""

    name = "synthetic"

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.facts = Facts(
            title="orbit2's synthetic test world: no observations and no model of the atmosphere",
            licence="MIT, as orbit2",
            doi=None,
            attribution="SYNTHETIC: rain and temperature of this data set are made by orbit2 from a formula and a seed, as a test of its "
                        "diagnostics. Land and altitude are real; see orbit2/sources/sample/ATTRIBUTION.md.",
            day="00:00 to 24:00 UTC of its date",
            extra={"synthetic": SYNTHETIC, "formula": str(FORMULA)})

    def offers(self) -> tuple[str, ...]:
        return NAMES

    def plan(self, need: Need) -> list[Request]:
        """A file for each calendar year, with everything in it."""
        for name in need.variables:
            if name not in NAMES:
                raise OrbitError("the synthetic test world does not have this variable", where="synthetic", got=name,
                                 allowed=", ".join(NAMES), hint=one_of(name, NAMES))  # fmt: skip
        years = [int(day.astype("datetime64[Y]").astype(np.int64)) + 1970 for day in (need.first, need.last)]
        if years[0] < FIRST or years[1] > LAST:
            raise OrbitError("the synthetic test world has no such year", where="synthetic", got=f"{years[0]} to {years[1]}",
                             allowed=f"{FIRST} to {LAST}", hint="choose periods within these years")  # fmt: skip
        return [self._request(year) for year in range(years[0], years[1] + 1)]

    def _request(self, year: int) -> Request:
        degrees, seed = self.config.degrees, self.config.seed
        rows, columns = global_grid(degrees).shape
        more = self._more()
        name = "".join(f"_{key}{value:g}" for key, value in more.items())
        return Request(
            file=f"world{FORMULA}_{degrees:g}deg_seed{seed}{name}_{year}.nc", client="synthetic", variables=NAMES,
            body={"degrees": degrees, "seed": seed, "year": year, "formula": FORMULA, **more},
            first=np.datetime64(f"{year}-01-01", "s"), last=np.datetime64(f"{year}-12-31", "s"),
            bytes=365 * rows * columns * len(NAMES) * 2, note="made here from a formula, no network: a test world, no weather")

    def _more(self) -> dict[str, float]:
        """What this world has beyond the plain one."""
        return {key: value for key, value in (("bands", self.config.bands), ("waves", self.config.waves)) if value}

    def check(self, path: Path, request: Request) -> None:
        """Raise OrbitError unless the file holds the days of `request` of this world."""
        with reading(path, "synthetic"), xr.open_dataset(path, engine="h5netcdf") as opened:
            days = opened["time"].values.astype("datetime64[s]")
            said = {key: opened.attrs[key] for key in ("seed", "formula", "bands", "waves") if key in opened.attrs}
            if days[0] != request.first or days[-1] != request.last or not set(NAMES) <= set(opened.data_vars):
                raise OrbitError("file is of another year, or lacks a variable", where=path, got=f"{days[0]} to {days[-1]}",
                                 allowed=f"{request.first} to {request.last}", hint="remove it and retrieve it again")  # fmt: skip
            if said != {"seed": self.config.seed, "formula": FORMULA, **self._more()}:
                raise OrbitError("file is of another test world", where=path, got=str(said), hint="remove it and retrieve it again")

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """See `Source.open`; the attribute `synthetic` says what the values are."""
        together = _BLOCK * max(1, _AT_ONCE // (_BLOCK * int(np.prod(global_grid(self.config.degrees).shape))))
        opened = [xr.open_dataset(path, engine="h5netcdf", chunks={"time": together})[list(names)] for path in sorted(files)]
        if not opened:
            raise OrbitError("no files of this period", where=self.name, got=f"{first} to {last}", hint="run the retrieve stage for it")
        data = xr.concat(opened, "time", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override")
        days = data["time"].values.astype("datetime64[s]")
        found = data.isel(time=np.flatnonzero((days >= first.astype("datetime64[D]")) & (days <= last)))
        return found.astype(np.float32, keep_attrs=True).assign_attrs(synthetic=SYNTHETIC)


def write_year(path: Path, year: int, world: World) -> None:
    """One year of a world, as NetCDF."""
    days = np.arange(np.datetime64(f"{year}-01-01", "D"), np.datetime64(f"{year + 1}-01-01", "D"))
    fields = world.fields(days)
    data = xr.Dataset(
        {name: (("time", "lat", "lon"), values, _about(name)) for name, values in fields.items()},
        coords={"time": days.astype("datetime64[ns]"),
                "lat": ("lat", world.grid.lat, {"units": "degrees_north", "axis": "Y"}),
                "lon": ("lon", world.grid.lon, {"units": "degrees_east", "axis": "X"})},
        attrs={"Conventions": "CF-1.11", "title": "orbit2's synthetic test world", "synthetic": SYNTHETIC, "seed": world.seed,
               "formula": FORMULA, **{key: value for key, value in (("bands", world.bands), ("waves", world.waves)) if value}})
    large = sum(values.size for values in fields.values()) * 2 > _LARGE
    packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}
    encoding: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        scale, offset = _PACKED.get(name, _TEMPERATURE)
        encoding[name] = {"dtype": "int16", "scale_factor": np.float32(scale), "add_offset": np.float32(offset),
                          "_FillValue": np.int16(-32768), "chunksizes": (_BLOCK, *world.grid.shape), **packing}
    encoding["time"] = {"units": "days since 1850-01-01", "calendar": "standard", "dtype": "int32"}
    with atomic(path) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def _about(name: str) -> dict[str, str]:
    about = variable(name)
    return {"units": about.units, "standard_name": about.standard_name, "long_name": about.long_name, "cell_methods": about.cell_methods}
