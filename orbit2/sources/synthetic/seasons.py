"""When it rains in the test world: the seasons of each cell and how they move from year to year, as whole days. Never makes a field.

Days of the year are counted 0 to 364, as if every year had 365: 29 February is another 28 February.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbit2.grid import Grid

Whole = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
YEAR = 365
LEAP_DAY = 59  # counted from 0, in a leap year
MOST_SHIFT = 15  # days
BIMODAL = (-8.0, 8.0, 27.0, 53.0)  # south, north, west, east: the long and the short rains of East Africa
LONG_RAINS, SHORT_RAINS = (68, 145), (277, 339)  # first day, and the day after the last
_HALF = 182


@dataclass(frozen=True)
class Seasons:
    """The rainy seasons of each cell [H, W] in a usual year: `first` day and the day `after` the last (more than 364 where it lies in the
    next year), and those of a second season where a cell is `bimodal`."""

    first: Whole
    after: Whole
    bimodal: npt.NDArray[np.bool_]
    south: npt.NDArray[np.bool_]
    lon: Array  # [W] radians
    seed: int
    _shifts: dict[tuple[int, int], Whole] = field(default_factory=dict, repr=False)  # of the years that were asked for

    def shift(self, year: int, which: int) -> Whole:
        """By how many days, at most MOST_SHIFT, the begin (`which` 0) or the end (1) of the season of `year` comes later, [H, W]."""
        if (year, which) not in self._shifts:
            self._shifts[year, which] = self._shift(year, which)
        return self._shifts[year, which]

    def _shift(self, year: int, which: int) -> Whole:
        rows = []
        for hemisphere in (0, 1):
            draw = np.random.default_rng([self.seed, 100 + 2 * which + hemisphere, year]).standard_normal(5)
            waves = np.stack([np.ones_like(self.lon), np.cos(self.lon), np.sin(self.lon), np.cos(2 * self.lon), np.sin(2 * self.lon)])
            rows.append(np.clip(np.rint(4.0 * (draw @ waves)), -MOST_SHIFT, MOST_SHIFT).astype(np.int64))
        found: Whole = np.where(self.south, rows[1], rows[0])
        return found

    def onset(self, year: int) -> Whole:
        """The first day [H, W] of the season that begins in `year` (of the first one where a cell is bimodal)."""
        return self.first + self.shift(year, 0)

    def withdrawal(self, year: int) -> Whole:
        """The day after the last one [H, W] of the same season, counted from the begin of `year`: more than 364 in the next one."""
        return self.after + self.shift(year, 1)

    def rains(self, year: int, day: int) -> npt.NDArray[np.bool_]:
        """Whether `day` of `year` lies in a season, [H, W]."""
        inside = np.zeros(self.first.shape, dtype=bool)
        for begun in (year - 1, year):
            place = day + YEAR * (year - begun)
            inside |= (self.onset(begun) <= place) & (place < self.withdrawal(begun))
        second = (SHORT_RAINS[0] + self.shift(year, 0) <= day) & (day < SHORT_RAINS[1] + self.shift(year, 1))
        return inside | (self.bimodal & second)


def seasons(grid: Grid, seed: int) -> Seasons:
    """Monsoons that move polewards: from 5 May to the end of October at the equator, from the end of June to the middle of September at
    30 N, with waves along the parallel; half a year later in the south, so that seasons there lie across the end of the year."""
    lat, lon = grid.lat[:, None], np.radians(grid.lon)[None, :]
    begin = 125 + 1.6 * np.abs(lat) + 6 * np.sin(3 * lon) + 3 * np.sin(np.radians(12 * lat))
    end = 300 - 1.4 * np.abs(lat) + 4 * np.cos(2 * lon)
    south = np.broadcast_to(lat < 0, grid.shape)
    first = np.rint(begin).astype(np.int64) + np.where(south, _HALF, 0)
    after = np.rint(end).astype(np.int64) + np.where(south, _HALF, 0)
    low, high, west, east = BIMODAL
    turned = np.mod(grid.lon, 360.0)
    bimodal = ((lat >= low) & (lat <= high)) & ((turned >= west) & (turned <= east))[None, :]
    first, after = np.where(bimodal, LONG_RAINS[0], first), np.where(bimodal, LONG_RAINS[1], after)
    return Seasons(first, after, bimodal, south, lon[0], seed)


def place(date: np.datetime64) -> tuple[int, int]:
    """(year, day of the year 0 to 364) of a date; 29 February counts as the day before it."""
    year = int(date.astype("datetime64[Y]").astype(np.int64)) + 1970
    day = int((date.astype("datetime64[D]") - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return year, day - int(leap and day >= LEAP_DAY)
