"""The one place that knows how longitudes go round: conventions, turns, seams, boxes. Never looks at latitudes, files or fields.

Degrees east. A value may be written in any turn (-10, 350 and 710 are one meridian); a list of columns is put in order from west to
east, cut where the circle is open, so that a box across 0 E is one piece that runs on past 360.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Number = TypeVar("Number", float, Array)
TOLERANCE = 1e-6  # degrees


def eastward(lon: npt.ArrayLike, decimals: int = 6) -> tuple[Index, Array]:
    """(order [W'], longitudes [W']): the columns of `lon` [W] from west to east, increasing from a first one in [0, 360).

    The circle is cut at its widest gap: a region across 0 E (-20 ... 40 or 340 ... 40) is one piece that runs past 360. Columns that go
    round the globe evenly begin at the first one from 0 E. A meridian that is there twice (0 and 360, -180 and 180) is kept once.
    Values are rounded to `decimals`. Raises OrbitError for values that are not finite, or not 1-D.
    """
    values = np.asarray(lon, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise OrbitError("longitudes must be 1-D and finite", where="longitudes",
                         got=f"shape {values.shape}, {int((~np.isfinite(values)).sum())} not finite",
                         hint="give finite degrees east, one axis")  # fmt: skip
    wrapped = np.mod(np.round(values, decimals), 360.0)
    wrapped[wrapped > 360.0 - TOLERANCE] = 0.0
    order = np.argsort(wrapped, kind="stable")
    order = order[np.diff(wrapped[order], prepend=-np.inf) > TOLERANCE]
    wrapped = wrapped[order]
    if len(wrapped) > 1:
        gaps = np.diff(np.append(wrapped, wrapped[0] + 360.0))
        if gaps.max() > 1.5 * gaps[-1]:  # rounded coordinates of a whole globe are no gap
            begin = int(np.argmax(gaps)) + 1
            order = np.roll(order, -begin)
            wrapped = np.concatenate([wrapped[begin:], wrapped[:begin] + 360.0])
    return order.astype(np.int64), np.asarray(np.round(wrapped, decimals), dtype=np.float64)


def follow(lon: Number, first: float) -> Number:
    """`lon` moved by whole turns into [first, first + 360)."""
    moved: Number = first + np.mod(lon - first, 360.0)
    return moved


def signed(lon: Number) -> Number:
    """`lon` moved by whole turns into [-180, 180): how a map writes it."""
    moved: Number = np.mod(lon + 180.0, 360.0) - 180.0
    return moved


def width(west: float, east: float) -> float:
    """Degrees from `west` eastward to `east`, in (0, 360]."""
    return float((east - west) % 360.0) or 360.0


def placed(west: float, east: float, first: float) -> tuple[float, float]:
    """The sides of a box with its west in [first, first + 360) and its east beyond it."""
    begin = float(follow(west + TOLERANCE, first)) - TOLERANCE
    return begin, begin + width(west, east)


def columns(centres: Array, edges: Array, west: float, east: float) -> slice | None:
    """The run of cells whose `centres` [W] lie from `west` eastward to `east`; None when there is none.

    `edges` [W + 1] increase. Where they close the circle, a box across their seam gives a slice that ends beyond W (at most W cells).
    Raises OrbitError where a box goes round the globe and meets a region's cells from both sides, in two pieces.
    """
    count, first = len(centres), float(edges[0])
    begin, end = placed(west, east, first)
    if edges[-1] - first > 360.0 - 1e-4:
        if end - begin >= 360.0 - TOLERANCE:
            return slice(0, count)
        around = np.concatenate([centres, centres + 360.0])
        (found,) = np.nonzero((around >= begin - TOLERANCE) & (around <= end + TOLERANCE))
        if len(found) and found[0] >= count:
            found = found - count
        return slice(int(found[0]), int(found[0]) + min(len(found), count)) if len(found) else None
    inside = np.zeros(count, dtype=bool)
    for turn in (0.0, 360.0):
        inside |= (centres >= begin - turn - TOLERANCE) & (centres <= end - turn + TOLERANCE)
    (found,) = np.nonzero(inside)
    if len(found) and found[-1] - found[0] + 1 != len(found):
        raise OrbitError("box goes round the globe and meets the grid in two pieces", where="region",
                         got=f"{west:g} to {east:g} degrees east", allowed=f"{first:g} to {edges[-1]:g} degrees east",
                         hint="give west and east within the grid's own range, or two boxes")  # fmt: skip
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else None


def in_box(lat: npt.ArrayLike, lon: npt.ArrayLike, box: tuple[float, float, float, float]) -> npt.NDArray[np.bool_]:
    """Whether points (degrees, any shape) lie in `box` (south, north, west, east; may run across 0 E), its borders included."""
    south, north, west, east = box
    there = np.asarray(lat, dtype=np.float64)
    along = np.mod(np.asarray(lon, dtype=np.float64) - west, 360.0)
    return np.asarray((there >= south) & (there <= north) & (along <= width(west, east)))
