"""Climate indices of a task that has a year of days or more: what each cell's years are like, of the truth and of all beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.metrics import return_levels
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.extremes import MEANINGS, MOST_MISSING, OTHER, RAIN, RETURNS, Climate, DailyStatistic, Day, role
from orbit2.metrics.lattice import MOST_CELLS, Lattice
from orbit2.metrics.matched import Scored
from orbit2.metrics.table import TRUTH, Table
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
HEAVY = {"r95p": 0.95, "r99p": 0.99}
FEW_CELLS = 16_384  # of variables that have no indices: their state is a fourth then
BAND = 8  # members that are followed through the years, for the band of what is rare
LEAST_DAYS = 365 - MOST_MISSING  # of a task, else no year can be whole


class ClimateIndices(Keeping):
    """One DailyStatistic per variable on a lattice of cells; nothing for samples that are no days, or of less than a year.

    Of an ensemble the first member counts as the model: the mean of members has no extremes. At most BAND members are followed, each by
    itself, for the band of levels that are reached once in many years.
    """

    name, stage = "climate", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.area = area_weights(matched.grid)
        daily = matched.has_truth and matched.step_hours == 24
        self.calendar = times.calendar_of(matched.times)
        ends = [times.stamp(time) for time in (matched.times[0], matched.times[-1])]
        days = times.numbers(ends, self.calendar) if daily else np.zeros(2)
        self.active = bool(days[-1] - days[0] + 1 >= LEAST_DAYS)
        names = matched.variables if self.active else ()
        self.more = max(0, min(matched.members, BAND) - 1)  # members beside the first
        shape = matched.grid.shape
        self.lattices = {name: Lattice.of(shape, MOST_CELLS if role(name) != OTHER else FEW_CELLS) for name in names}
        self.statistics: dict[tuple[str, ...], DailyStatistic] = {
            (name,): DailyStatistic(name, 1 + len(matched.models(name)) + self.more, lattice.size, self._heavy(name, lattice))
            for name, lattice in self.lattices.items()
        }

    def _heavy(self, name: str, lattice: Lattice) -> dict[str, Array]:
        """What counts as heavy rain in each cell, from the training years; nothing where they are not known."""
        if role(name) != RAIN or self.training is None or self.matched.observations is not None:  # thresholds are of the store's cells
            return {}
        found = {index: self.training.wet_quantile(name, q, lattice.rows, lattice.columns) for index, q in HEAVY.items()}
        return {index: limits.ravel() for index, limits in found.items() if limits is not None}

    def update(self, scored: Scored) -> None:
        statistic = self.statistics.get((scored.variable,))
        if statistic is not None:
            models: dict[str, npt.NDArray[np.floating]] = dict(scored.models)
            if self.matched.members:
                models[self.matched.model] = scored.members(self.matched)[0]
            fields = [scored.truth, *(models[model] for model in self.matched.models(scored.variable))]
            fields += list(scored.members(self.matched)[1 : 1 + self.more]) if self.more else []
            lattice = self.lattices[scored.variable]
            statistic.update(day_of(scored.sample, self.calendar), np.stack([lattice.take(field) for field in fields]))

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard":
            return
        for (name,), statistic in self.statistics.items():
            climate = statistic.climate()
            if climate is None:
                continue
            years = int(climate.numbers["annual_mean"].max())
            span = f"{years} year" + ("s" if years > 1 else "")
            for metric, (values, about) in self._quantities(statistic, climate, span).items():
                self._add(table, name, metric, values, about, years)

    def _quantities(self, statistic: DailyStatistic, climate: Climate, span: str) -> dict[str, tuple[Array, str]]:
        """Metric -> ([S, C], in words)."""
        told = f"; thresholds {self.training.told}" if self.training is not None else ""
        found = {name: (values, f"{MEANINGS[name]}, mean over {span}{told if name in HEAVY else ''}")
                 for name, values in climate.means.items() if name != "annual_mean"}  # fmt: skip
        found["lag1_autocorrelation"] = statistic.pairs.autocorrelation(), "Pearson r of days with the days before, seasons not removed"
        for name, values in statistic.pairs.transitions().items():
            found[name] = values, f"share of {'dry' if name == 'p01' else 'wet'} days that a wet day follows"
        found["interannual_sigma"] = climate.spread, f"standard deviation of annual means of {span}"
        if statistic.kind in RETURNS:
            found |= {f"{RETURNS[statistic.kind]}_return_{period}": (level, f"{period}-year level of a GEV, L-moments of {span}")
                      for period, level in levels(climate.maxima).items()}  # fmt: skip
        return found

    def _add(self, table: Table, name: str, metric: str, values: Array, about: str, years: int) -> None:
        """The mean over the cells where every series has a value, and the RMSE over them."""
        known = np.isfinite(values).all(axis=0)
        lattice = self.lattices[name]
        weights = lattice.take(self.area)[known]
        if not weights.size:
            return
        means = values[:, known] @ weights / weights.sum()
        errors = np.sqrt((values[:, known] - values[0, known]) ** 2 @ weights / weights.sum())
        method = f"{about}; area-weighted over cells{lattice.method}"
        region, n = self.matched.region, int(known.sum()) * years
        models = self.matched.models(name)
        if self.more and "_return_" in metric:
            band = means[[1 + models.index(self.matched.model), *range(1 + len(models), len(means))]]
            for end, value in (("lowest", band.min()), ("highest", band.max())):
                table.add(self.matched.model, name, "physical", region, f"{metric}_{end}", f"{method}; {end} of {len(band)} members",
                          float(value), n=n)  # fmt: skip
        for i, model in enumerate((TRUTH, *models)):
            own = f"{method}; of the first member" if self.matched.members and model == self.matched.model else method
            table.add(model, name, "physical", region, metric, own, means[i], n=n)
            if model != TRUTH:
                table.add(model, name, "physical", region, f"{metric}_rmse", f"RMSE over cells of: {own}", errors[i], n=n)


def levels(maxima: npt.NDArray[np.floating]) -> dict[int, Array]:
    """Return period in years -> its level [S, C] from annual maxima [Y, S, C], NaN in cells that have too few of them."""
    periods = return_levels.periods(len(maxima))
    if not periods:
        return {}
    enough = np.isfinite(maxima).sum(axis=0) >= return_levels.LEAST_YEARS
    parameters = return_levels.gev(np.where(enough, maxima, np.nan))
    return {period: return_levels.return_level(parameters, period) for period in periods}


def day_of(sample: str, calendar: str = "standard") -> Day:
    """The day of a sample's stamp."""
    year = times.year(sample)
    number, first, after = (times.number(day, calendar) for day in (times.day(sample), f"{year:04d}-01-01", f"{year + 1:04d}-01-01"))
    return Day(int(np.floor(number)), year, int(first), int(after) - 1)
