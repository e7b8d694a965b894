"""Rows of the table: seasons, seasonality and sections of each domain, and the climate matrix. Never judges what cannot discriminate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.climate import bombardi, circular, monsoon, scores, sections
from orbit2.climate.domains import Domain
from orbit2.climate.matrix import COLUMNS, metric
from orbit2.climate.seasonality import INDICES, MEANING
from orbit2.diagnose.climate.draws import Draws, Pair
from orbit2.diagnose.climate.gathered import EVENTS, Gathered
from orbit2.diagnose.climate.places import LEAST_CELLS, Place
from orbit2.metrics.table import ANY, TRUTH, Table

Array = npt.NDArray[np.float64]
NEAREST = "nearest"  # interpolation that moves nothing and adds nothing: a control
IN_REGIONS = ("relative_entropy", "dsi")
WAYS = {"": "mean of hydrological years", "_climatological": "of the mean year"}
Score = tuple[float, Pair | None, int]


@dataclass
class Climate:
    """What was gathered of a variable: `models` by name, the truth's apart; `blocks`: in words, what a cell is; `seasons`: whether the
    record has the years that dates need; `draws` of its years (None: too few)."""

    variable: str
    truth: Gathered
    models: Mapping[str, Gathered]
    places: list[Place]
    blocks: str
    seasons: bool
    draws: Draws | None

    def region_rows(self, table: Table, names: Sequence[str], weights: npt.NDArray[np.floating]) -> None:
        """Of regions that are no monsoon domains (AR6, the user's own; `weights` [R, cells] km2): errors of dates of their monsoon cells,
        and of relative entropy and the dimensionless index."""
        for name, one in zip(names, weights, strict=True):
            place = Place(Domain(name, name, southern=False), name, "by area", one.astype(np.float64))
            cells = Cells.of(self, place)
            for model, gathered in self.models.items():
                if self.seasons and cells.any:
                    for event in EVENTS:
                        cells.date_rows(table, model, gathered, event)
                self._index_rows(table, place, model, gathered, IN_REGIONS)

    def rows(self, table: Table) -> dict[str, str]:
        """Add all of the domains; returns domain -> why it has no scores of seasons."""
        without = {}
        for place in self.places:
            cells = Cells.of(self, place)
            if self.seasons and not cells.any:
                without[place.domain.name] = (f"no cell of it has a monsoon climate in the reference (summer less winter above "
                                              f"{monsoon.RANGE:g} mm/day, or two rainy seasons of that range)")  # fmt: skip
            if self.seasons:
                self._mean_rows(table, place)
            judged = self._section_rows(table, place)
            for model, gathered in self.models.items():
                points: dict[str, Score] = {}
                if self.seasons:
                    points = {event: found for event in EVENTS if (found := cells.rows(table, model, gathered, event)) is not None}
                    cells.durations(table, model, gathered)
                points |= self._index_rows(table, place, model, gathered)
                if model in judged:
                    points["hovmoller"] = judged[model]
                for column, (value, ci, n) in points.items():
                    told = f"100 max(0, r), r centred and area-weighted, of the {COLUMNS[column]}{self.blocks}; {place.told}"
                    self._add(table, model, place, metric(column), told, value, n, ci)
        return without

    def _add(self, table: Table, model: str, place: Place, name: str, method: str, value: float, n: int, ci: Pair | None = None) -> None:
        if np.isfinite(value) and n:
            ci = ci if ci is not None and np.isfinite(ci).all() else None
            told = f"{method}; {self.draws.method}" if ci is not None and self.draws is not None else method
            table.add(model, self.variable, "physical", place.region, name, told, value, n=n, ci=ci)

    def _mean_rows(self, table: Table, place: Place) -> None:
        """Dates of the domain's mean rain by fractional accumulation, of all, and their errors; with two rainy seasons it has none."""
        southern, at, length = place.domain.southern, self.places.index(place), self.truth.length
        series = {model: self._series(gathered, at) for model, gathered in {TRUTH: self.truth, **self.models}.items()}
        if bool(monsoon.cumulative_anomaly(series[TRUTH])["bimodal"]):
            return
        told = (f"{monsoon.ACCUMULATION}, mean rain of the domain; "
                f"{monsoon.MEANING[monsoon.ACCUMULATION].format(end=place.domain.withdrawal)}; {place.told}")  # fmt: skip
        found = {model: monsoon.fractional_accumulation(years, southern, place.domain.withdrawal) for model, years in series.items()}
        for model, dates in found.items():
            for event in EVENTS:
                name, yearly = f"monsoon_mean_{event}", dates[f"yearly_{event}"].to_numpy()
                day, n = float(dates[event]), int(np.isfinite(yearly).sum())
                self._add(table, model, place, f"{name}_day", f"day of the year, 1 = 1 January; {told}", day + 1, n)
                if model != TRUTH:
                    truth = found[TRUTH][f"yearly_{event}"].to_numpy()
                    self._date_rows(table, model, place, name, told, yearly[:, None], truth[:, None], np.ones(1))
                    middle = circular.mean(truth, length=length)
                    r = scores.pattern(circular.difference(yearly, middle, length), circular.difference(truth, middle, length), 1.0)
                    self._add(table, model, place, f"{name}_yearly_r", f"correlation of the yearly dates; {told}", r.r, r.n)
            self._add(table, model, place, "monsoon_mean_duration_days", told, float(dates["duration"]), n)

    def _series(self, gathered: Gathered, at: int) -> xr.DataArray:
        return xr.DataArray(gathered.series[at], dims=("year", "day"),
                            coords={"year": gathered.years, "leap": ("year", gathered.leap)})  # fmt: skip

    def _date_rows(self, table: Table, model: str, place: Place, name: str, told: str, p: Array, o: Array, weights: Array) -> None:
        """Scores of dates [Y, cells]."""
        found = scores.dates(p, o, weights, self.truth.length)
        error = circular.difference(p, o, self.truth.length)
        known = np.isfinite(error) & (weights > 0)
        share = (known * weights).sum(axis=1)

        def interval(of: Array, least: float = -np.inf, most: float = np.inf) -> Pair | None:
            if self.draws is None:
                return None
            low, high = self.draws.ratio((np.where(known, of, 0.0) * weights).sum(axis=1), share)
            return max(low, least), min(high, most)

        size = np.abs(error)
        entries: dict[str, tuple[float, Pair | None]] = {
            "bias": (found.bias, interval(error)), "mae": (found.mae, interval(size, 0.0)), "within_90": (found.within, None),
            "phase": (found.phase, None), "missed": (found.missed, None),
            **{f"hits_{days}d": (hit, interval((size <= days).astype(np.float64), 0.0, 1.0))
               for days, hit in zip(scores.HITS, found.hits, strict=True)},
        }  # fmt: skip
        n = int((np.isfinite(o) & (weights > 0)).sum())
        for score, (value, ci) in entries.items():
            self._add(table, model, place, f"{name}_{score}", told, value, n if score == "missed" else found.n, ci)

    def _index_rows(
        self, table: Table, place: Place, model: str, gathered: Gathered, only: Sequence[str] = ()
    ) -> dict[str, Score]:  # fmt: skip
        """`only` some indices: of years alone, their bias and pattern, without intervals."""
        points: dict[str, Score] = {}
        for index in only or INDICES:
            for ending, way in WAYS.items() if not only else (("", WAYS[""]),):
                p, o = gathered.cells[f"{index}{ending}"], self.truth.cells[f"{index}{ending}"]
                circle = index == "centroid"
                found = scores.date_pattern(p, o, place.weights, 12) if circle else scores.pattern(p, o, place.weights)
                ci: tuple[Pair | None, Pair | None] = (None, None)
                if self.draws is not None and not ending and not only and found.n:
                    w = np.where(np.isfinite(p) & np.isfinite(o), place.weights, 0.0)
                    chosen = w > 0
                    yearly, truth = (x.cells[f"yearly_{index}"][chosen] for x in (gathered, self.truth))
                    draws, w = self.draws, w[chosen]
                    ci = draws.date_maps(yearly, truth, w, 12) if circle else draws.mean_maps(yearly, truth, w)
                told = f"{MEANING[index]}, {way}{self.blocks}; {place.told}"
                name = f"seasonality_{index}{ending}"
                for score, value, pair in (("bias", found.bias, ci[1]), ("pattern_r", found.r, ci[0]), ("nrmse", found.nrmse, None),
                                           ("taylor", found.taylor, None)):  # fmt: skip
                    if (not ending and not only) or score == "bias" or (score == "pattern_r" and found.n >= LEAST_CELLS):
                        self._add(table, model, place, f"{name}_{score}", told, value, found.n, pair)
                column = {"dsi": "seasonality", "relative_entropy": "entropy"}.get(index)
                if column is not None and not ending and np.isfinite(found.points):
                    points[column] = found.points, _points(ci[0]), found.n
        return points

    def _section_rows(self, table: Table, place: Place) -> dict[str, Score]:
        """Model -> the matrix's score of its section; of none where the section cannot discriminate."""
        if place.sector is None or place.domain.name not in self.truth.sections:
            return {}
        name, latitude = place.domain.name, place.sector.latitude
        truth = _mean_years(self.truth.sections[name])
        box = "{:g} to {:g} N, {:g} to {:g} E".format(*(place.domain.sector or (0, 0, 0, 0)))
        told = f"latitude and pentad of the mean year, {box}, land and sea{self.blocks}, rows of about {_spacing(latitude):.3g} degrees"
        found = {model: sections.scores(_mean_years(gathered.sections[name]), truth, latitude) for model, gathered in self.models.items()}
        control = {"the truth's mean frozen in time": sections.frozen(truth, latitude),
                   **({"nearest neighbour": found[NEAREST].r} if NEAREST in found else {})}  # fmt: skip
        judged = all(r < sections.DISCRIMINATES for r in control.values())
        words = ", ".join(f"{what} correlates by {r:.3f}" for what, r in control.items())
        self._add(table, ANY, place, "section_discriminates", f"1: a control correlates by less than {sections.DISCRIMINATES:g} with the "
                  f"truth, so that models can be told apart; {words}; {told}", float(judged), int(np.isfinite(truth).sum()))  # fmt: skip
        for model, one in found.items():
            for score, value in (("pattern_r", one.r), ("nrmse", one.nrmse), ("taylor", one.taylor), ("lag_pentads", one.lag),
                                 ("track_rmse", one.track_rmse)):  # fmt: skip
                self._add(table, model, place, f"section_{score}", told, value, one.n)
        if not judged:
            return {}
        made: dict[str, Score] = {}
        for model, one in found.items():
            weights = np.broadcast_to(np.cos(np.radians(latitude))[:, None], truth.shape).ravel()
            p, o = (np.moveaxis(x.sections[name], 1, 2).reshape(truth.size, -1) for x in (self.models[model], self.truth))
            ci = self.draws.mean_maps(p, o, weights)[0] if self.draws is not None else None
            made[model] = 100 * max(0.0, one.r), _points(ci), one.n
        return made


@dataclass
class Cells:
    """A domain's cells with a monsoon climate in the reference: `weights` [cells] by number of rainy seasons, 1 and 2."""

    climate: Climate
    place: Place
    weights: dict[int, Array]

    @classmethod
    def of(cls, climate: Climate, place: Place) -> Cells:
        cells = climate.truth.cells
        two = cells["bimodal"].astype(bool)
        keep = {1: ~two & (cells["annual_range"] > monsoon.RANGE), 2: two & (cells["semiannual_range"] > monsoon.RANGE)}
        return cls(climate, place, {number: np.where(kept, place.weights, 0.0) for number, kept in keep.items()})

    @property
    def any(self) -> bool:
        return any((w > 0).any() for w in self.weights.values())

    @property
    def told(self) -> str:
        return (f"cells whose summer is wetter than their winter by more than {monsoon.RANGE:g} mm/day{self.climate.blocks}; "
                f"{self.place.told}")  # fmt: skip

    def _of(self, number: int) -> dict[str, str]:
        """Prefix of a metric -> in words, of the seasons of cells with `number` of them."""
        if number == 1:
            return {"": self.told}
        two = f"cells with two rainy seasons (second harmonic above the first, its range above {monsoon.RANGE:g} mm/day)"
        return {f"{which}_": f"the {'wetter' if which == 'first' else 'other'} season of {two}{self.climate.blocks}; "
            f"{self.place.told}"
                for which in ("first", "second")}  # fmt: skip

    def date_rows(self, table: Table, model: str, gathered: Gathered, event: str) -> None:
        """Errors of one event's dates."""
        for number, weights in self.weights.items():
            chosen = weights > 0
            for season, (which, told) in enumerate(self._of(number).items() if chosen.any() else ()):
                o, p = self.climate.truth.dates[event][chosen, season], gathered.dates[event][chosen, season]
                method = f"{monsoon.ANOMALY}, {told}; {monsoon.MEANING[monsoon.ANOMALY]}"
                self.climate._date_rows(table, model, self.place, f"monsoon_{which}{event}", method, p.T, o.T, weights[chosen])

    def rows(self, table: Table, model: str, gathered: Gathered, event: str) -> Score | None:
        """Scores of one event; returns the matrix's: of the cells of the commoner kind, the mean of both seasons where that is two."""
        truth, c = self.climate.truth, self.climate
        points: dict[int, list[Score]] = {1: [], 2: []}
        self.date_rows(table, model, gathered, event)
        for number, weights in self.weights.items():
            chosen = weights > 0
            if not chosen.any():
                continue
            for season, (which, told) in enumerate(self._of(number).items()):
                o, w = truth.dates[event][chosen, season], weights[chosen]
                p = gathered.dates[event][chosen, season]
                method = f"{monsoon.ANOMALY}, {told}; {monsoon.MEANING[monsoon.ANOMALY]}"
                name = f"monsoon_{which}{event}"
                points[number].append(self._map_rows(table, model, name, method, p, o, w))
                other = f"{monsoon.ANOMALY} from the truth's mean, {told}"
                p = gathered.of_truth[event][chosen, season]
                found = scores.dates(p.T, o.T, w, truth.length)
                c._add(table, model, self.place, f"monsoon_truths_mean_{which}{event}_bias", other, found.bias, found.n)
        if event == EVENTS[0]:
            self._kind_rows(table, model, gathered)
        self._wang_rows(table, model, gathered, event)
        self._bombardi_rows(table, model, gathered, event)
        number = max(self.weights, key=lambda one: self.weights[one].sum())
        found_points = [one for one in points[number] if np.isfinite(one[0])]
        if not found_points or len(found_points) < len(points[number]):
            return None
        if len(found_points) == 1:
            return found_points[0]
        return float(np.mean([value for value, *_ in found_points])), None, sum(n for *_, n in found_points)

    def _map_rows(self, table: Table, model: str, name: str, method: str, p: Array, o: Array, w: Array) -> Score:
        """Of the maps of mean dates, of dates [cells, Y]."""
        c, length = self.climate, self.climate.truth.length
        map_p, map_o = c.truth.maps(p), c.truth.maps(o)
        found = scores.date_pattern(map_p, map_o, w, length)
        ci = None
        if c.draws is not None and found.n:
            known = np.isfinite(map_p) & np.isfinite(map_o)
            ci = c.draws.date_maps(p[known], o[known], w[known], length)[0]
        told = f"map of mean dates, {method}"
        c._add(table, model, self.place, f"{name}_pattern_r", told, found.r, found.n, ci)
        c._add(table, model, self.place, f"{name}_taylor", told, found.taylor, found.n)
        return found.points, _points(ci), found.n

    def durations(self, table: Table, model: str, gathered: Gathered) -> None:
        """Bias and mean absolute error of the rainy season's length, of cells with one."""
        w = self.weights[1]
        chosen = w > 0
        if not chosen.any():
            return
        p = gathered.dates["duration"][chosen, 0]
        error = p - self.climate.truth.dates["duration"][chosen, 0]
        known = np.isfinite(error)
        weight = np.where(known, w[chosen, None], 0.0)
        if not known.any():
            return
        method = f"{monsoon.ANOMALY}, {self.told}"
        for score, value in (("bias", error), ("mae", np.abs(error))):
            top = (np.where(known, value, 0.0) * weight).sum(axis=0)
            ci = self.climate.draws.ratio(top, weight.sum(axis=0)) if self.climate.draws is not None else None
            self.climate._add(table, model, self.place, f"monsoon_duration_{score}", method, float(top.sum() / weight.sum()),
                              int(known.sum()), ci)  # fmt: skip

    def _kind_rows(self, table: Table, model: str, gathered: Gathered) -> None:
        """Whether the model has as many rainy seasons as the truth, and its monsoon climate in the same place."""
        c, w = self.climate, sum(self.weights.values())
        assert isinstance(w, np.ndarray)
        if (w > 0).any():
            same = gathered.cells["bimodal"] == c.truth.cells["bimodal"]
            c._add(table, model, self.place, "monsoon_seasons_agreement", f"share of the area of the domain's monsoon cells with as "
                "many rainy "
                   f"seasons, one or two, as the truth; "
                   f"{self.place.told}", float((w * same).sum() / w.sum()), int((w > 0).sum()))  # fmt: skip
        wet, truly = (x.cells["annual_range"] > monsoon.RANGE for x in (gathered, c.truth))
        told = f"hits / (hits + misses + false alarms) of the area where summer less winter is above {monsoon.RANGE:g} mm/day{c.blocks}"
        c._add(table, model, self.place, "monsoon_area_threat", f"{told}; "
            f"{self.place.told}", scores.threat(wet, truly, self.place.weights),
               int((self.place.weights > 0).sum()))  # fmt: skip

    def _wang_rows(self, table: Table, model: str, gathered: Gathered, event: str) -> None:
        c, w = self.climate, self.place.weights
        p, o = gathered.wang[event], c.truth.wang[event]
        found, maps = scores.dates(p, o, w, c.truth.length), scores.date_pattern(p, o, w, c.truth.length)
        told = f"{monsoon.WANG_LINHO}, cells{c.blocks}; {monsoon.MEANING[monsoon.WANG_LINHO]}; {self.place.told}"
        for score, value, n in (("bias", found.bias, found.n), ("mae", found.mae, found.n), ("pattern_r", maps.r, maps.n),
                                ("missed", found.missed, int((np.isfinite(o) & (w > 0)).sum()))):  # fmt: skip
            c._add(table, model, self.place, f"monsoon_wang_{event}_{score}", told, value, n)


    def _bombardi_rows(self, table: Table, model: str, gathered: Gathered, event: str) -> None:
        """Of cells with one rainy season."""
        c, chosen = self.climate, self.weights[1] > 0
        if not chosen.any():
            return
        p, o, w = gathered.bombardi[event][chosen], c.truth.bombardi[event][chosen], self.weights[1][chosen]
        length = c.truth.length
        found = scores.dates(p.T, o.T, w, length)
        map_p, map_o = (circular.mean(x, axis=-1, length=length) for x in (p, o))
        maps = scores.date_pattern(map_p, map_o, w, length)
        told = f"{bombardi.NAME}, {self.told}; {bombardi.MEANING}"
        n = int(np.isfinite(o).sum())
        for score, value, count in (("bias", found.bias, found.n), ("mae", found.mae, found.n), ("within_90", found.within, found.n),
                                    ("pattern_r", maps.r, maps.n), ("missed", found.missed, n)):  # fmt: skip
            c._add(table, model, self.place, f"monsoon_bombardi_{event}_{score}", told, value, count)


def _mean_years(section: Array) -> Array:
    """(row, year, pentad) -> (row, pentad)."""
    known = np.isfinite(section)
    count = known.sum(axis=1)
    total = np.where(known, section, 0.0).sum(axis=1)
    made: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return made


def _points(ci: Pair | None) -> Pair | None:
    return None if ci is None else (100 * max(0.0, ci[0]), 100 * max(0.0, ci[1]))


def _spacing(latitude: Array) -> float:
    return float(np.median(np.diff(latitude)))
