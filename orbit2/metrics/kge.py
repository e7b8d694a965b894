"""Kling-Gupta efficiency. Never given for a quantity that may be negative: its ratio of means has no meaning there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.metrics.statistics import Moments

Array = npt.NDArray[np.float64]
KGE_METHOD = "of 2012, area-weighted, pooled over samples and valid cells"


def kge(m: Moments) -> Array:
    """1 - sqrt((r-1)^2 + (beta-1)^2 + (gamma-1)^2), beta the ratio of means, gamma of coefficients of variation (Kling et al. 2012)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = m.po / np.sqrt(m.pp * m.oo)
        beta = m.mean_p / m.mean_o
        gamma = np.sqrt(m.pp / m.oo) / beta
        value: Array = 1 - np.sqrt((r - 1) ** 2 + (beta - 1) ** 2 + (gamma - 1) ** 2)
    return np.where((m.w > 0) & (m.mean_o > 0) & np.isfinite(value), value, np.nan)
