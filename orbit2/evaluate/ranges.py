"""L of SSIM and PSNR and the bins of densities: fixed before a task is scored, so that its parts agree. Never looks at the scored truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.metrics import spatial
from orbit2.metrics.collector import Training
from orbit2.metrics.fields import Field
from orbit2.variables import is_precipitation, variable

Array = npt.NDArray[np.float64]
DENSITY_BINS = 128
MARGIN = 0.02  # of the range, on either side of the bins


def data_range(f: Field, training: Training | None) -> float:
    """L: 300 mm/day for precipitation (its logarithm in log1p space), else the 0.1 % to 99.9 % range of the training block's truth; where
    that is not known, the range of what is physical."""
    if is_precipitation(f.variable):
        return float(f.of(np.array(spatial.PRECIPITATION_RANGE)))
    known = None if training is None else training.span(f.variable, f.space)
    low, high = variable(f.variable).valid
    return float(high - low) if known is None else known


def density_edges(f: Field, training: Training | None) -> Array:
    """Edges of the bins: the training block's truth and 2 % on either side, or what is physical. Values beyond count in the outermost."""
    known = None if training is None else training.limits(f.variable, f.space)
    low, high = (float(x) for x in f.of(np.array(variable(f.variable).valid, dtype=np.float64))) if known is None else known
    margin = MARGIN * (high - low) or 1.0
    return np.linspace(low if low == 0 else low - margin, high + margin, DENSITY_BINS + 1)
