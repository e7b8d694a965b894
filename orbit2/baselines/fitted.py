"""Baselines that learn from the training block what a station correction knows: one number per cell, or one per run. No network.

All start from area-conserving interpolation x of the coarse field. r = truth - x, over the samples of the training block:

- delta: x + mean r of the cell.
- regression: x + mean r + slope (x - mean x), the slope by least squares in each cell, drawn towards 0 (that is `delta`) as if
  `prior` further samples had none: with a few frames it would follow their noise. The prior is one number per variable and space, that
  of PRIORS which does best when each half of the training block, by time, is corrected by what the other half says.
- delta_monthly (in place of `delta`, where the training block saw every calendar month in at least two years): x + mean r of the cell in
  that month.
- quantile_mapping: x mapped, in each cell, from its own distribution to the truth's (quantiles.py).
- bcsd, bcsd_monthly: see bcsd.py.
- lapse_rate: temperature; x + gamma (height - its area-conserving interpolation), gamma one number by least squares over all cells.
- *_log1p: precipitation; the same of ln(1 + x), transformed back.

A cell without a training sample is left as interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from orbit2.areas import relative_areas
from orbit2.baselines.bcsd import anomalies, limits, packing_from
from orbit2.baselines.corrections import along, corrected, on_mean
from orbit2.baselines.held import Held, Packed
from orbit2.baselines.interpolation import Interpolation, bands, block_mean, interpolate
from orbit2.baselines.quantiles import map_rows
from orbit2.baselines.training import open_fits
from orbit2.baselines.truth import LOG, Monthly
from orbit2.data.packing import Packing
from orbit2.grid import AnyGrid
from orbit2.logarithms import log1p
from orbit2.metrics.pooling import Pooled
from orbit2.times import Time
from orbit2.variables import floor, log_scored, variable

Array = npt.NDArray[np.float64]
FITTED = (
    "delta", "delta_monthly", "lapse_rate", "regression", "quantile_mapping", "bcsd", "bcsd_monthly",
    "delta_log1p", "delta_monthly_log1p", "regression_log1p",
)  # fmt: skip
BASE = "conservative"
NONE: npt.NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)  # a map that a baseline has not
Place = tuple[slice, tuple[slice, slice]]  # coarse rows of a band, what of them lies in the window
Step = Callable[[Array, slice, Array, Array, Place], None]  # result, its rows in the window, x, ln(1 + x), place
PRIORS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, np.inf)  # samples without a slope; inf: no slope


def follows_height(name: str) -> bool:
    """Whether a variable is a temperature near the ground, which `lapse_rate` is for."""
    return name.startswith("2m_temperature")


def height_anomaly(orography: Array, coarse: AnyGrid, factor: int) -> Array:
    """Fine surface altitude minus what area-conserving interpolation makes of its block means, m, [sH, sW]."""
    known = np.where(np.isfinite(orography), orography, 0.0)
    smooth = interpolate(block_mean(known, relative_areas(coarse.refine(factor)), factor), coarse, factor, BASE)
    return np.asarray(known - smooth, dtype=np.float64)


class Sums:
    """Number, means of x and r, and co-moments of x with both, per cell [H, W]; in one pass over samples, or joined with other samples'."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.n, self.x, self.r, self.xx, self.xr = (np.zeros(shape) for _ in range(5))

    def update(self, x: Array, truth: Array) -> None:
        """One sample; cells where either is missing are left out."""
        residual = truth - x
        valid = np.isfinite(residual)
        self._join(valid, np.where(valid, x, 0.0), np.where(valid, residual, 0.0))

    def merge(self, other: Sums) -> None:
        self._join(other.n, other.x, other.r, other.xx, other.xr)

    def _join(self, n: npt.ArrayLike, x: Array, r: Array, xx: Array | float = 0.0, xr: Array | float = 0.0) -> None:
        both, dx, dr = Pooled.of(self.n, n), x - self.x, r - self.r
        self.xx, self.xr = both.comoment(self.xx, xx, dx, dx), both.comoment(self.xr, xr, dx, dr)
        self.n, self.x, self.r = both.weight, both.mean(self.x, dx), both.mean(self.r, dr)

    def slope(self, prior: float) -> Array:
        """d r / d x of each cell, drawn towards 0 by n / (n + prior); 0 where x never changed."""
        plain = np.divide(self.xr, self.xx, out=np.zeros_like(self.xx), where=self.xx > 0)
        return np.where(self.n > 0, plain * self.n / np.maximum(self.n + prior, 1.0), 0.0)

    def excess(self, held: Sums, prior: float, weights: Array) -> float:
        """What the slope of these samples adds to the squared error of `delta` in the samples `held` (below 0: it helps), summed over
        samples and, with `weights` [H, W], over cells. From the sums alone: the residual left is r - mean r - slope (x - mean x)."""
        slope, dx, dr = self.slope(prior), held.x - self.x, held.r - self.r
        change = held.n * slope * dx * (slope * dx - 2 * dr) + slope * (slope * held.xx - 2 * held.xr)
        return float((weights * change).sum())


def choose_prior(first: Sums, second: Sums, weights: Array) -> tuple[float, Array]:
    """(the prior of PRIORS with the lowest error, [PRIORS] mean squared error less that of `delta`) by two-fold cross-validation.

    Each half of the training block is corrected by the fit of the other. Of equals the strongest: without evidence there is no slope.
    """
    total = float((weights * (first.n + second.n)).sum())
    errors = np.array([first.excess(second, prior, weights) + second.excess(first, prior, weights) for prior in PRIORS])
    errors = errors / total if total > 0 else np.zeros(len(PRIORS))
    best = len(PRIORS) - 1 - int(np.argmin(errors[::-1]))
    return PRIORS[best], errors


@dataclass
class Lapse:
    """Sums for one slope over all cells: of r on the height anomaly."""

    height: Array
    hh: float = 0.0
    hr: float = 0.0

    def update(self, x: Array, truth: Array, weights: Array) -> None:
        residual = truth - x
        weighted = np.where(np.isfinite(residual), weights, 0.0) * self.height
        self.hh += float((weighted * self.height).sum())
        self.hr += float((weighted * np.where(np.isfinite(residual), residual, 0.0)).sum())

    def rate(self) -> float:
        """K per m (negative: colder higher up)."""
        return self.hr / self.hh if self.hh > 0 else 0.0


class Fit:
    """Streams the training samples of one variable after the other; holds sums only, those of the two halves of the block apart."""

    def __init__(
        self, names: Iterable[str], coarse: AnyGrid, factor: int, weights: Array, orography: Array | None, monthly: bool = False,
    ) -> None:  # fmt: skip
        self.names, self.coarse, self.factor, self.weights = tuple(names), coarse, factor, weights
        shape = coarse.refine(factor).shape
        labels = [name + end for name in self.names for end in (("", LOG) if log_scored(name) else ("",))]
        self.sums = {label: (Sums(shape), Sums(shape)) for label in labels}
        self.monthly = {label: Monthly(shape) for label in labels} if monthly else {}  # of truth minus x
        height = None if orography is None else height_anomaly(orography, coarse, factor)
        self.lapse = {} if height is None else {name: Lapse(height) for name in self.names if follows_height(name)}

    def update(self, name: str, coarse: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], half: int) -> None:
        """One sample of a variable: the coarse field [H, W] and the truth [sH, sW], canonical units; `half` (0, 1) of the block by time."""
        x = interpolate(coarse.astype(np.float64), self.coarse, self.factor, BASE, lower=floor(name))
        y = truth.astype(np.float64)
        pairs = {name: (x, y)}
        if name + LOG in self.sums:
            pairs[name + LOG] = np.log1p(x), np.log1p(np.maximum(y, 0.0))
        for label, (one, other) in pairs.items():
            self.sums[label][half].update(one, other)
            if label in self.monthly:
                self.monthly[label].update(other - one)
        if name in self.lapse:
            self.lapse[name].update(x, y, self.weights)

    def close(self, month: int) -> None:
        """What came since the last call was of `month` (1 to 12)."""
        for monthly in self.monthly.values():
            monthly.close(month)

    def dataset(self) -> xr.Dataset:
        """`<label>_mean_residual`, `_mean_input`, `_slope`, `_samples` (lat, lon), `_prior`, `_prior_errors` (prior); `height_anomaly`;
        `<label>_monthly_residual` (month, lat, lon).

        Joins the halves in place: to be called once, at the end.
        """
        data: dict[str, xr.DataArray] = {}
        for label, (sums, second) in self.sums.items():
            best, errors = choose_prior(sums, second, self.weights)
            sums.merge(second)
            for key, values, about in (
                ("mean_residual", sums.r, "Mean over the training samples of truth minus area-conserving interpolation"),
                ("mean_input", sums.x, "Mean over the training samples of the area-conserving interpolation"),
                ("slope", sums.slope(best), "Slope of that residual on the interpolation, drawn towards 0 by n / (n + prior)"),
                ("samples", sums.n, "Training samples"),
            ):
                data[f"{label}_{key}"] = xr.DataArray(values.astype(np.float32), dims=self.coarse.dims, attrs={"long_name": about})
            data[f"{label}_prior"] = xr.DataArray(best, attrs={
                "long_name": "Prior of the slope, in samples, by cross-validation between the halves of the training block"})  # fmt: skip
            data[f"{label}_prior_errors"] = xr.DataArray(errors, dims="prior", attrs={
                "long_name": "Mean squared error less that of delta, each half of the block corrected by the other's fit"})  # fmt: skip
        for label, monthly in self.monthly.items():
            data[f"{label}_monthly_residual"] = xr.DataArray(monthly.means, dims=("month", *self.coarse.dims), attrs={
                "long_name": "Mean over a calendar month's training samples of truth minus area-conserving interpolation"})  # fmt: skip
        for name, lapse in self.lapse.items():
            data["height_anomaly"] = xr.DataArray(lapse.height.astype(np.float32), dims=self.coarse.dims, attrs={
                "long_name": "Surface altitude minus the area-conserving interpolation of its block means", "units": "m"})  # fmt: skip
            data[f"{name}_lapse_rate"] = xr.DataArray(lapse.rate(), attrs={"long_name": "Temperature by altitude", "units": "K m-1"})
        return xr.Dataset(data, coords={"prior": list(PRIORS)})


class Fitted:
    """What was fitted, for the window `rows`, `columns` of a prediction in the fine grid; `coarse` is the input's whole grid.

    Maps are read when asked for. Raises OrbitError for a file that is missing or belongs to another grid.
    """

    def __init__(self, path: Path, rows: slice, columns: slice, coarse: AnyGrid, factor: int) -> None:
        self.whole = open_fits(path, coarse.refine(factor))
        self.data = self.whole.isel(dict(zip(coarse.dims, (rows, columns), strict=True)))
        self.window, self.coarse, self.factor = (rows, columns), coarse, factor
        self._maps = Held()
        self.samples, self.period = int(self.data.attrs["samples"]), str(self.data.attrs["period"])

    def methods(self, name: str, wanted: Iterable[str]) -> tuple[str, ...]:
        """Which of the `wanted` baselines there are for a variable, with their ln(1 + x) kinds for precipitation; `_monthly` where months
        were told apart."""
        found: list[str] = []
        for method in wanted:
            if method == "lapse_rate":
                found += [method] if f"{name}_lapse_rate" in self.data else []
            elif method == "quantile_mapping":
                found += [method] if f"{name}_map_given" in self.data else []
            elif method == "bcsd" and f"{name}_bcsd_mean" in self.data:
                found += ["bcsd_monthly" if self.data.sizes["group"] == 12 else "bcsd"]
            elif method in ("delta", "regression") and f"{name}_slope" in self.data:
                kind = "delta_monthly" if method == "delta" and f"{name}_monthly_residual" in self.data else method
                found += [kind, f"{kind}{LOG}"] if f"{name}{LOG}_slope" in self.data else [kind]
        return tuple(dict.fromkeys(found))

    def apply(
        self, method: str, name: str, base: Array, field: Array, time: Time, precision: type[np.floating[Any]] = np.float64,
    ) -> Array:  # fmt: skip
        """A baseline at `time` from the input's whole `field` [H, W] and its area-conserving interpolation `base` [h, w] in the window,
        kept in `precision`; NaN where that is missing, `base` itself where the training block knows nothing of a cell."""
        return self.applied((method,), name, field, time, precision, base)[method]

    def applied(
        self, methods: Sequence[str], name: str, field: Array, time: Time, precision: type[np.floating[Any]] = np.float64,
        base: Array | None = None,
    ) -> dict[str, Array]:  # fmt: skip
        """Several baselines, and BASE, as `apply` gives them: by bands of rows, which stay in the cache while all are made, and `base` is
        never whole unless it is given."""
        steps = {method: self._step(method, name, field, time) for method in methods}
        first, last, _ = self.window[0].indices(self.coarse.shape[0] * self.factor)
        columns = range(self.coarse.shape[1] * self.factor)[self.window[1]]
        made: dict[str, Array] = {method: np.empty((last - first, len(columns)), dtype=precision) for method in (*methods, BASE)}
        mapped = "quantile_mapping" in methods and self._packing(name, "map").logarithmic
        wanted = mapped or any(method.endswith(LOG) for method in methods)
        of = Interpolation(field, self.coarse, self.factor, BASE, floor(name)) if base is None else None
        for coarse in bands(self.coarse, self.factor, self.window[0]):
            start = coarse.start * self.factor
            begin, end = max(start, first), min(coarse.stop * self.factor, last)
            rows, crop = slice(begin - first, end - first), (slice(begin - start, end - start), self.window[1])
            x = np.ascontiguousarray(of.part(coarse)[crop] if of is not None else base[rows] if base is not None else ())
            logarithm = log1p(x) if wanted else x
            made[BASE][rows] = x
            for method, step in steps.items():
                step(made[method][rows], rows, x, logarithm, (coarse, crop))
        self._maps.close()
        return made

    def _step(self, method: str, name: str, field: Array, time: Time) -> Step:
        """What makes a band of a baseline."""
        month = times.month(times.stamp(time)) if "_monthly" in method else 0
        if method == "lapse_rate":
            height, rate = self._rows("height_anomaly"), float(self.data[f"{name}_lapse_rate"])
            return lambda result, rows, x, *_: along(result, x, height[rows], rate)
        if method == "quantile_mapping":
            packing = self._packing(name, "map")
            given, wanted = self._rows(f"{name}_map_given"), self._rows(f"{name}_map_wanted")
            return lambda result, rows, x, logarithm, _: map_rows(
                result, x, logarithm if packing.logarithmic else x, given[rows], wanted[rows], packing)  # fmt: skip
        return self._bcsd(name, field, month) if method.startswith("bcsd") else self._residual(method, name, month)

    def _residual(self, method: str, name: str, month: int) -> Step:
        """delta, delta_monthly, regression: the mean residual, and the slope."""
        log = method.endswith(LOG)
        label = f"{name}{LOG}" if log else name
        residual = self._rows(f"{label}_monthly_residual", month) if month else self._rows(f"{label}_mean_residual")
        slope, mean = (self._rows(f"{label}_{key}") if method.startswith("regression") else NONE for key in ("slope", "mean_input"))
        # a steep slope of the logarithm must not pass what can fall, or overflow
        low, high = (0.0, float(variable(name).valid[1])) if floor(name) is not None else (-np.inf, np.inf)
        return lambda result, rows, x, logarithm, _: corrected(
            result, x, logarithm if log else None, residual[rows], slope[rows], mean[rows], low, high)  # fmt: skip

    def _bcsd(self, name: str, field: Array, month: int) -> Step:
        given, wanted = (self._read(f"{name}_bcsd_{key}", max(month, 1), grouped=True) for key in ("given", "wanted"))
        mean = self._read(f"{name}_bcsd_mean", max(month, 1), grouped=True).astype(np.float64)
        packing = self._packing(name, "bcsd")
        anomaly = anomalies(field, given, wanted, mean, packing, self.coarse, self.factor)
        one, more, seen = (self._rows(f"{name}_climatology", month), NONE, NONE > 0) if month else (
            self._rows(f"{name}_{key}") for key in ("mean_input", "mean_residual", "samples"))  # fmt: skip
        within = limits(packing)
        return lambda result, rows, x, _, place: on_mean(
            result, x, np.ascontiguousarray(anomaly.part(place[0])[place[1]]), one[rows], more[rows], seen[rows], *within)  # fmt: skip

    def _packing(self, name: str, kind: str) -> Packing:
        return packing_from(name, self.data[f"{name}_{kind}_given"].attrs)

    def _rows(self, key: str, month: int = 0) -> npt.NDArray[Any] | Packed:
        """A map of the window (of a month), nodes last, to take `[rows]` of. Read once."""
        return self._maps.rows(key, month, lambda: self._map(key, month, False))

    def _read(self, key: str, month: int = 0, grouped: bool = False) -> npt.NDArray[Any]:
        """A whole map of the coarse grid (of `group` `month` where `grouped`), nodes last. Read once."""
        return self._maps.get(key, month, lambda: self._map(key, month, grouped))

    def _map(self, key: str, month: int, grouped: bool) -> npt.NDArray[Any]:
        chosen = self.data[key].isel({"group" if grouped else "month": month - 1}) if month else self.data[key]
        values: npt.NDArray[Any] = chosen.to_numpy()
        values = values > 0 if key.endswith("_samples") else values  # all that is asked of them
        return np.moveaxis(values, 0, -1) if values.ndim == 3 else values
