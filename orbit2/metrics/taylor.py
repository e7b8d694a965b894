"""Taylor's skill scores from Moments: correlation and amplitude in one number. Never sees a field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.metrics.statistics import Moments

Array = npt.NDArray[np.float64]


def sigma_ratio(m: Moments) -> Array:
    """Standard deviation of the prediction over that of the truth; NaN where the truth does not vary."""
    return np.asarray(np.sqrt(np.divide(m.pp, m.oo, out=np.full_like(m.pp, np.nan), where=m.oo > 0)))


def skill(m: Moments, power: int) -> Array:
    """4 (1 + R)^power / ((s + 1/s)^2 2^power), R0 = 1 (Taylor 2001, JGR 106:7183, eq. 4 with power 1, eq. 5 with power 4)."""
    ratio = sigma_ratio(m)
    r = np.clip(np.divide(m.po, np.sqrt(m.pp * m.oo), out=np.full_like(m.po, np.nan), where=(m.pp > 0) & (m.oo > 0)), -1.0, 1.0)
    with np.errstate(divide="ignore"):
        found: Array = 4 * (1 + r) ** power / ((ratio + 1 / ratio) ** 2 * 2.0**power)
    return found
