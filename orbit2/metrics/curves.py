"""Intervals of what is said of mean spectra (log-spectral distance, effective resolution), from each sample's own. Never sees a field.

A sample's spectrum is kept in groups of wavelengths (Groups): hundreds of waves would be most of what a part of a task keeps. Groups lie
within the quarter octaves that a resolution is read from, so it is the same; a distance differs a little, so the ends of an interval are
told as multiples of its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from orbit2.metrics import resolution, spectra
from orbit2.metrics.bootstrap import LEAST_DAYS, bootstrap
from orbit2.metrics.record import Record
from orbit2.metrics.statistics import Moments, SeriesStatistic

Array = npt.NDArray[np.float64]
PER_OCTAVE = 12  # a multiple of resolution.PER_OCTAVE
LSD, RESOLUTION = "lsd_db", "effective_resolution_km"


@dataclass(frozen=True, eq=False)
class Groups:
    """Waves [K] by wavelength: `place` [K] the group of each, `waves` [G] in a group, `wavelength_km` [G] its mean in logarithms."""

    place: npt.NDArray[np.int64]
    waves: Array
    wavelength_km: Array

    @classmethod
    def of(cls, wavelength_km: Array) -> Self:
        """Groups of a twelfth of an octave, from the longest wavelength on; those that hold no wave are left out."""
        found = np.floor(np.log2(wavelength_km.max() / wavelength_km) * PER_OCTAVE + 1e-9).astype(np.int64)
        _, place = np.unique(found, return_inverse=True)
        waves = np.bincount(place).astype(np.float64)
        return cls(place.astype(np.int64), waves, np.exp(np.bincount(place, weights=np.log(wavelength_km)) / waves))

    def sums(self, power: Array) -> Array:
        """[..., G] of power [..., K]; NaN where any wave of a group is."""
        flat = power.reshape(-1, power.shape[-1])
        found = np.stack([np.bincount(self.place, weights=row, minlength=len(self.waves)) for row in flat])
        return np.asarray(found.reshape(*power.shape[:-1], -1), dtype=np.float64)


def intervals(
    prediction: SeriesStatistic | None, truth: SeriesStatistic | None, groups: Groups, draws: int, *, whole: bool = False
) -> dict[str, tuple[float, float]]:
    """95 % intervals, relative to the value (factors), of LSD and RESOLUTION of mean spectra: of both by sample, summed over groups [G] or
    (`whole`) wave by wave [K].

    Samples that both have whole count. A block bootstrap of days, as of every other score (bootstrap.py): nothing from fewer than
    LEAST_DAYS days or two draws, nor of what has no value. Which groups count is read off the whole record.
    """
    samples = sorted(prediction.rows.keys() & truth.rows.keys()) if prediction is not None and truth is not None else []
    if draws < 2 or len(samples) < LEAST_DAYS:
        return {}
    assert prediction is not None and truth is not None
    p, o = (np.stack([series.rows[sample] for sample in samples]) for series in (prediction, truth))
    if whole:
        p, o = groups.sums(p), groups.sums(o)
    complete: npt.NDArray[np.bool_] = np.isfinite(np.concatenate([p, o], axis=1)).all(axis=1)
    if not complete.any():
        return {}
    use = resolution.known(*(x[complete].mean(axis=0) / groups.waves for x in (p, o)))
    record = Record(tuple(samples), {str(g): _moments(p[:, g], o[:, g], complete) for g in np.flatnonzero(use)})
    found = bootstrap(record.sums(), _scores(groups, use), draws, positive=(LSD, RESOLUTION)) if use.any() else {}
    told = {}
    for name, one in found.items():
        both = one.at(0)
        if both is not None and one.value[0] > 0:
            told[name] = (both[0] / float(one.value[0]), both[1] / float(one.value[0]))
    return told


def ends(found: Mapping[str, tuple[float, float]], name: str, value: float) -> tuple[float, float] | None:
    """`ci` of a row whose score is `value`: None where there is no interval."""
    return (value * found[name][0], value * found[name][1]) if name in found and np.isfinite(value) else None


def _moments(p: Array, o: Array, whole: npt.NDArray[np.bool_]) -> Moments:
    """Means of one group [T, 1], of the samples that are whole."""
    weight, none = whole.astype(np.float64)[:, None], np.zeros((len(whole), 1))
    mean_p, mean_o = (np.where(whole, x, 0.0)[:, None] for x in (p, o))
    return Moments(weight, weight, mean_p, mean_o, none, none, none, none, none)


def _scores(groups: Groups, use: npt.NDArray[np.bool_]) -> dict[str, Callable[[Mapping[str, Moments]], Array]]:
    waves, wavelength = groups.waves[use], groups.wavelength_km[use]
    names: Sequence[str] = [str(g) for g in np.flatnonzero(use)]

    def curves(moments: Mapping[str, Moments]) -> tuple[Array, Array]:
        """Mean spectra [..., 1, G] of the days that are drawn."""
        return tuple(np.stack([getattr(moments[name], of) for name in names], axis=-1) for of in ("mean_p", "mean_o"))  # type: ignore[return-value]

    def distance(moments: Mapping[str, Moments]) -> Array:
        return spectra.distance_db(*curves(moments), waves)

    def resolved(moments: Mapping[str, Moments]) -> Array:
        return resolution.resolutions(wavelength, *curves(moments), waves)

    return {LSD: distance, RESOLUTION: resolved}
