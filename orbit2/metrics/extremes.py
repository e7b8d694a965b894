"""ETCCDI indices per cell and year from a stream of days, in pieces of any size and order. Never of a year that lacks more than 15 days.

Definitions: Zhang et al. 2011 (WIREs Climate Change 2:851) and the list of ETCCDI. A window of five days belongs to the year of its last
day, spells end with the year, as xclim counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics.consecutive import Chain, Fields, State
from orbit2.metrics.spells import Spells
from orbit2.metrics.temporal import WET, PairsOfDays
from orbit2.variables import cell_methods, is_precipitation, variable

Array = npt.NDArray[np.float64]
Test = Callable[[Fields], npt.NDArray[np.bool_]]
MOST_MISSING = 15  # days of a year: ETCCDI's rule
ZERO = np.float32(273.15)
WINDOW = 5

RAIN, WARMEST, COLDEST, OTHER = "rain", "warmest", "coldest", "other"
UNITS = {
    "annual_mean": "", "rx1day": "mm", "rx5day": "mm", "sdii": "mm day-1", "prcptot": "mm", "r95p": "mm", "r99p": "mm", "cdd": "days",
    "cwd": "days", "wet_days": "days", "r10mm": "days", "r20mm": "days", "r50mm": "days", "txx": "K", "txn": "K", "su": "days",
    "id": "days", "tnx": "K", "tnn": "K", "fd": "days", "tr": "days",
}  # fmt: skip
_COUNTS: dict[str, dict[str, Test]] = {
    RAIN: {"wet_days": lambda x: x >= WET, "r10mm": lambda x: x >= 10, "r20mm": lambda x: x >= 20, "r50mm": lambda x: x >= 50},
    WARMEST: {"su": lambda x: x > ZERO + 25, "id": lambda x: x < ZERO},
    COLDEST: {"fd": lambda x: x < ZERO, "tr": lambda x: x > ZERO + 20},
    OTHER: {},
}
_SPELLS: dict[str, Test] = {"cdd": lambda x: x < WET, "cwd": lambda x: x >= WET}
_EXTREMES = {RAIN: ("rx1day", ""), WARMEST: ("txx", "txn"), COLDEST: ("tnx", "tnn"), OTHER: ("", "")}  # highest, lowest day
RETURNS = {RAIN: "rx1day", WARMEST: "txx"}  # whose annual maxima return levels are fitted to
MEANINGS = {
    "annual_mean": "mean of the year's days", "rx1day": "highest amount of a day in a year", "rx5day": "highest amount of 5 days in a year",
    "sdii": "mean amount of wet days (>= 1 mm)", "prcptot": "amount of a year's wet days (>= 1 mm)",
    "r95p": "a year's amount from days above the 95 % quantile of the training years' wet days",
    "r99p": "a year's amount from days above the 99 % quantile of the training years' wet days",
    "cdd": "longest run of days below 1 mm in a year", "cwd": "longest run of days with at least 1 mm in a year",
    "wet_days": "days of a year with at least 1 mm", "r10mm": "days of a year with at least 10 mm",
    "r20mm": "days of a year with at least 20 mm", "r50mm": "days of a year with at least 50 mm",
    "txx": "highest daily maximum of a year", "txn": "lowest daily maximum of a year", "su": "days of a year with a maximum above 25 C",
    "id": "days of a year with a maximum below 0 C", "tnx": "highest daily minimum of a year", "tnn": "lowest daily minimum of a year",
    "fd": "days of a year with a minimum below 0 C", "tr": "days of a year with a minimum above 20 C",
}  # fmt: skip


def role(name: str) -> str:
    """Which indices a variable's daily samples have: rain's in mm, those of a daily maximum or minimum of air temperature near the ground
    in K, or none."""
    about, methods = variable(name), cell_methods(name, 24)
    if is_precipitation(name):
        return RAIN if about.units in ("mm", "mm day-1") else OTHER
    near = about.standard_name == "air_temperature" and about.kind == "surface" and about.units == "K"
    if near and "interval: 24 hours" in about.cell_methods:
        return WARMEST if "maximum" in methods else COLDEST if "minimum" in methods else OTHER
    return OTHER


@dataclass(frozen=True)
class Day:
    """A day of any calendar: its number (neighbours differ by 1), its year and the numbers of that year's first and last day."""

    number: int
    year: int
    first: int
    last: int


class Year:
    """What is kept of one year: sums over days per series and cell [S, C]."""

    def __init__(self, kind: str, first: int, last: int, series: int, cells: int, heavy: Sequence[str]) -> None:
        shape = series, cells
        self.first, self.last, self.kind = first, last, kind
        self.days = np.zeros(cells, dtype=np.int16)
        self.sums = {name: np.zeros(shape) for name in ("total", *(("prcptot", *heavy) if kind == RAIN else ()))}
        self.counts = {name: np.zeros(shape, dtype=np.int16) for name in _COUNTS[kind]}
        extremes = [*(name for name in _EXTREMES[kind] if name), *(["rx5day"] if kind == RAIN else [])]
        self.extremes = {name: np.full(shape, np.nan, dtype=np.float32) for name in extremes}
        self.spells = {name: Spells() for name in (_SPELLS if kind == RAIN else ())}

    def update(self, day: int, fields: Fields, about: float, heavy: Mapping[str, Fields]) -> None:
        """One day's fields [S, C], missing in the same cells of every series."""
        known = np.isfinite(fields)
        self.days += known[0]
        self.sums["total"] += np.where(known, fields.astype(np.float64) - about, 0.0)
        for name, test in _COUNTS[self.kind].items():
            self.counts[name] += test(fields)
        for name, limit in {"prcptot": None, **heavy}.items() if self.kind == RAIN else ():
            above = fields >= WET if limit is None else (fields > limit) & (fields >= WET)
            self.sums[name] += np.where(above, fields, 0.0)
        highest, lowest = _EXTREMES[self.kind]
        if highest:
            self.highest(highest, fields)
        if lowest:
            np.fmin(self.extremes[lowest], fields, out=self.extremes[lowest])
        for name, spells in self.spells.items():
            spells.update(day, _SPELLS[name](fields))

    def highest(self, name: str, fields: Fields) -> None:
        np.fmax(self.extremes[name], fields, out=self.extremes[name])

    def values(self, about: float) -> dict[str, Array]:
        """Index -> its value [S, C], NaN where more than MOST_MISSING days are missing."""
        enough = self.days >= self.last - self.first + 1 - MOST_MISSING
        n = np.where(enough, self.days, np.nan)
        values: dict[str, Array] = {"annual_mean": self.sums["total"] / n + about}
        found: dict[str, npt.NDArray[Any]] = {**{name: total for name, total in self.sums.items() if name != "total"}, **self.counts}
        found |= {**self.extremes, **{name: spells.longest() for name, spells in self.spells.items()}}
        values |= {name: np.where(enough, value, np.nan) for name, value in found.items()}
        if self.kind == RAIN:
            wet = values["wet_days"]
            values["sdii"] = np.divide(values["prcptot"], wet, out=np.full(wet.shape, np.nan), where=wet > 0)
        return values

    def state(self) -> State:
        state: State = {"bounds": np.array([self.first, self.last]), "days": self.days, **self.sums, **self.counts, **self.extremes}
        for name, spells in self.spells.items():
            state |= {f"{name}.{key}": array for key, array in spells.state().items()}
        return state

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.days += state["days"]
        for name, total in {**self.sums, **self.counts}.items():
            total += state[name]
        lowest = _EXTREMES[self.kind][1]
        for name, value in self.extremes.items():
            (np.fmin if name == lowest else np.fmax)(value, state[name], out=value)
        for name, spells in self.spells.items():
            spells.add({key: state[f"{name}.{key}"] for key in ("span", "runs")})


@dataclass(frozen=True)
class Climate:
    """Per index the mean over years [S, C] and the number of years it is of [S, C]; `spread`: standard deviation of annual means [S, C],
    NaN below LEAST_YEARS years; `maxima` [Y, S, C] of `years`."""

    means: dict[str, Array]
    numbers: dict[str, npt.NDArray[np.int64]]
    spread: Array
    maxima: Fields


LEAST_YEARS = 10


class DailyStatistic:
    """Indices, autocorrelation and wet-dry changes of one variable in several series (the truth, models) on chosen cells.

    `heavy` maps `r95p`, `r99p` to thresholds [C] in mm. Years that are complete, with the days before that their windows reach into, are
    kept as sums over years; others wait for their days. A Statistic: `update`, `state`, `add`.
    """

    def __init__(self, name: str, series: int, cells: int, heavy: Mapping[str, Array] | None = None) -> None:
        low, high = variable(name).valid
        self.kind, self.series, self.cells = role(name), series, cells
        self.about = 0.0 if self.kind == RAIN else (low + high) / 2
        self.heavy = {key: value.astype(np.float32) for key, value in (heavy or {}).items()} if self.kind == RAIN else {}
        self.pairs = PairsOfDays(series, cells, self.about, self.kind == RAIN)
        self.chain = Chain((2, WINDOW) if self.kind == RAIN else (2,), self._window)
        self.open: dict[int, Year] = {}
        self.sums: dict[str, Array] = {}  # of closed years
        self.squares = np.zeros((series, cells))  # of their annual means less `about`
        self.numbers: dict[str, npt.NDArray[np.int16]] = {}
        self.maxima: dict[int, Fields] = {}

    def update(self, day: Day, fields: npt.NDArray[np.floating]) -> None:
        """One day [S, C], missing in the same cells of every series. Raises OrbitError for a day that is there already."""
        values = fields.astype(np.float32)
        self._year(day.year, day.first, day.last).update(day.number, values, self.about, self.heavy)
        self.chain.update(day.number, values)
        self._close()

    def _year(self, year: int, first: int, last: int) -> Year:
        if year not in self.open:
            self.open[year] = Year(self.kind, first, last, self.series, self.cells, tuple(self.heavy))
        return self.open[year]

    def _window(self, span: int, last: int, fields: Sequence[Fields]) -> None:
        if span == 2:
            self.pairs.update(fields[0], fields[1])
        if span == WINDOW and self.kind == RAIN:
            year = next(year for year in self.open.values() if year.first <= last <= year.last)
            year.highest("rx5day", np.stack(fields).sum(axis=0, dtype=np.float64).astype(np.float32))

    def _close(self) -> None:
        """Complete years become sums."""
        for number in [n for n, year in self.open.items() if self.chain.covers(year.first - WINDOW + 1, year.last)]:
            self._put(number, self.open.pop(number).values(self.about))

    def _put(self, number: int, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            known = np.isfinite(value)
            if name not in self.sums:
                self.sums[name], self.numbers[name] = np.zeros(value.shape), np.zeros(value.shape, dtype=np.int16)
            self.sums[name] += np.where(known, value, 0.0)
            self.numbers[name] += known
        self.squares += np.nan_to_num(values["annual_mean"] - self.about) ** 2
        if self.kind in RETURNS:
            self.maxima[number] = values[RETURNS[self.kind]].astype(np.float32)

    def climate(self) -> Climate | None:
        """All years together, also those whose last days are missing; None where no cell has a whole year."""
        whole = DailyStatistic.__new__(DailyStatistic)
        whole.kind, whole.about, whole.squares, whole.maxima = self.kind, self.about, self.squares.copy(), dict(self.maxima)
        whole.sums = {name: total.copy() for name, total in self.sums.items()}
        whole.numbers = {name: number.copy() for name, number in self.numbers.items()}
        for number, year in sorted(self.open.items()):
            whole._put(number, year.values(self.about))
        if not whole.numbers or not whole.numbers["annual_mean"].any():
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {name: whole.sums[name] / whole.numbers[name] for name in whole.sums}
            n = whole.numbers["annual_mean"].astype(np.float64)
            variance = (whole.squares - n * (means["annual_mean"] - self.about) ** 2) / (n - 1)
        spread = np.where(n >= LEAST_YEARS, np.sqrt(np.maximum(variance, 0.0)), np.nan)
        maxima = [whole.maxima[number] for number in sorted(whole.maxima)]
        stacked = np.stack(maxima) if maxima else np.empty((0, self.series, self.cells), dtype=np.float32)
        return Climate(means, {name: number.astype(np.int64) for name, number in whole.numbers.items()}, spread, stacked)

    def state(self) -> State:
        state: State = {f"pairs.{key}": array for key, array in self.pairs.state().items()}
        state |= {f"chain.{key}": array for key, array in self.chain.state().items()}
        for number, year in self.open.items():
            state |= {f"open.{number}.{key}": array for key, array in year.state().items()}
        for name in self.sums:
            state |= {f"sum.{name}": self.sums[name], f"number.{name}": self.numbers[name]}
        state |= {f"maximum.{number}": fields for number, fields in self.maxima.items()}
        return {**state, "squares": self.squares}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Another's state. Raises OrbitError for days that are there already."""
        part: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for path, array in state.items():
            kind, _, key = path.partition(".")
            part.setdefault(kind, {})[key] = array
        for number in sorted({int(key.partition(".")[0]) for key in part.get("open", {})}):
            own = {key.partition(".")[2]: array for key, array in part["open"].items() if key.partition(".")[0] == str(number)}
            self._year(number, *(int(x) for x in own["bounds"])).add(own)
        self.pairs.add(part["pairs"])
        self.chain.add(part["chain"])
        for name, total in part.get("sum", {}).items():
            self.sums[name] = self.sums.get(name, 0.0) + total
            self.numbers[name] = self.numbers.get(name, np.int16(0)) + part["number"][name]
        self.squares = self.squares + state["squares"]
        self.maxima |= {int(number): np.asarray(fields) for number, fields in part.get("maximum", {}).items()}
        self._close()
