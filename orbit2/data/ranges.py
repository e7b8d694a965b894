"""What climate a training block had: quantiles of each input in each season, weighted by area; and how much of another input lies beyond.

Exact to the step that stores pack values with: a histogram of the codes. Its weights are whole numbers (areas in units of 1/4096 of the
largest cell), so that sums are exact in any order of samples.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2 import times as clocks
from orbit2.data.packing import GREATEST, MISSING, Packing, error_bound, unpack
from orbit2.variables import variable

LEVELS = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
WHOLE = 4096  # weight of the largest cell
CODES = 2 * GREATEST + 2
MUCH = 0.01  # share of the area beyond the outermost LEVELS (0.002 in the training itself) from which on it is said
FIELDS = 6  # of each season that are looked at
Quantiles = Mapping[str, Mapping[str, Sequence[float]]]  # variable -> season -> value at each of LEVELS, canonical units


class Ranges:
    """Histograms of codes by season and variable: CODES numbers each, whatever the number of samples. Threads may add at once."""

    def __init__(self, names: Sequence[str], packings: Sequence[Packing], area: npt.NDArray[Any]) -> None:
        self._names, self._packings = tuple(names), tuple(packings)
        self._weights = np.rint(np.asarray(area, dtype=np.float64) / float(np.max(area)) * WHOLE).ravel()
        self._counts: dict[str, npt.NDArray[np.float64]] = {}
        self._lock = threading.Lock()

    def add(self, time: clocks.Time, codes: npt.NDArray[np.int16]) -> None:
        """One sample's codes [V, H, W]."""
        season = clocks.season(clocks.stamp(time))
        for i, field in enumerate(codes):
            found = np.bincount(field.ravel().astype(np.intp) - MISSING, weights=self._weights, minlength=CODES)
            with self._lock:
                self._counts.setdefault(season, np.zeros((len(self._names), CODES)))[i] += found

    def quantiles(self) -> dict[str, dict[str, list[float]]]:
        """Values at LEVELS by variable and season; nothing where no value is known."""
        result: dict[str, dict[str, list[float]]] = {name: {} for name in self._names}
        for season in sorted(self._counts, key=clocks.SEASONS.index):
            for name, packing, counts in zip(self._names, self._packings, self._counts[season], strict=True):
                sums = np.cumsum(counts[1:])  # the first is MISSING
                if sums[-1] > 0:
                    places = np.searchsorted(sums, np.array(LEVELS) * sums[-1]) - GREATEST
                    values = unpack(places.astype(np.int16)[None, None], [packing])[0, 0]
                    result[name][season] = [float(value) for value in values]
        return {name: found for name, found in result.items() if found}


@dataclass(frozen=True)
class Outside:
    """Of one variable in one season: shares of the area below and above the training's range [low, high]."""

    variable: str
    season: str
    below: float
    above: float
    low: float
    high: float
    fields: int

    @property
    def share(self) -> float:
        return self.below + self.above

    @property
    def line(self) -> str:
        return (f"climate: in {self.season} {100 * self.share:.1f} % of {self.variable} lies outside the training's {100 * LEVELS[0]:g} and"
                f" {100 * LEVELS[-1]:g} % quantiles, {self.low:.4g} and {self.high:.4g} {variable(self.variable).units}"
                f" ({100 * self.below:.1f} % below, {100 * self.above:.1f} % above; area-weighted, of {self.fields} fields)")  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def chosen(times: clocks.Times) -> list[int]:
    """At most FIELDS times of each season, spread evenly over those that there are."""
    of: dict[str, list[int]] = {}
    for i, stamp in enumerate(clocks.stamps(times)):
        of.setdefault(clocks.season(stamp), []).append(i)
    return sorted(found[i] for found in of.values() for i in np.unique(np.linspace(0, len(found) - 1, FIELDS).round().astype(int)).tolist())


def outside(
    trained: Sequence[Quantiles], names: Sequence[str], samples: Iterable[tuple[clocks.Time, npt.NDArray[Any], npt.NDArray[Any]]]
) -> tuple[list[Outside], list[str]]:
    """(how far samples lie beyond what any of the `trained` datasets had, furthest first; seasons that none of them had).

    `samples`: (time, values [V, n], weights [n]) each, canonical units, NaN left out.
    """
    sums: dict[tuple[str, str], list[float]] = {}
    strange: dict[str, None] = {}
    bounds: dict[tuple[str, str], tuple[float, float]] = {}
    for time, values, weights in samples:
        season = clocks.season(clocks.stamp(time))
        for name, field in zip(names, values, strict=True):
            known = [each[name][season] for each in trained if season in each.get(name, {})]
            if not known:
                if any(name in each for each in trained):
                    strange[season] = None
                continue
            low, high = bounds.setdefault((name, season), (min(each[0] for each in known), max(each[-1] for each in known)))
            slack = error_bound(name).absolute  # of a stored value; of one seen through a logarithm times 1 + x
            field = np.asarray(field, dtype=np.float64)
            share = sums.setdefault((name, season), [0.0, 0.0, 0.0, 0.0])
            sizes = slack * (1 + np.abs([low, high])) if variable(name).transform == "log1p" else np.full(2, slack)
            for i, chosen_cells in enumerate((np.isfinite(field), field < low - sizes[0], field > high + sizes[1])):
                share[i] += float(np.sum(weights, where=chosen_cells, dtype=np.float64))
            share[3] += 1
    found = [Outside(name, season, below / total, above / total, *bounds[name, season], int(fields))
             for (name, season), (total, below, above, fields) in sums.items() if total > 0]  # fmt: skip
    return sorted(found, key=lambda each: -each.share), sorted(strange, key=clocks.SEASONS.index)


def lines(found: Sequence[Outside], strange: Sequence[str]) -> list[str]:
    """What is to be said: one line for each variable and season that is far outside, one for seasons without training."""
    said = [each.line for each in found if each.share >= MUCH]
    return [*said, *([f"climate: the training has no samples of {', '.join(strange)}"] if strange else [])]
