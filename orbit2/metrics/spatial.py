"""SSIM and PSNR with one fixed data range per variable. Never scores a window that touches a missing cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import structural_similarity

from orbit2.metrics.statistics import Moments
from orbit2.metrics.weighting import weighted_mean

Array = npt.NDArray[np.float64]
SIGMA, RADIUS = 1.5, 5  # Gaussian window of Wang et al. (2004): 11 x 11
PRECIPITATION_RANGE = 300.0  # L in mm/day, and through ln(1 + x) in log1p space (evaluation.md 1.3)
SSIM_METHOD = ("Gaussian window sigma 1.5 (11x11), fixed L={:.6g}, area-weighted mean over cells with a fully valid window, "
               "mean over samples")
PSNR_POOLED_METHOD = "10 log10(L^2/MSE), fixed L={:.6g}, area-weighted MSE pooled over samples"
PSNR_DAILY_METHOD = "mean over samples of 10 log10(L^2/MSE), fixed L={:.6g}, area-weighted MSE"


def ssim_map(prediction: Array, truth: Array, data_range: float, periodic: bool) -> Array:
    """Local SSIM [H, W] (Wang et al. 2004, IEEE TIP 13:600); NaN where the 11 x 11 window leaves the domain or meets a missing cell.

    `periodic` wraps the longitude by 5 columns. `data_range` is L in the fields' units, the same for every sample.
    """
    pad = ((0, 0), (RADIUS, RADIUS if periodic else 0)) if periodic else ((0, 0), (0, 0))
    p, o = (np.pad(x, pad, mode="wrap") if periodic else x for x in (prediction, truth))
    if min(p.shape) < 2 * RADIUS + 1:
        return np.full(truth.shape, np.nan)
    valid = np.isfinite(p) & np.isfinite(o)
    if not valid.all():  # a neutral value that no kept window sees: skimage would turn the whole map to NaN
        centre = o[valid].mean() if valid.any() else 0.0
        p, o = np.where(valid, p, centre), np.where(valid, o, centre)
    _, full = structural_similarity(  # type: ignore[no-untyped-call]
        o, p, data_range=data_range, gaussian_weights=True, sigma=SIGMA, use_sample_covariance=False, full=True)
    whole = ndimage.binary_erosion(valid, np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), dtype=bool), border_value=0)
    result: Array = np.where(whole, full, np.nan)
    return result[:, RADIUS:-RADIUS] if periodic else result


def ssim(prediction: Array, truth: Array, data_range: float, weights: Array, periodic: bool) -> float:
    """Area-weighted mean of `ssim_map` over the cells whose whole window is valid; NaN where there is none."""
    return weighted_mean(ssim_map(prediction, truth, data_range, periodic), weights)


def psnr(m: Moments, data_range: float) -> Array:
    """Peak signal-to-noise ratio in dB from Moments [..., B]; infinite for a perfect prediction, NaN for an empty bin."""
    mse = np.divide(m.se, m.w, out=np.full_like(m.se, np.nan), where=m.w > 0)
    with np.errstate(divide="ignore"):
        decibel: Array = 10 * np.log10(data_range**2 / mse)
    return decibel
