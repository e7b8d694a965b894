"""The wavelength down to which a field can be trusted, from smoothed and monotone curves. Never read from a handful of noisy bins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # scipy.optimize: where it is used

Array = npt.NDArray[np.float64]
LEAST_BINS, LEAST_OCTAVES = 10, 2.0  # fewer: not resolvable here
PER_OCTAVE = 4
FLOOR = 1e-6  # bins with less than this share of the truth's largest power are rounding (evaluation.md 1.7d)
FACTOR = 2.0  # power off by more is not resolved
COHERENT = 0.5
METHOD = ("power summed over quarter octaves, |log2 P_p/P_o| made monotone in wavenumber (isotonic regression, weighted by bins): where it "
          "passes a factor of two; the shortest wavelength where it never does, the longest where it does from the start")  # fmt: skip
COHERENCE_METHOD = "squared coherence over quarter octaves, made monotone in wavenumber: where it falls below 0.5"


def resolvable(wavelength: Array) -> bool:
    """Whether a spectrum at these wavelengths [K] has bins and octaves enough to say where it leaves another."""
    return len(wavelength) >= LEAST_BINS and bool(np.log2(wavelength.max() / wavelength.min()) >= LEAST_OCTAVES)


def known(prediction: Array, truth: Array) -> npt.NDArray[np.bool_]:
    """Bins [K] of mean spectra that count: not missing, and not rounding (FLOOR)."""
    use = np.isfinite(prediction) & np.isfinite(truth) & (truth > 0)
    result: npt.NDArray[np.bool_] = use & (truth >= FLOOR * truth[use].max(initial=0.0))
    return result


def effective_resolution(wavelength_km: Array, prediction: Array, truth: Array) -> float:
    """Wavelength (km) down to which the power [K] of a prediction is within a factor of two of the truth's; NaN where too little is known.

    See METHOD: one noisy bin at a long wavelength, or noise that brings the power back at the shortest, moves it little.
    """
    use = known(prediction, truth)
    return float(resolutions(wavelength_km[use], prediction[use], truth[use])) if use.any() else float("nan")


def resolutions(wavelength_km: Array, prediction: Array, truth: Array, bins: Array | None = None) -> Array:
    """effective_resolution [...] of many spectra [..., K], by falling wavelength, of which every bin counts; `bins` [K]: how many waves
    are in each (default: one)."""
    bins = np.ones(len(wavelength_km)) if bins is None else bins
    if bins.sum() < LEAST_BINS or not np.log2(wavelength_km.max() / wavelength_km.min()) >= LEAST_OCTAVES:
        return np.full(prediction.shape[:-1], np.nan)
    wavelength, groups, weights = _octaves(wavelength_km, bins)
    edges = np.flatnonzero(np.diff(groups, prepend=-1))
    p, o = (np.add.reduceat(x, edges, axis=-1) for x in (prediction, truth))
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.minimum(np.abs(np.log2(p / o)), 60.0)
    rising = _monotone_rows(off.reshape(-1, off.shape[-1]), weights)
    found = [_crossing(wavelength, row, np.log2(FACTOR), wavelength_km) if np.isfinite(row).all() else np.nan for row in rising]
    return np.asarray(found).reshape(off.shape[:-1])


def coherent_down_to(wavelength_km: Array, sums: Array) -> float:
    """Wavelength (km) down to which the squared coherence of sums [4, K] (of coherence.zonal_cross, Rings.cross) is at least 0.5."""
    use = np.isfinite(sums).all(axis=0) & (sums[0] > 0) & (sums[1] > 0)
    use &= sums[1] >= FLOOR * sums[1][use].max(initial=0.0)
    if not use.any() or not resolvable(wavelength_km[use]):
        return float("nan")
    wavelength, groups, bins = _octaves(wavelength_km[use], np.ones(int(use.sum())))
    # normalised bin by bin: a group's coherence is then not that of its strongest wave
    scale = np.sqrt(sums[0] * sums[1])[use]
    square = np.bincount(groups, weights=(sums[2][use] / scale) ** 2 + (sums[3][use] / scale) ** 2) / bins
    return _crossing(wavelength, _monotone(-square, bins), -COHERENT, wavelength_km[use])


def _octaves(wavelength_km: Array, waves: Array) -> tuple[Array, npt.NDArray[np.int64], Array]:
    """(mean wavelength of each group, by falling wavelength; each bin's group; waves in each group) of quarter octaves."""
    place = np.floor(np.log2(wavelength_km.max() / wavelength_km) * PER_OCTAVE + 1e-9).astype(np.int64)
    _, groups = np.unique(place, return_inverse=True)
    bins = np.asarray(np.bincount(groups, weights=waves), dtype=np.float64)
    mean: Array = np.exp(np.bincount(groups, weights=waves * np.log(wavelength_km)) / bins)
    return mean, groups.astype(np.int64), bins


def _monotone_rows(values: Array, weights: Array) -> Array:
    """`_monotone` of each row [N, G] at once: the greatest, over where an average may begin, of the least, over where it may end
    (Robertson, Wright & Dykstra 1988, Order Restricted Statistical Inference, theorem 1.4.4)."""
    count = values.shape[1]
    zero = np.zeros((len(values), 1))
    total = np.concatenate([zero, np.cumsum(values * weights, axis=1)], axis=1)
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    fit = np.full(values.shape, -np.inf)
    for first in range(count):
        mean = (total[:, first + 1 :] - total[:, first : first + 1]) / (weight[first + 1 :] - weight[first])
        least = np.minimum.accumulate(mean[:, ::-1], axis=1)[:, ::-1]  # over all ends from each place on
        np.maximum(fit[:, first:], least, out=fit[:, first:])
    return fit


def _monotone(values: Array, weights: Array) -> Array:
    fit: Array = scipy.optimize.isotonic_regression(values, weights=weights).x
    return fit


def _crossing(wavelength: Array, rising: Array, level: float, whole: Array) -> float:
    """Where `rising` passes `level`, linear in the logarithm of the wavelength between groups."""
    beyond = np.flatnonzero(rising > level)
    if not len(beyond):
        return float(whole.min())
    right = int(beyond[0])
    if right == 0:
        return float(whole.max())
    share = (level - rising[right - 1]) / (rising[right] - rising[right - 1])
    return float(np.exp(np.log(wavelength[right - 1]) + share * np.log(wavelength[right] / wavelength[right - 1])))
