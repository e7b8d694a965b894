"""Power by degree of spherical harmonics, of whole globes: no latitude is favoured. Never of fields with gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.areas import relative_areas
from orbit2.baselines.interpolation import block_mean
from orbit2.evaluate.turns import Turns
from orbit2.metrics import curves, resolution, spectra, spherical
from orbit2.metrics.collector import Collector, Settings, Training, add_all, flat
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import MeanStatistic, SeriesStatistic, State
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
TRUTH = "truth"


class Harmonics(Collector):
    """Mean power [degree 1, 2, ...] by field and model; nothing where the scored grid is no globe of evenly spaced rows."""

    name, stage = "harmonics", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns = Turns.of(matched, settings)
        self.block = spherical.block(matched.grid) if matched.has_truth else None
        self.statistics: dict[tuple[str, ...], MeanStatistic] = {}
        self.each: dict[tuple[str, ...], SeriesStatistic] = {}  # by sample, in curves.Groups: intervals want it
        self._groups: curves.Groups | None = None
        self._sample = ""
        self._held: dict[tuple[str, str], Array] = {}  # one field's, at most 720 rows each: transformed together

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        self._transform()
        if self.block is not None and self.turns.has(scored) and np.isfinite(truth).all():
            self._held[f.label, TRUTH], self._sample = self._blocks(truth), scored.sample

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if (f.label, TRUTH) in self._held:
            self._held[f.label, model] = self._blocks(prediction)

    def update(self, scored: Scored) -> None:
        self._transform()

    def _transform(self) -> None:
        if self._held:
            for key, row in zip(self._held, spherical.power(np.stack(list(self._held.values()))), strict=True):
                self.statistics.setdefault(key, MeanStatistic()).update(row[1:])
                self.each.setdefault(key, SeriesStatistic()).update(self._sample, self._grouped(len(row) - 1).sums(row[1:]))
            self._held.clear()

    def _grouped(self, degrees: int) -> curves.Groups:
        if self._groups is None:
            self._groups = curves.Groups.of(spherical.wavelength_km(degrees))
        return self._groups

    def _blocks(self, values: Array) -> Array:
        return values.copy() if self.block == 1 else block_mean(values, relative_areas(self.matched.grid), self.block or 1)

    def state(self) -> State:
        return {**flat(self.statistics), **flat(self.each, "each")}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        add_all(self.statistics, {key: state[key] for key in state if not key.startswith("each/")}, lambda _: MeanStatistic())
        add_all(self.each, state, lambda _: SeriesStatistic(), "each")

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if protocol == "standard" else ():
            for model in self.matched.models(f.variable):
                if (f.label, TRUTH) in self.statistics and (f.label, model) in self.statistics:
                    own, truth = self.statistics[f.label, model], self.statistics[f.label, TRUTH].finalise()
                    of = f", of means over {self.block} x {self.block} cells" if self.block != 1 else ""
                    about = f"power by degree of spherical harmonics{of}, mean over samples{self.turns.method}"
                    power, wavelength = own.finalise(), spherical.wavelength_km(len(truth))
                    mine, beside = (self.each.get((f.label, one)) for one in (model, TRUTH))
                    ends = curves.intervals(mine, beside, self._grouped(len(truth)), self.settings.evaluate.bootstrap)
                    for metric, method, value in (
                        ("effective_resolution_km", f"{about}: {resolution.METHOD}",
                         resolution.effective_resolution(wavelength, power, truth)),
                        ("lsd_db", f"log-spectral distance of the {about}", spectra.log_spectral_distance(power, truth)),
                    ):
                        if not np.isnan(value):
                            table.add(model, f.variable, f.space, self.matched.region, metric, method, value, n=own.samples,
                                      ci=curves.ends(ends, metric, value))  # fmt: skip
