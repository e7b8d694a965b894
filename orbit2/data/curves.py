"""The transforms of variables as formulas, of arrays in float64; `transforms` has them for tensors. Needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.variables import transform_of, variable

SQUEEZE = 0.005  # share of the range that a fraction is kept away from its ends, where its logit would be infinite
CURVED = ("log1p", "logit")


def transformed(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
    """Physical values [...] as a network's moments are taken: `log1p`: ln(1 + x), negative x as 0; `logit`: that of the share of the range,
    beyond it its end, squeezed into (SQUEEZE, 1 - SQUEEZE) as in Smithson & Verkuilen (2006); else unchanged. NaN stays."""
    exact = np.asarray(values, dtype=np.float64)
    if transform_of(name) == "log1p":
        return np.asarray(np.log1p(np.maximum(exact, 0.0)))
    if transform_of(name) == "logit":
        low, high = variable(name).valid
        share = SQUEEZE + (1 - 2 * SQUEEZE) * np.clip((exact - low) / (high - low), 0.0, 1.0)
        return np.asarray(np.log(share) - np.log1p(-share))
    return exact
