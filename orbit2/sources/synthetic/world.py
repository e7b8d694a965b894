"""The formula of the test world: what it rains and how warm it is on any day, and what is known of it. Never reads a provider's file.

Rain: a day is wet (at least WET) with a probability that depends on place and season, and what falls beyond WET has a Weibull
distribution (stretched exponential; Wilson & Toumi 2005, Geophys. Res. Lett. 32, L14812), so that means, shares of wet days and
exceedances are closed expressions. Land and mountains are the real ones, so that fine structure has causes that a model can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gamma

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from orbit2.grid import Grid
from orbit2.sources.static import open_static
from orbit2.sources.synthetic.noise import Noise
from orbit2.sources.synthetic.seasons import YEAR, Seasons, place, seasons

Field = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
RAIN, WARMEST, COLDEST = "total_precipitation_24hr", "2m_temperature_max", "2m_temperature_min"
NAMES = (RAIN, WARMEST, COLDEST)
WET = 1.1  # mm: what falls on a wet day at least; a dry day has nothing. Packing cannot take it below the 1 mm that others count from
SHAPE = 0.85  # of the Weibull distribution
LAPSE = 6.0e-3  # K per metre
COOLING = 0.3  # correlation of rain and cold
BANDS = 6.0  # degrees of latitude from one band of rain to the next: what cells of 7.5 degrees cannot show
WAVE = (2, 45.0, 12.0)  # wavenumber round the globe, period in days, width in degrees of latitude: it travels east at 5.1 m/s
RANGE = 0.25  # how much of the daily range rain takes
_ZERO = 273.15


@dataclass(frozen=True)
class Law:
    """The distribution of a day's rain in each cell [H, W]: the `share` of days that are wet, and the `scale` (mm) beyond WET."""

    share: Array
    scale: Array

    @property
    def amount(self) -> Array:
        """Mean of wet days (mm)."""
        return WET + self.scale * gamma(1 + 1 / SHAPE)

    @property
    def mean(self) -> Array:
        """Mean of all days (mm)."""
        return self.share * self.amount

    def exceeds(self, mm: float) -> Array:
        """Probability of at least `mm`."""
        over = np.maximum(mm - WET, 0.0) / self.scale
        return np.where(mm <= 0, 1.0, self.share * np.exp(-(over**SHAPE)))

    def quantile(self, level: float) -> Array:
        """The amount (mm) that a share `level` of days does not exceed."""
        chance = np.clip((1 - level) / self.share, 1e-300, 1.0)
        return np.where(1 - level >= self.share, 0.0, WET + self.scale * (-np.log(chance)) ** (1 / SHAPE))


class World:
    """The test world on `grid`: `rain`, `temperatures` and `fields` of any days, and the truth behind them.

    `land` and `altitude` (m), [H, W]: those of the packaged static fields where they are not given. `bands`: by which share the amounts of
    the rainy season go up and down with latitude, every BANDS degrees; `waves`: by which share of itself the chance of a wet day does with
    the wave WAVE along the equator. Both are 0 in the plain world.
    """

    def __init__(
        self, grid: Grid, seed: int = 0, land: Field | Array | None = None, altitude: Field | Array | None = None, bands: float = 0.0,
        waves: float = 0.0,
    ) -> None:  # fmt: skip
        self.grid, self.seed, self.bands, self.waves = grid, seed, bands, waves
        if land is None or altitude is None:
            land, altitude = open_static(grid, ("land_sea_mask", "orography"))
        self.land, self.altitude = np.asarray(land, dtype=np.float64), np.maximum(np.asarray(altitude, dtype=np.float64), 0.0)
        self.seasons: Seasons = seasons(grid, seed)
        self._rain, self._warmth = Noise(grid, seed, 0), Noise(grid, seed, 1)
        self._yearly = lru_cache(maxsize=4)(self._wetness)

    @cached_property
    def contrast(self) -> Array:
        """1 where rain has a season, 0 where all year is alike, in between from 30 to 42 degrees of latitude, [H, W]."""
        part = np.clip((42.0 - np.abs(self.grid.lat)) / 12.0, 0.0, 1.0)
        return np.repeat((part**2 * (3 - 2 * part))[:, None], self.grid.shape[1], axis=1)

    @cached_property
    def desert(self) -> Array:
        """Share of wet days that a desert around 23 N, 15 E leaves out, [H, W]."""
        east = np.mod(self.grid.lon - 15.0 + 180.0, 360.0) - 180.0
        found: Array = 0.95 * np.exp(-(((self.grid.lat[:, None] - 23.0) / 7.0) ** 2) - (east[None, :] / 22.0) ** 2)
        return found

    @cached_property
    def monsoon(self) -> npt.NDArray[np.bool_]:
        """Cells [H, W] with one clear season: onset and withdrawal of these are known."""
        found: npt.NDArray[np.bool_] = (self.contrast > 0.9) & (self.desert < 0.5) & ~self.seasons.bimodal
        return found

    def law(self, day: np.datetime64) -> Law:
        """What the rain of a day is drawn from."""
        year, number = place(day)
        wet, dry, wet_scale, dry_scale = self._yearly(year)
        inside = self.seasons.rains(year, number)
        share = np.where(inside, wet, dry)
        if self.waves:
            lifted: Array = share * (1 + self.waves * self.wave(day))
            share = np.clip(lifted, 1e-6, 0.97)
        return Law(share, np.where(inside, wet_scale, dry_scale))

    def wave(self, day: np.datetime64) -> Array:
        """The wave along the equator on a day, -1 to 1, [H, W]: WAVE, eastward."""
        number, period, width = WAVE
        turned = 2 * np.pi * float(day.astype("datetime64[D]").astype(np.int64)) / period
        there = np.exp(-((self.grid.lat / width) ** 2))[:, None]
        found: Array = there * np.cos(number * np.radians(self.grid.lon) - turned)[None, :]
        return found

    def _wetness(self, year: int) -> tuple[Array, Array, Array, Array]:
        """Share of wet days and scale (mm) in and out of season of a year, [H, W]: some years are wetter than others."""
        lat, lon = self.grid.lat[:, None], np.radians(self.grid.lon)[None, :]
        middle, season = 0.33 + 0 * lon, 0.70 + 0.10 * np.sin(2 * lon + lat / 10)
        moist = 1 - self.desert
        wet = (self.contrast * season + (1 - self.contrast) * middle) * moist
        dry = (self.contrast * 0.06 + (1 - self.contrast) * middle) * moist
        draw = np.random.default_rng([self.seed, 200, year]).standard_normal(3)
        good = 1 + 0.15 * np.clip(draw[0] + draw[1] * np.cos(lon) + draw[2] * np.sin(lon), -2.0, 2.0) / np.sqrt(2)
        hills = (1 + 0.5 * self.altitude / (self.altitude + 800.0)) * (0.9 + 0.2 * self.land) * (0.3 + 0.7 * np.cos(np.radians(lat)) ** 2)
        if self.bands:
            hills = hills * (1 + self.bands * self.contrast * np.cos(2 * np.pi * lat / BANDS))
        wet_amount = self.contrast * 13.0 * (1 + 0.15 * np.cos(3 * lon)) + (1 - self.contrast) * 7.0
        dry_amount = self.contrast * 4.0 + (1 - self.contrast) * 7.0
        scales = [np.maximum(amount * hills - WET, 0.5) * good / gamma(1 + 1 / SHAPE) for amount in (wet_amount, dry_amount)]
        return wet, dry, scales[0], scales[1]

    def warmth(self, day: np.datetime64) -> tuple[Array, Array]:
        """Mean and standard deviation (K) of the day's maximum temperature, which is normal, in each cell [H, W]."""
        _, number = place(day)
        sine = np.sin(np.radians(self.grid.lat))[:, None]
        height = np.where(sine < 0, 18.0, 200.0)  # of summer
        swing = (1.5 + 16.0 * sine**2) * (0.45 + 0.55 * self.land)
        mean = _ZERO + 33.0 - 46.0 * sine**2 + swing * np.cos(2 * np.pi * (number - height) / YEAR) - LAPSE * self.altitude
        return mean, np.broadcast_to(1.5 + 3.5 * np.abs(sine), self.grid.shape)

    def hotter(self, day: np.datetime64, kelvin: float) -> Array:
        """Probability that the day's maximum lies above `kelvin`, [H, W]."""
        mean, deviation = self.warmth(day)
        found: Array = ndtr((mean - kelvin) / deviation)
        return found

    def fields(self, days: Sequence[np.datetime64] | npt.NDArray[np.datetime64]) -> dict[str, Field]:
        """Rain (mm), maximum and minimum temperature (K) of `days`, [T, H, W] by variable; every day is always the same."""
        found = {name: np.empty((len(days), *self.grid.shape), dtype=np.float32) for name in NAMES}
        numbers = [int(day.astype("datetime64[D]").astype(np.int64)) for day in days]
        for i, (day, damp, warm) in enumerate(zip(days, self._rain.days(numbers), self._warmth.days(numbers), strict=True)):
            found[RAIN][i] = drawn(self.law(day), damp)
            mean, deviation = self.warmth(day)
            found[WARMEST][i] = mean + deviation * (np.sqrt(1 - COOLING**2) * warm - COOLING * damp)
            found[COLDEST][i] = found[WARMEST][i] - (5.0 + 5.0 * self.land) * np.exp(-RANGE * damp)
        return found


def drawn(law: Law, normal: Field) -> Array:
    """Rain (mm) [H, W] where a standard `normal` field says how far up its distribution each cell is."""
    beyond = np.maximum(ndtr(-normal.astype(np.float64)) / law.share, 1e-300)  # of wet days, how many are as wet: uniform where below 1
    return np.where(beyond < 1, WET + law.scale * (-np.log(np.minimum(beyond, 1.0))) ** (1 / SHAPE), 0.0)

