"""SSIM and PSNR with one fixed data range per variable. Never scores a window that touches a missing cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.metrics import structure_kernels
from orbit2.metrics.statistics import Moments
from orbit2.metrics.weighting import weighted_mean

Array = npt.NDArray[np.float64]
SIGMA, RADIUS = 1.5, 5  # Gaussian window of Wang et al. (2004): 11 x 11
K1, K2 = 0.01, 0.03  # its constants
_SHAPE = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
WINDOW: Array = _SHAPE / _SHAPE.sum()
PRECIPITATION_RANGE = 300.0  # L in mm/day, and through ln(1 + x) in log1p space (evaluation.md 1.3)
SSIM_METHOD = ("Gaussian window sigma 1.5 (11x11), fixed L={:.6g}, area-weighted mean over cells with a fully valid window, "
               "mean over samples")
PSNR_POOLED_METHOD = "10 log10(L^2/MSE), fixed L={:.6g}, area-weighted MSE pooled over samples"
PSNR_DAILY_METHOD = "mean over samples of 10 log10(L^2/MSE), fixed L={:.6g}, area-weighted MSE"


def ssim_map(prediction: Array, truth: Array, data_range: float, periodic: bool) -> Array:
    """Local SSIM [H, W] (Wang et al. 2004, IEEE TIP 13:600); NaN where the 11 x 11 window leaves the domain or meets a missing cell.

    `periodic` wraps the longitude by 5 columns. `data_range` is L in the fields' units, the same for every sample.
    """
    if min(truth.shape[0], truth.shape[1] + (2 * RADIUS if periodic else 0)) < 2 * RADIUS + 1:
        return np.full(truth.shape, np.nan)
    p, o = (np.ascontiguousarray(x) for x in (prediction, truth))
    cells: Array = structure_kernels.ssim_cells(p, o, WINDOW, (K1 * data_range) ** 2, (K2 * data_range) ** 2, periodic)
    return cells


def ssim(prediction: Array, truth: Array, data_range: float, weights: Array, periodic: bool) -> float:
    """Area-weighted mean of `ssim_map` over the cells whose whole window is valid; NaN where there is none."""
    return weighted_mean(ssim_map(prediction, truth, data_range, periodic), weights)


def psnr(m: Moments, data_range: float) -> Array:
    """Peak signal-to-noise ratio in dB from Moments [..., B]; infinite for a perfect prediction, NaN for an empty bin."""
    mse = np.divide(m.se, m.w, out=np.full_like(m.se, np.nan), where=m.w > 0)
    with np.errstate(divide="ignore"):
        decibel: Array = 10 * np.log10(data_range**2 / mse)
    return decibel
