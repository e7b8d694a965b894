"""Coastlines from the vendored Natural Earth TopoJSON: 1:110m for the globe, 1:50m for boxes. Never downloads anything."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


NEAR = 180.0  # degrees of longitude: a narrower window gets the finer outline


@cache
def coastlines(scale: str = "110m") -> tuple[Array, ...]:
    """Coastlines at `scale` (110m, 50m) as (lon, lat) polylines [N, 2] in degrees, longitude -180..180, none crossing the date line.

    TopoJSON arcs are delta-coded integers: position = cumulative sum x scale + translate (TopoJSON specification 2.1.3-2.1.4).
    """
    topology = json.loads(files("orbit2.report").joinpath(f"data/land-{scale}.json").read_text(encoding="utf-8"))
    size, origin = (np.asarray(topology["transform"][key], dtype=np.float64) for key in ("scale", "translate"))
    lines: list[Array] = []
    for arc in topology["arcs"]:
        points = np.cumsum(np.asarray(arc, dtype=np.float64), axis=0) * size + origin
        breaks = np.flatnonzero(np.abs(np.diff(points[:, 0])) > 180) + 1
        lines += [piece for piece in np.split(points, breaks) if len(piece) > 1]
    return tuple(lines)


def in_window(west: float, east: float) -> list[Array]:
    """The coastlines, as fine as a map of that width needs, moved by whole turns so that they cover longitudes `west`..`east` (degrees;
    east - west at most 360)."""
    moved, lines = [], coastlines("50m" if east - west < NEAR else "110m")
    for turn in (-360.0, 0.0, 360.0):
        for line in lines:
            shifted = line + np.array([turn, 0.0])
            if shifted[:, 0].max() >= west and shifted[:, 0].min() <= east:
                moved.append(shifted)
    return moved
