"""The seam test of a tiled task: its prediction and one field that was never tiled, at the same borders. Never opens files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.grid import AnyGrid, Grid
from orbit2.metrics.collector import Collector, Settings, Training, flat, keyed
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.seams import REACH, STRETCH, SeamStatistic, borders
from orbit2.metrics.statistics import State
from orbit2.metrics.table import TRUTH, Table

CONTROL = "bicubic"


class SeamScores(Collector):
    """Statistics per field, series and direction; empty for a task without tile borders.

    The control shows what the place itself does to the ratio: the truth where the prediction's own grid has one, else an
    interpolation of the same input (bicubic, or the first that is scored).
    """

    name, stage = "seams", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.borders = [] if matched.tiling is None else borders(matched.tiling, matched.native_grid, matched.refinement)
        self.scores: dict[tuple[str, ...], SeamStatistic] = {}  # (label, series, direction)

    def control(self, name: str) -> str | None:
        """What a variable's prediction is compared with: `(truth)`, a baseline, or nothing."""
        if self.matched.has_truth and self.matched.observations is None:
            return TRUTH
        baselines = self.matched.baselines(name)
        return CONTROL if CONTROL in baselines else next(iter(baselines), None)

    def series(self, name: str) -> tuple[str, ...]:
        """The model and its control."""
        control = self.control(name)
        return (self.matched.model,) if control is None else (self.matched.model, control)

    def update(self, scored: Scored) -> None:
        for f in self.fields if self.borders else ():
            for series in self.series(f.variable) if f.variable == scored.variable else ():
                values = f.of(scored.truth if series == TRUTH else scored.native[series])
                for border in self.borders:
                    self._statistic((f.label, series, border.name)).update(values)

    def _statistic(self, key: tuple[str, ...]) -> SeamStatistic:
        if key not in self.scores:
            self.scores[key] = SeamStatistic(next(border for border in self.borders if border.name == key[2]))
        return self.scores[key]

    def state(self) -> State:
        return flat(self.scores)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for key, each in keyed(state):
            self._statistic(key).add(each)

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if protocol == "standard" else ():
            self._rows(table, f)

    def _rows(self, table: Table, f: Field) -> None:
        """Ratio and mean step of every direction."""
        tiling = self.matched.tiling
        if tiling is None:
            return
        mixed = f"mixed over {tiling.blend} to either side of a border" if tiling.blend else "not mixed"
        about = f"tiles of {tiling.core[0]} x {tiling.core[1]} coarse cells, halo {tiling.halo}, {mixed}"
        for series in self.series(f.variable):
            for border in self.borders:
                found = self.scores[f.label, series, border.name].ratio()
                where = f"{len(border.lines)} {border.name}" if border.name != "wrap" else "the edge where the grid closes"
                method = (f"mean |difference of neighbouring fine cells| across tile borders ({where}) over that at the boundaries of "
                          f"coarse cells {tiling.blend + 1} to {tiling.blend + REACH} coarse cells beside, area-weighted, pooled; "
                          f"interval: bootstrap over stretches of {STRETCH} coarse cells; {about}")
                region = self.matched.region
                table.add(series, f.variable, f.space, region, f"seam_ratio_{border.name}", method, found.value, n=found.n,
                          ci=found.interval)
                table.add(series, f.variable, f.space, region, f"seam_difference_{border.name}",
                          f"mean |difference of neighbouring fine cells| across tile borders ({where}), area-weighted, pooled; {about}",
                          found.across, n=found.n)

    def datasets(self) -> Mapping[str, xr.Dataset]:
        return {"seams.nc": self._dataset(self.fields)}

    def _dataset(self, fields: list[Field]) -> xr.Dataset:
        """`mean_difference` (field, series, direction, offset): mean |difference| by distance from a border; empty without borders.

        `series` is `model`, `control`; `control` (field) names it. For the places of the borders see `_places`.
        """
        if not self.borders or self.matched.tiling is None:
            return xr.Dataset()
        offsets = next(iter(self.scores.values())).offsets
        names = [border.name for border in self.borders]
        data = np.full((len(fields), 2, len(names), len(offsets)), np.nan)
        for i, f in enumerate(fields):
            for j, series in enumerate(self.series(f.variable)):
                for k, name in enumerate(names):
                    data[i, j, k] = self.scores[f.label, series, name].profile()
        grid, tiling, factor = self.matched.native_grid, self.matched.tiling, self.matched.refinement
        first = 0 if grid.periodic and tiling.counts[1] > 1 else 1
        rows, columns = (np.arange(begin, count) * edge * factor for begin, count, edge in zip((1, first), tiling.counts, tiling.core,
                                                                                             strict=True))  # fmt: skip
        about = {"long_name": "Mean |difference| of neighbouring fine cells, area-weighted", "units": "field units",
                 "comment": "offset 0 is across a tile border; multiples of the refinement are boundaries of coarse cells"}
        return xr.Dataset(
            {
                "mean_difference": (("field", "series", "direction", "offset"), data, about),
                "control": (("field",), [self.control(f.variable) or "" for f in fields], {"long_name": "Name of the control"}),
                "units": (("field",), [f.units for f in fields], {"long_name": "Units of the field"}),
                **_places(grid, rows, columns),
            },
            coords={"field": [f.label for f in fields], "series": ["model", "control"], "direction": names,
                    "offset": ("offset", offsets, {"long_name": "Fine cells from the border, negative to west and south", "units": "1"})},
            attrs={"tile": list(tiling.core), "halo": tiling.halo, "blend": tiling.blend, "refinement": factor},
        )


def _places(grid: AnyGrid, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Where the borders before some rows and columns are: latitudes and longitudes, or, where no border is a parallel, the cells beyond."""
    if isinstance(grid, Grid):
        return {
            "lat_border": (("parallel",), grid.lat_edges[rows], {"long_name": "Latitude of tile borders", "units": "degrees_north"}),
            "lon_border": (("meridian",), grid.lon_edges[columns], {"long_name": "Longitude of tile borders", "units": "degrees_east"}),
        }
    return {"row_border": (("parallel",), rows, {"long_name": "First fine row beyond tile borders", "units": "1"}),
            "column_border": (("meridian",), columns, {"long_name": "First fine column beyond tile borders", "units": "1"})}
