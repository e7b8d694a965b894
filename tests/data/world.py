"""Ten years of the test world between 38 S and 34 N, its truth as a series, and errors that are put into it on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from orbit2.grid import Grid, named
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.noise import Noise
from orbit2.sources.synthetic.world import RAIN

YEARS = range(2000, 2010)
DAYS = np.arange(f"{YEARS[0]}-01-01", f"{YEARS[-1] + 1}-01-01", dtype="datetime64[D]")
SEED = 1
COARSE = 2  # rows and columns of a coarse cell


def grid() -> Grid:
    """4 degrees from 38 S to 34 N, 24 E to 152 E: East Africa with its two seasons, and monsoons north and south."""
    return named("global_4").crop(slice(13, 31), slice(6, 38))


def series(values: np.ndarray, where: Grid) -> xr.DataArray:
    coords = {"time": DAYS.astype("datetime64[ns]"), "lat": where.lat, "lon": where.lon}
    return xr.DataArray(values, dims=("time", "lat", "lon"), coords=coords)


def drawn(world: World, weather: int = SEED) -> xr.DataArray:
    """Rain of all days; another `weather` has the same seasons and other days."""
    other = World(world.grid, SEED, world.land, world.altitude)
    other._rain = Noise(world.grid, weather, 0)
    return series(other.fields(DAYS)[RAIN], world.grid)


def expected(world: World) -> xr.DataArray:
    """The mean of every day's distribution: rain without weather."""
    return series(np.stack([world.law(day).mean for day in DAYS]), world.grid)


def onsets(world: World, which: str = "onset") -> np.ndarray:
    """[lat, lon, year]: the day of the year, or the last day of the season, as days since the 1 January of the year in which it begins."""
    found = [world.seasons.onset(year) if which == "onset" else world.seasons.withdrawal(year) - 1 for year in YEARS]
    return np.stack(found, axis=-1).astype(np.float64)


def late(rain: xr.DataArray, days: int) -> xr.DataArray:
    """Everything happens `days` later."""
    return rain.copy(data=np.roll(rain.values, days, axis=0))


def wetter(rain: xr.DataArray, factor: float) -> xr.DataArray:
    return rain * factor


def drizzle(rain: xr.DataArray, share: float) -> xr.DataArray:
    """A share of dry days has 1.5 mm, taken from the wet days of its cell: the mean is the same."""
    values = rain.values.astype(np.float64)
    damp = (values < 1) & (np.random.default_rng(5).random(values.shape) < share)
    more = np.where(damp, 1.5, values)
    kept = np.where(damp, 0.0, values).sum(axis=0)
    factor = np.maximum(kept - 1.5 * damp.sum(axis=0), 0.0) / np.maximum(kept, 1e-9)
    return rain.copy(data=np.where(damp, more, values * factor).astype(np.float32))


def flat(rain: xr.DataArray, share: float) -> xr.DataArray:
    """A share of days is that of the other half of the year: the same amounts and wet days, less of a season."""
    values = rain.values.copy()
    swapped = np.flatnonzero(np.random.default_rng(6).random(len(values)) < share)
    values[swapped] = rain.values[(swapped + 182) % len(values)]
    return rain.copy(data=values)


def displaced(rain: xr.DataArray, rows: int) -> xr.DataArray:
    """Rain falls `rows` rows too far north; what leaves at one side comes in at the other."""
    return rain.copy(data=np.roll(rain.values, rows, axis=1))


def coarse(rain: xr.DataArray, factor: int = COARSE) -> xr.DataArray:
    """What the coarse input knows: means of blocks."""
    time, height, width = rain.shape
    means = rain.values.reshape(time, height // factor, factor, width // factor, factor).mean(axis=(2, 4))
    return rain.copy(data=means.repeat(factor, axis=1).repeat(factor, axis=2))


ERRORS: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "late": lambda rain: late(rain, 10), "wetter": lambda rain: wetter(rain, 1.3), "drizzle": lambda rain: drizzle(rain, 0.3),
    "flat": lambda rain: flat(rain, 0.25), "displaced": lambda rain: displaced(rain, 2),
}  # fmt: skip
