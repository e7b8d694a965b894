"""Maps of what each cell's own days are like, from kept days: correlation, a high quantile, wet days. Never holds more than a stretch
of rows.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.diagnose.kept import INPUT, TRUTH, KeptDays
from orbit2.jit import compiled, finite
from orbit2.metrics.extremes import RAIN, role
from orbit2.metrics.quantiles import LEAST_BEYOND
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
Series = npt.NDArray[np.floating]
LEVELS = (0.99, 0.95)  # the first that has LEAST_BEYOND days beyond it
LEAST_DAYS = 30  # of a correlation over time
WET = 1.0  # mm
SQUARE = 64


def level_of(days: int) -> float | None:
    """The quantile that a record of so many days can give."""
    return next((q for q in LEVELS if days * (1 - q) >= LEAST_BEYOND - 1e-9), None)


def maps(days: KeptDays, only: Collection[str] = ()) -> xr.Dataset:
    """(model, <space>) `<variable>_r`, `<variable>_quantile_bias`, and of rain `<variable>_wet_share` (of the truth too); empty where the
    record has fewer than LEAST_DAYS days. Of the cell in the middle of each block; of an ensemble, the first member's. `only` some
    models: reading all days of one is what takes the time.
    """
    if len(days.numbers) < LEAST_DAYS:
        return xr.Dataset()
    level = level_of(len(days.numbers))
    space, models = days.area.dims, [m for m in days.models if m != INPUT and (m == TRUTH or not only or m in only)]
    where = f"of the cell in the middle of each block of {days.step} x {days.step}, " if days.step > 1 else ""
    about = f"{where}{len(days.numbers)} days"
    data: dict[str, xr.DataArray] = {}

    def put(source: str, what: str, values: Array, words: str, units: str, **more: float) -> None:
        data[f"{source}_{what}"] = xr.DataArray(values.astype(np.float32), dims=("model", *space), coords={"model": models}, attrs={
            "long_name": f"{variable(source).long_name}, {words}", "units": units, "comment": about, **more})  # fmt: skip

    for source in days.variables:
        shape = len(models), *days.grid.shape
        r, quantile, wet = (np.full(shape, np.nan) for _ in range(3))
        rain = role(source) == RAIN
        for rows in days.stretches():
            truth = _series(days, source, TRUTH, rows)
            own = quantile_of(truth, level) if level is not None else None
            for m, model in enumerate(models):
                if model not in days.models_of(source):
                    continue
                field = truth if model == TRUTH else _series(days, source, model, rows)
                alike, share = compared(field, truth, WET, LEAST_DAYS)
                if rain:
                    wet[m, rows] = share.reshape(-1, shape[-1])
                if model != TRUTH:
                    r[m, rows] = alike.reshape(-1, shape[-1])
                    if own is not None and level is not None:
                        quantile[m, rows] = (quantile_of(field, level) - own).reshape(-1, shape[-1])
        put(source, "r", r, "correlation of days with the truth's, seasons and all", "1")
        if level is not None:
            words = f"{level:g} quantile over days less the truth's"
            put(source, "quantile_bias", quantile, words, variable(source).units, quantile=level)
        if rain:
            put(source, "wet_share", wet, f"share of days with at least {WET:g} mm", "1")
    return xr.Dataset(data, coords={str(key): value for key, value in days.area.coords.items()})


def _series(days: KeptDays, name: str, model: str, rows: slice) -> Series:
    """[cells, T] of a stretch of rows, each cell's days side by side."""
    values = days.rows("values", name, model, rows)
    return turned(values.reshape(len(values), -1))


@compiled("f4[:,::1]")
def turned(values: Series) -> Series:
    """[T, C] -> [C, T], in squares that stay in the cache."""
    days, cells = values.shape
    made = np.empty((cells, days), dtype=values.dtype)
    for first in range(0, cells, SQUARE):
        for start in range(0, days, SQUARE):
            for i in range(first, min(first + SQUARE, cells)):
                for t in range(start, min(start + SQUARE, days)):
                    made[i, t] = values[t, i]
    return made


@compiled("f4[:,::1], f4[:,::1], f8, i8")
def compared(p: Series, o: Series, wet: float, least: int) -> tuple[Array, Array]:
    """Of series [cells, T]: correlation (NaN with fewer than `least` common days, and where either never changes) and the share of common
    days on which p is at least `wet` (NaN without any), [cells] each. About the first common day's values, so that nothing cancels."""
    cells, days = p.shape
    r, share = np.full(cells, np.nan), np.full(cells, np.nan)
    for i in range(cells):
        n, above, sp, so, spp, soo, spo = 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0
        p0, o0 = 0.0, 0.0
        for t in range(days):
            x, y = np.float64(p[i, t]), np.float64(o[i, t])
            if not (finite(x) and finite(y)):
                continue
            if n == 0:
                p0, o0 = x, y
            n += 1
            above += 1 if x >= wet else 0
            x -= p0
            y -= o0
            sp += x
            so += y
            spp += x * x
            soo += y * y
            spo += x * y
        if n > 0:
            share[i] = above / n
        if n >= least:
            pp, oo = spp - sp * sp / n, soo - so * so / n
            if pp > 1e-9 * (1.0 + spp) and oo > 1e-9 * (1.0 + soo):
                r[i] = min(1.0, max(-1.0, (spo - sp * so / n) / np.sqrt(pp * oo)))
    return r, share


def quantile_of(series: Series, level: float) -> Array:
    """[cells] of series [cells, T], linear between days, of those that are known; NaN where most are missing."""
    missing = (~np.isfinite(series)).sum(axis=1)
    made = np.full(len(series), np.nan)
    place = level * (series.shape[1] - 1)
    low = int(place)
    whole = missing == 0
    if whole.any():
        near = np.partition(series[whole], (low, min(low + 1, series.shape[1] - 1)), axis=1)[:, [low, min(low + 1, series.shape[1] - 1)]]
        made[whole] = near[:, 0] + (place - low) * (near[:, 1].astype(np.float64) - near[:, 0])
    for i in (int(k) for k in np.flatnonzero((missing > 0) & (missing < 0.5 * series.shape[1]))):
        made[i] = np.nanquantile(series[i], level)
    return made
