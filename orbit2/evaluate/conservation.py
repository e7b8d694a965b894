"""Does the prediction keep what its input says? Block means of the prediction against the input. Never needs a truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.areas import relative_areas
from orbit2.baselines.interpolation import block_mean
from orbit2.jit import compiled, finite
from orbit2.metrics import kernels
from orbit2.metrics.collector import Collector, Settings, Training, add_all, flat
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import SeriesStatistic, State
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation, variable

Array = npt.NDArray[np.float64]
POWERS = tuple(range(-6, 4))  # of ten, in the variable's units: how much of the area has |rho| below them
NUMBERS = 7  # of a row, before those shares


class Conservation(Collector):
    """One row of numbers per sample, variable and model, in physical space."""

    name, stage = "conservation", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.statistics: dict[tuple[str, ...], SeriesStatistic] = {}  # (variable, model)
        self._weights: Array | None = None

    def update(self, scored: Scored) -> None:
        given = self.matched.input_field(scored.index, scored.variable)
        if given is None:
            return
        factor, grid = self.matched.refinement, self.matched.native_grid
        if self._weights is None:
            self._weights = area_weights(grid.coarsen(factor))
        for model, native in scored.native.items():
            row = conservation_row(block_mean(native, relative_areas(grid), factor), given, self._weights)
            self.statistics.setdefault((scored.variable, model), SeriesStatistic()).update(scored.sample, row)

    def state(self) -> State:
        return flat(self.statistics)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        add_all(self.statistics, {path: _whole(array) if path.endswith("/values") else array for path, array in state.items()},
                lambda _: SeriesStatistic())  # fmt: skip

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), statistic in sorted(self.statistics.items()) if protocol == "standard" else ():
            absolute, size, square, p99, fraction, shift, _, *within = statistic.finalise()
            n = int(np.nansum(statistic.stacked()[:, 6]))
            if not n:
                continue
            about = "rho = area-weighted block mean of the prediction minus its input"
            entries = [
                ("conservation_relative", f"mean |rho| / mean |x|; {about}", absolute / size if size > 0 else float("nan")),
                ("conservation_rmse", f"square root of the mean rho^2; {about}", np.sqrt(square)),
                ("conservation_p99", f"99 % quantile of |rho| by area, mean over samples; {about}", p99),
                ("conservation_bias", f"mean rho; {about}", shift),
            ]
            if is_precipitation(name):
                entries.append(("conservation_exceedance", f"area share of cells with |rho| > max(1 %, 0.1 mm/day); {about}", fraction))
            least = f"area share of cells with |rho| <= {{}} {variable(name).units}; {about}"
            entries += [(f"conservation_within_1e{power}", least.format(f"1e{power}"), share)
                        for power, share in zip(POWERS, within, strict=True) if np.isfinite(share)]  # fmt: skip
            for metric, method, value in entries:
                table.add(model, name, "physical", self.matched.region, metric, method, value, n=n)


def conservation_row(means: Array, given: Array, weights: Array) -> Array:
    """[mean |rho|, mean |x|, mean rho^2, 99 % |rho|, share of |rho| > max(1 % of x, 0.1), mean rho, cells, and the share of |rho| <= 10^k
    for each of POWERS] of rho = means - x, by area."""
    row: Array = _row(means.ravel(), given.ravel(), weights.ravel(), np.array([10.0**power for power in POWERS]))
    row[3] = kernels.quantile_by_weight(np.abs(means - given).ravel(), weights.ravel(), 0.99) if row[6] else np.nan
    return row


@compiled("f8[::1], f8[::1], f8[::1], f8[::1]")
def _row(means: Array, given: Array, weights: Array, limits: Array) -> Array:
    sums, area = np.zeros(NUMBERS + len(limits)), 0.0
    for k in range(len(means)):
        rho, w = means[k] - given[k], weights[k]
        if finite(rho):
            size, x = abs(rho), abs(given[k])
            area += w
            sums[0] += w * size
            sums[1] += w * x
            sums[2] += w * rho * rho
            sums[4] += w if size > max(0.01 * x, 0.1) else 0.0
            sums[5] += w * rho
            sums[6] += 1.0
            for i in range(len(limits)):
                sums[NUMBERS + i] += w if size <= limits[i] else 0.0
    cells = sums[6]
    sums = sums / area if area > 0 else np.full(len(sums), np.nan)
    sums[6] = cells if cells > 0 else np.nan
    return sums


def _whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows of a part made before shares were counted, with NaN in their place."""
    lacking = NUMBERS + len(POWERS) - values.shape[-1] if values.ndim == 2 else 0
    return np.pad(values, ((0, 0), (0, lacking)), constant_values=np.nan) if lacking > 0 else values
