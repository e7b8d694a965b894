"""Structure, amplitude and location of rain in a box (Wernli et al. 2008, MWR 136:4470). Never for a whole globe: it has one centre."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from orbit2.errors import OrbitError

Array = npt.NDArray[np.float64]
WET = 0.1  # mm/day: cells that the threshold's quantile is taken of
SHARE, QUANTILE = 1 / 15, 0.95  # an object has at least a 15th of the wet cells' 95 % quantile (Wernli et al. 2009)
NEIGHBOURS = np.ones((3, 3), dtype=bool)


def sal(prediction: Array, truth: Array, weights: Array, dx_km: float, dy_km: float) -> Array:
    """[S, A, L]: 0 is perfect; S and A in [-2, 2] (positive: too large or flat, too much), L in [0, 2]; NaN where a field has no rain.

    Fields and area `weights` [H, W] of a box, rates that are not negative. A cell missing in either counts in neither. Distances are in km
    on the box's middle latitude, over its diagonal. Raises OrbitError for negative rain.
    """
    known = np.isfinite(prediction) & np.isfinite(truth)
    p, o = (np.where(known, x, 0.0) for x in (prediction, truth))
    if min(p.min(), o.min()) < 0:
        raise OrbitError("SAL needs rain that is not negative", where="SAL", got=f"{min(p.min(), o.min()):.3g}",
                         hint="clip the rain at 0 first")  # fmt: skip
    total_p, total_o = float((weights * p).sum()), float((weights * o).sum())
    if total_p <= 0 or total_o <= 0:
        return np.full(3, np.nan)
    amplitude = 2 * (total_p - total_o) / (total_p + total_o)
    (centre_p, scatter_p, volume_p), (centre_o, scatter_o, volume_o) = (_objects(x, weights, dx_km, dy_km) for x in (p, o))
    longest = float(np.hypot(p.shape[0] * dy_km, p.shape[1] * dx_km))
    location = (float(np.hypot(*(centre_p - centre_o))) + 2 * abs(scatter_p - scatter_o)) / longest
    structure = 2 * (volume_p - volume_o) / (volume_p + volume_o)
    return np.array([structure, amplitude, location])


def _objects(rain: Array, weights: Array, dx_km: float, dy_km: float) -> tuple[Array, float, float]:
    """(centre of mass in km [2], mean distance of the objects' centres from it, mean of their volumes over their peaks), by rain mass."""
    mass = weights * rain
    y, x = np.arange(rain.shape[0]) * dy_km, np.arange(rain.shape[1]) * dx_km
    centre = np.array([(mass.sum(1) * y).sum(), (mass.sum(0) * x).sum()]) / mass.sum()
    wet = rain[rain >= WET]
    threshold = SHARE * np.quantile(wet if wet.size else rain[rain > 0], QUANTILE)
    labels, count = ndimage.label(rain >= threshold, NEIGHBOURS)
    which = np.arange(1, count + 1)
    total, peak = ndimage.sum_labels(mass, labels, which), ndimage.maximum(rain, labels, which)
    north = ndimage.sum_labels(mass * y[:, None], labels, which) / total - centre[0]
    east = ndimage.sum_labels(mass * x[None], labels, which) / total - centre[1]
    return centre, float(np.average(np.hypot(north, east), weights=total)), float(np.average(total / peak, weights=total))
