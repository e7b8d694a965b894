"""What is known of a truth from its training block alone: thresholds, ranges and climatology for scores. Never looks at a test sample."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from orbit2.baselines.bcsd import packing_from
from orbit2.baselines.held import Held
from orbit2.baselines.truth import LOG
from orbit2.data.packing import MISSING, unpack
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.metrics.lattice import Lattice

Array = npt.NDArray[np.float64]
Space = str
OWN = "_own_quantiles"


class Moment(Protocol):
    """A time of any calendar, as `cftime.datetime` and `pandas.Timestamp` are."""

    month: int
    day: int
    hour: int
    daysinmonth: int


def open_fits(path: Path, whole: AnyGrid) -> xr.Dataset:
    """What `orbit2 evaluate fit` wrote, read when asked for. Raises OrbitError for a file that is missing or of another grid."""
    if not path.is_file():
        raise OrbitError("fits of the baselines not found", where=path, hint="run `orbit2 evaluate fit` (the evaluate stage) first")
    opened = xr.open_dataset(path, engine="h5netcdf", cache=False)  # else every map that was read is held twice
    found = tuple(opened.sizes.get(dim) for dim in whole.dims)
    if found != whole.shape:
        raise OrbitError("fits of the baselines are of another grid", where=path, got="{} x {} cells".format(*found),
                         allowed=whole.describe(), hint="remove the file; the evaluate stage fits them again")  # fmt: skip
    return opened


def month_position(time: np.datetime64 | Moment) -> float:
    """How far the year has gone in months, 0 to 12, whatever the calendar: 0.5 is the middle of January."""
    stamp: Moment = pd.Timestamp(time) if isinstance(time, np.datetime64) else time  # type: ignore[assignment]
    return float(stamp.month - 1 + (stamp.day - 1 + stamp.hour / 24) / stamp.daysinmonth)


class Training:
    """The truth of a dataset's training block for the window `rows`, `columns` of its fine grid. Fields are read when asked for.

    Whatever is not in the block is None: a variable that is no output, a month without a sample. `samples` of `of_samples` training
    samples within `period` were read; `years` is in how many years even the rarest month of the calendar was seen (0: not every month).
    """

    def __init__(self, path: Path, rows: slice, columns: slice, whole: AnyGrid) -> None:
        self.data = open_fits(Path(path), whole)
        self.dims = whole.dims
        self.rows, self.columns = (range(size)[part] for part, size in zip((rows, columns), whole.shape, strict=True))
        attributes = self.data.attrs
        self.samples, self.of_samples, self.period = int(attributes["samples"]), int(attributes["of_samples"]), str(attributes["period"])
        self.lattice = Lattice.of(whole.shape)
        self.years = int(attributes.get("years", 0))
        self._months = Held()
        self._quantiles: dict[str, tuple[Array, Array]] = {}  # (levels, values), read once

    @property
    def told(self) -> str:
        """In words: what the numbers rest on."""
        return f"from {self.samples:,} of {self.of_samples:,} training samples, {self.period}"

    def quantile(self, name: str, q: float, space: Space = "physical") -> float | None:
        """Quantile `q` (one of truth.QUANTILES) of all cells and samples by area, in the space's units. Raises OrbitError for another q."""
        key = f"{name if space == 'physical' else name + LOG}_quantiles"
        if key not in self.data:
            return None
        if key not in self._quantiles:
            self._quantiles[key] = self.data["quantile"].to_numpy(), self.data[key].to_numpy()
        known, values = self._quantiles[key]
        if not np.isclose(known, q, atol=1e-9).any():
            raise OrbitError("quantile not among those of the training block", where=name, got=q,
                             allowed=", ".join(f"{x:g}" for x in known), hint="ask for one of those, or run the statistics stage again")
        value = float(values[np.abs(known - q).argmin()])
        return value if np.isfinite(value) else None

    def limits(self, name: str, space: Space = "physical") -> tuple[float, float] | None:
        """The least and the greatest value of the truth."""
        low, high = self.quantile(name, 0.0, space), self.quantile(name, 1.0, space)
        return None if low is None or high is None else (low, high)

    def span(self, name: str, space: Space = "physical") -> float | None:
        """L of SSIM and PSNR: the 99.9 % less the 0.1 % quantile (evaluation.md 1.3)."""
        low, high = self.quantile(name, 0.001, space), self.quantile(name, 0.999, space)
        return None if low is None or high is None else high - low

    def climatology(self, name: str, time: np.datetime64 | Moment) -> Array | None:
        """The mean [h, w] of the truth at this time of the year: monthly means, linear between the middles of months, round the year.

        NaN in cells that were never observed; None unless every month of the year was. It is physical: there is none of ln(1 + x).
        """
        if f"{name}_climatology" not in self.data or self.years < 1:
            return None
        position = month_position(time) - 0.5
        first = int(np.floor(position))
        share = position - first
        one, other = (self._month(f"{name}_climatology", month % 12) for month in (first, first + 1))
        return np.asarray((1 - share) * one + share * other, dtype=np.float64)

    def wet_quantile(
        self, name: str, q: float, rows: npt.NDArray[np.int64] | None = None, columns: npt.NDArray[np.int64] | None = None
    ) -> Array | None:
        """Quantile `q` (0.95, 0.99) of wet days (>= 1 mm) in cells [rows, columns] of the window (default: all), NaN where none was wet.

        They are kept on the `lattice` of the whole grid: the nearest counts for a cell between.
        """
        key = f"{name}_wet_quantiles"
        if key not in self.data:
            return None
        known = self.data["wet_quantile"].to_numpy()
        if not np.isclose(known, q).any():
            raise OrbitError("quantile not among those of wet days", where=name, got=q, allowed=", ".join(f"{x:g}" for x in known),
                             hint="ask for one of those, or run the statistics stage again")  # fmt: skip
        field = self.data[key].isel(wet_quantile=int(np.abs(known - q).argmin())).to_numpy().astype(np.float64)
        lattice, at = self.lattice, []
        for cells, chosen, size in ((self.rows, rows, field.shape[0]), (self.columns, columns, field.shape[1])):
            place = np.asarray(cells) if chosen is None else np.asarray(cells)[chosen]
            at.append(np.minimum((place + lattice.step // 2) // lattice.step, size - 1))
        return np.asarray(field[np.ix_(*at)])

    def own_quantiles(self, name: str) -> tuple[npt.NDArray[np.float32], tuple[float, ...]] | None:
        """(each cell's own quantiles metrics.quantiles.LEVELS [Q, h, w], NaN where nothing was observed; the share of the whole grid's area
        in which they are the cells' own, [Q]): elsewhere they are those of a zone of latitude. None for grids too large for them."""
        if (key := f"{name}{OWN}") not in self.data:
            return None
        field = self.data[key]
        rows, columns = (slice(part.start, part.stop) for part in (self.rows, self.columns))
        codes = field.isel({field.dims[-2]: rows, field.dims[-1]: columns}).to_numpy()
        values = np.stack([unpack(each[None], [packing_from(name, field.attrs)])[0] for each in codes])
        values[codes == MISSING] = np.nan
        return values.astype(np.float32), tuple(float(share) for share in np.atleast_1d(field.attrs["share"]))

    def _month(self, key: str, month: int) -> npt.NDArray[np.float32]:
        """Two months are held of each variable: those between which a time lies."""
        window = {dim: slice(part.start, part.stop) for dim, part in zip(self.dims, (self.rows, self.columns), strict=True)}
        return self._months.get(f"{key} {month % 2}", month, lambda: self.data[key].isel({"month": month, **window}).to_numpy())
