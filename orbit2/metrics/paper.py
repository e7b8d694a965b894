"""The scores of ORBIT-2's Table IV as its reference evaluation computes them, for comparison with that table alone.

They are not this project's scores: the RMSE weighs with cos(latitude) that is not divided by its mean (12 % too low over the US, 20 % on
the globe), the threshold of "sigma 1" is 0 wherever most cells are dry, the "R2" is the mean over days of Pearson's r, and SSIM and PSNR
normalise each day with its own range. Never pastes the truth over the sea of a prediction, as two of the reference scripts do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEVELS = (0.6827, 0.9545, 0.9973, 0.9999)  # "1, 2, 3 and 4 sigma"
DRIZZLE = 0.25  # mm/day: less counts as none, in truth and prediction
METRICS = ("paper_pearson_r", "paper_rmse", *(f"paper_rmse_above_{q:g}" for q in LEVELS), "paper_ssim", "paper_psnr")
WINDOW = 7  # scikit-image's default


def scores(prediction: Array, truth: Array, cosine: Array, *, dry: float | None = None, quantise: bool = True) -> Array:
    """One day's METRICS [8] of fields [H, W]; `cosine` [H, W] or [H, 1] is cos(latitude) of the cells. NaN where a score has no meaning.

    `dry` (precipitation only, in the fields' space: 0.25 mm/day or ln 1.25): what is less becomes 0, and so does what is missing, in
    either field by itself. Other fields are scored where both are known. `quantise`: SSIM and PSNR of images of 256 steps, as for the US.
    """
    known = np.isfinite(prediction) & np.isfinite(truth)
    if dry is not None:
        prediction, truth = (np.where(np.isfinite(x) & (x >= dry), x, 0.0) for x in (prediction, truth))
        known = np.ones(truth.shape, dtype=bool)
    if not known.any():
        return np.full(len(METRICS), np.nan)
    p, o = prediction[known], truth[known]
    square = (p - o) ** 2
    weighted = float(np.sqrt(np.mean(square * np.broadcast_to(cosine, truth.shape)[known])))
    above = [float(np.sqrt(square[o >= threshold].mean())) for threshold in np.quantile(o, LEVELS)]
    images = (p, o) if not known.all() else (prediction, truth)  # with gaps: the known cells in a row, as the reference scores regions
    return np.array([pearson(p, o), weighted, *above, *day_range(*images, quantise)])


def pearson(p: Array, o: Array) -> float:
    """Unweighted correlation; NaN where a field does not vary."""
    dp, do = p - p.mean(), o - o.mean()
    scale = float(np.sqrt((dp**2).sum() * (do**2).sum()))
    return float((dp * do).sum()) / scale if scale > 0 else float("nan")


def day_range(prediction: Array, truth: Array, quantise: bool) -> tuple[float, float]:
    """(SSIM, PSNR in dB) of one day's images after (x - min) / (max - min), the range that of both together; NaN where it is 0.

    scikit-image's defaults: a uniform window of 7 (along the row for 1-D input), sample covariance, the rim left out.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # bring all of scipy

    low, high = min(prediction.min(), truth.min()), max(prediction.max(), truth.max())
    if not high > low:
        return float("nan"), float("nan")
    scaled = [(x - low) / (high - low) for x in (prediction, truth)]
    p, o = [(x * 255).astype(np.uint8) for x in scaled] if quantise else scaled
    span = 255 if quantise else 1.0
    similar = float("nan")
    if min(o.shape) >= WINDOW:
        similar = float(structural_similarity(o, p, data_range=span))  # type: ignore[no-untyped-call]
    with np.errstate(divide="ignore"):
        return similar, float(peak_signal_noise_ratio(o, p, data_range=span))  # type: ignore[no-untyped-call]
