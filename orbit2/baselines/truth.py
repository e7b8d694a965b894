"""What the truth of a training block is like: its quantiles, the mean of each month, heavy rain. No network, no test sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.data.packing import GREATEST, MISSING, Packing, unpack
from orbit2.grid import AnyGrid
from orbit2.metrics.lattice import Lattice
from orbit2.variables import is_precipitation, log_scored, variable

Array = npt.NDArray[np.float64]
Fields = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int16]
QUANTILES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.6827, 0.75, 0.9, 0.95, 0.9545, 0.99, 0.9973, 0.999, 0.9999, 1.0)
WET = 1.0  # mm/day: a wet day (ETCCDI)
WET_QUANTILES = (0.95, 0.99)
MONTHS = tuple(range(1, 13))
LOG = "_log1p"


class Monthly:
    """Per-cell means by calendar month of fields [H, W] that come month by month: one sum at a time is held, in float64.

    `close` ends a month; `means` [12, H, W] float32 is NaN where nothing was seen.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.means = np.full((12, *shape), np.nan, dtype=np.float32)
        self._total, self._n = np.zeros(shape), np.zeros(shape, dtype=np.int32)

    def update(self, values: npt.NDArray[np.floating]) -> None:
        known = np.isfinite(values)
        self._total += np.where(known, values, 0.0)
        self._n += known

    def close(self, month: int) -> None:
        """What came since the last call was of `month` (1 to 12)."""
        np.divide(self._total, self._n, out=self.means[month - 1], where=self._n > 0, casting="same_kind")
        self._total[:] = 0.0
        self._n[:] = 0


class Wet:
    """Quantiles of wet days per cell of the lattice: exact, from the stored codes of all samples, which are few there."""

    def __init__(self, packing: Packing, lattice: Lattice, samples: int) -> None:
        self.packing, self.lattice = packing, lattice
        self.codes: Codes = np.full((samples, *lattice.kept), MISSING, dtype=np.int16)
        self._next = 0

    def update(self, codes: Codes) -> None:
        self.codes[self._next] = codes[:: self.lattice.step, :: self.lattice.step]
        self._next += 1

    def quantiles(self) -> tuple[Fields, npt.NDArray[np.int32]]:
        """([q, h, w] quantiles of WET_QUANTILES of days with at least WET, linear between samples, NaN where none; their number)."""
        everything = unpack(np.arange(-GREATEST, GREATEST + 1, dtype=np.int16).reshape(1, 1, -1), [self.packing])[0, 0]
        least = int(np.searchsorted(everything, WET)) - GREATEST
        found = np.full((len(WET_QUANTILES), *self.codes.shape[1:]), np.nan, dtype=np.float32)
        number = (self.codes >= least).sum(0, dtype=np.int32)
        for row in range(self.codes.shape[1]):
            ordered, n = np.sort(self.codes[:, row], axis=0), number[row]
            values = unpack(ordered[None], [self.packing])[0].astype(np.float64)
            for i, q in enumerate(WET_QUANTILES):
                place = len(ordered) - n + q * np.maximum(n - 1, 0)
                below = np.minimum(np.floor(place).astype(np.int64), len(ordered) - 1)
                above = np.minimum(below + 1, len(ordered) - 1)
                low, high = (np.take_along_axis(values, at[None], 0)[0] for at in (below, above))
                found[i, row] = np.where(n > 0, low + (place - below) * (high - low), np.nan)
        return found, number


class Truth:
    """Streams training samples of all variables, a calendar month after the other; holds sums, and rain's codes on the lattice."""

    def __init__(self, packings: Sequence[Packing], grid: AnyGrid, weights: Array, samples: int) -> None:
        self.dims = grid.dims
        self.packings, self.weights = {p.name: p for p in packings}, weights.ravel()
        self.counts = {name: np.zeros(2 * GREATEST + 2) for name in self.packings}  # area by code
        self.monthly = {name: Monthly(grid.shape) for name in self.packings}
        lattice = Lattice.of(grid.shape)
        self.wet = {name: Wet(p, lattice, samples) for name, p in self.packings.items() if is_precipitation(name)}

    def update(self, codes: Codes, fields: Fields) -> None:
        """One sample [V, H, W]: as stored and as physical values."""
        for i, name in enumerate(self.packings):
            place = codes[i].ravel().astype(np.intp) - MISSING
            self.counts[name] += np.bincount(place, weights=self.weights, minlength=2 * GREATEST + 2)
            self.monthly[name].update(fields[i])
            if name in self.wet:
                self.wet[name].update(codes[i])

    def close(self, month: int) -> None:
        for monthly in self.monthly.values():
            monthly.close(month)

    def quantiles(self, name: str) -> Array:
        """[QUANTILES] of all cells and samples by area, exact to the packing; the first and the last are the range. NaN: nothing known."""
        share = np.cumsum(self.counts[name][1:])  # without what is missing
        if share[-1] <= 0:
            return np.full(len(QUANTILES), np.nan)
        first, last = np.flatnonzero(self.counts[name][1:])[[0, -1]]
        place = np.clip(np.searchsorted(share, np.array(QUANTILES) * share[-1]), first, last)
        codes = (place - GREATEST).astype(np.int16)
        return np.asarray(unpack(codes.reshape(1, 1, -1), [self.packings[name]])[0, 0], dtype=np.float64)

    def data(self) -> dict[str, xr.DataArray]:
        """`<label>_quantiles` (quantile), `<variable>_climatology` (month, lat, lon); of rain `<variable>_wet_quantiles` (wet_quantile,
        lattice_lat, lattice_lon) and `<variable>_wet_samples`."""
        found: dict[str, xr.DataArray] = {}
        for name in self.packings:
            units = variable(name).units
            quantiles = self.quantiles(name)
            about = "Quantiles of the truth by area, over all cells and training samples"
            found[f"{name}_quantiles"] = xr.DataArray(quantiles, dims="quantile", attrs={"long_name": about, "units": units})
            if log_scored(name):
                found[f"{name}{LOG}_quantiles"] = xr.DataArray(
                    np.log1p(quantiles), dims="quantile", attrs={"long_name": f"{about}, as ln(1 + x)", "units": "1"})
            found[f"{name}_climatology"] = xr.DataArray(self.monthly[name].means, dims=("month", *self.dims), attrs={
                "long_name": "Mean of the truth over the training samples of a calendar month", "units": units})  # fmt: skip
        for name, wet in self.wet.items():
            quantiles_of, number = wet.quantiles()
            about = f"Quantiles of the training samples with at least {WET:g} {variable(name).units}{wet.lattice.method}"
            found[f"{name}_wet_quantiles"] = xr.DataArray(
                quantiles_of, dims=("wet_quantile", "lattice_lat", "lattice_lon"),
                attrs={"long_name": about, "units": variable(name).units, "step": wet.lattice.step})  # fmt: skip
            found[f"{name}_wet_samples"] = xr.DataArray(number, dims=("lattice_lat", "lattice_lon"), attrs={
                "long_name": "Number of those samples"})  # fmt: skip
        return found

    def coordinates(self) -> Mapping[str, object]:
        return {"quantile": list(QUANTILES), "month": list(MONTHS), "wet_quantile": list(WET_QUANTILES)}
