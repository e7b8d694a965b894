"""Scores of one pair of fields: orbit2's beside xskillscore's, scores', pysteps', scikit-image's and scipy's, for evaluate_speed.py; and
the fields that both are measured on, made on the fly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft

from orbit2.diagnose.regions import ar6
from orbit2.grid import Grid, global_grid
from orbit2.metrics import coherence, deterministic, spatial, spectra
from orbit2.metrics.binning import Partition, domain_bins, region_bins
from orbit2.metrics.fss import FractionsSkill
from orbit2.metrics.statistics import moments_of
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
FACTOR = 4
WINDOW = 9  # cells of a neighbourhood
NEEDED = ("pysteps", "scores", "skimage", "xskillscore")


def red(grid: Grid, seed: int) -> Array:
    """A field of variance 1 whose power falls with the third power of the wavenumber, round in longitude."""
    height, width = grid.shape
    generator = np.random.default_rng(seed)
    wave = fft.rfft2(generator.normal(size=grid.shape).astype(np.float32))
    size = np.hypot(fft.fftfreq(height, 1 / height)[:, None], fft.rfftfreq(width, 1 / width)[None])
    wave *= np.where(size > 0, np.maximum(size, 1.0), np.inf) ** -1.5
    field: Array = fft.irfft2(wave, s=grid.shape).astype(np.float64)
    return field / field.std()


def weather(grid: Grid, seed: int) -> npt.NDArray[np.float32]:
    """[2, H, W]: temperature (K), and rain (mm/day) on about a third of the globe."""
    temperature = 250 + 40 * np.cos(np.radians(grid.lat))[:, None] + 8 * red(grid, 2 * seed)
    return np.stack([temperature, 8 * np.maximum(red(grid, 2 * seed + 1) - 0.4, 0) ** 2]).astype(np.float32)


def libraries(degrees: float) -> dict[str, dict[str, float]]:
    """Core seconds and values of RMSE, MAE, bias and r, by area, of one pair of fields on one core: ours (with 58 regions too), those of
    xskillscore and of scores, and of xarray in chunks of dask with one reduction a metric, as WeatherBench-X has them."""
    import scores
    import xskillscore

    grid = global_grid(degrees).refine(FACTOR)
    truth, weights = weather(grid, 0)[0].astype(np.float64), area_weights(grid)
    prediction = truth + red(grid, 7)
    dims = ("lat", "lon")
    p, o, w = (xr.DataArray(x, dims=dims) for x in (prediction, truth, weights))
    bins = (domain_bins(grid), region_bins(ar6().on(grid).astype(np.float64), ar6().names))
    partition = Partition(bins)

    def ours() -> list[float]:
        m = moments_of(prediction, truth, weights, partition)[0]
        return [float(f(m)[0]) for f in (deterministic.rmse, deterministic.mae, deterministic.bias, deterministic.pearson_r)]

    def by_xskillscore() -> list[float]:
        words = {"dim": list(dims), "weights": w}
        return [float(xskillscore.rmse(p, o, **words)), float(xskillscore.mae(p, o, **words)), float(xskillscore.me(p, o, **words)),
                float(xskillscore.pearson_r(p, o, **words))]  # fmt: skip

    def by_scores() -> list[float]:
        c = scores.continuous
        return [float(f(p, o, weights=w)) for f in (c.rmse, c.mae, c.additive_bias)]

    def in_chunks() -> list[float]:
        a, b, c = (x.chunk({"lat": grid.shape[0] // 4}) for x in (p, o, w))
        whole = c.sum()
        e, da, db = a - b, a - (c * a).sum() / whole, b - (c * b).sum() / whole
        made = [np.sqrt((c * e**2).sum() / whole), (c * abs(e)).sum() / whole, (c * e).sum() / whole,
                (c * da * db).sum() / np.sqrt((c * da**2).sum() * (c * db**2).sum())]  # fmt: skip
        return [float(x.compute(scheduler="synchronous")) for x in made]

    words = ("rmse", "mae", "bias", "pearson_r")
    functions = {"orbit2": ours, "xskillscore": by_xskillscore, "scores": by_scores, "xarray, chunked": in_chunks}
    return {name: timed(function, words[: len(function())]) for name, function in functions.items()}


def timed(function: Callable[[], list[float]], words: Sequence[str]) -> dict[str, float]:
    """The least core seconds of three calls after one that compiles, and the values."""
    values, taken = function(), []
    for _ in range(3):
        before = time.process_time()
        function()
        taken.append(time.process_time() - before)
    return {"seconds": min(taken), **dict(zip(words, values, strict=True))}


def structures(degrees: float) -> dict[str, dict[str, float]]:
    """The same of structure, of one pair of fields: SSIM beside scikit-image's, fractions skill beside those of scores and pysteps, zonal
    spectra beside scipy's periodogram. Settings are those in which all mean the same: no wrap, equal weights, no event near the rim."""
    import scores.spatial
    from pysteps.verification.spatialscores import fss
    from scipy.signal import periodogram
    from skimage.metrics import structural_similarity

    grid = global_grid(degrees).refine(FACTOR)
    truth, rain = (x.astype(np.float64) for x in weather(grid, 0))
    prediction, other = (x.astype(np.float64) for x in (truth + red(grid, 7), weather(grid, 1)[1]))
    rim = slice(spatial.RADIUS, -spatial.RADIUS)
    span, equal = float(np.ptp(truth)), np.ones(grid.shape)
    for field in (rain, other):
        middle = field[WINDOW:-WINDOW, WINDOW:-WINDOW].copy()
        field[:] = 0.0
        field[WINDOW:-WINDOW, WINDOW:-WINDOW] = middle
    axis = spectra.zonal_axis(grid, 30.0, 60.0)
    assert axis is not None
    a, b = (xr.DataArray(x, dims=("lat", "lon")) for x in (other, rain))

    def our_ssim() -> list[float]:
        return [float(spatial.ssim(prediction, truth, span, equal, periodic=False))]

    def their_ssim() -> list[float]:
        found = structural_similarity(truth, prediction, data_range=span, gaussian_weights=True, sigma=spatial.SIGMA,
                                      use_sample_covariance=False, full=True)[1]  # fmt: skip
        return [float(found[rim, rim].mean())]

    def our_fss() -> list[float]:
        skill = FractionsSkill(False, (WINDOW,), (1.0,), ())
        skill.update(other, rain, equal)
        return [float(skill.values()[0, 0])]

    def scores_fss() -> list[float]:
        return [float(scores.spatial.fss_2d(a, b, event_threshold=1.0, window_size=(WINDOW, WINDOW), spatial_dims=("lat", "lon"),
                                            threshold_operator=np.greater_equal))]  # fmt: skip

    def pysteps_fss() -> list[float]:
        return [float(fss(other, rain, 1.0, WINDOW))]

    def our_spectrum() -> list[float]:
        power = np.average(np.abs(coherence.zonal_waves(truth, axis, periodic=True)) ** 2, axis=0, weights=axis.row_weights)
        return [float(power[:5].sum()), float(power[-100:].sum())]

    def their_spectrum() -> list[float]:
        _, power = periodogram(truth[axis.rows], scaling="density", axis=1)
        mean = np.average(power[:, 1:], axis=0, weights=axis.row_weights) / grid.shape[1]
        return [float(mean[:5].sum()), float(mean[-100:].sum())]

    return {"SSIM, orbit2": timed(our_ssim, ["ssim"]), "SSIM, scikit-image": timed(their_ssim, ["ssim"]),
            "FSS, orbit2": timed(our_fss, ["fss"]), "FSS, scores": timed(scores_fss, ["fss"]), "FSS, pysteps": timed(pysteps_fss, ["fss"]),
            "zonal spectrum, orbit2": timed(our_spectrum, ["longest 5 waves", "shortest 100"]),
            "zonal spectrum, scipy": timed(their_spectrum, ["longest 5 waves", "shortest 100"])}  # fmt: skip
