"""Cells as polygons on the sphere: areas, poles, the seam of longitudes. Never knows rows, columns or map projections.

In the plane (longitude, sin latitude) area is true area on the sphere. The Earth is a sphere here: geodetic latitudes, also those of
WGS84 and NAD83 products, are taken as spherical ones, as CDO and ESMF do; it moves relative cell areas by at most 0.7 %.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
EARTH_RADIUS_KM = 6371.0
KM_PER_DEGREE = EARTH_RADIUS_KM * np.pi / 180
STRAIGHT = 300.0  # metres: a side this long is its own chord to 1e-6 of itself; longer ones get points (1 km: its middle)
_AT_POLE = 1e-9  # degrees: a tenth of a millimetre
_STEEP = 1 / 300  # a side this long, of its distance to the pole, bends by 1e-6 of a cell in the plane: longer ones get points
_BETWEEN = 16


def bounds(shape: tuple[int, int], rows: slice, columns: slice) -> tuple[int, int, int, int]:
    """First and last row and column of a part. Raises OrbitError for an empty one."""
    r0, r1, _ = rows.indices(shape[0])
    c0, c1, _ = columns.indices(shape[1])
    if r1 <= r0 or c1 <= c0:
        raise OrbitError("empty region of a grid", where="grid", got=f"rows {r0}:{r1}, columns {c0}:{c1}",
                         hint="give at least one row and one column")  # fmt: skip
    return r0, r1, c0, c1


def flat(lon: Array, lat: Array) -> Iterator[tuple[Index, Array, Array]]:
    """Outlines [K, N] in degrees as plane polygons: (which of the N, longitude, sin(latitude)), each without a jump of 360 degrees.

    Cells with a point that is not finite are left out. A cell round a pole, or one that touches it, gets points along the pole's line.
    """
    (finite,) = np.nonzero(np.isfinite(lon).all(0) & np.isfinite(lat).all(0))
    if len(finite) < lon.shape[1]:
        lon, lat = lon[:, finite], lat[:, finite]
    if not lon.size:
        return
    steep = _steep(lon, lat).any(0) if np.abs(lat).max() > 70 else np.zeros(lon.shape[1], dtype=bool)
    if steep.any():
        (index,) = np.nonzero(steep)
        yield from _pieces(finite[index], *_with_points(lon[:, index], lat[:, index]))
    if not steep.all():
        yield from _pieces(finite[~steep], lon[:, ~steep], lat[:, ~steep]) if steep.any() else _pieces(finite, lon, lat)


def _pieces(cells: Index, lon: Array, lat: Array) -> Iterator[tuple[Index, Array, Array]]:
    """`flat` of finite outlines: those about a pole apart from the others."""
    sine = np.sin(np.radians(lat))
    wide = np.ptp(lon, axis=0) >= 180
    high = np.abs(lat).max(0) > 90 - _AT_POLE
    if not (wide.any() or high.any()):
        yield cells, lon, sine
        return
    step = _turn(np.roll(lon, -1, axis=0) - lon)
    polar = high | (np.abs(step.sum(0)) > 180) | (np.abs(step).max(0) > 180 - 1e-9)
    if not polar.all():
        moved = lon[:1] + np.concatenate([np.zeros((1, lon.shape[1])), np.cumsum(step[:-1], axis=0)])
        yield cells[~polar], np.where(wide, moved, lon)[:, ~polar], sine[:, ~polar]
    if polar.any():
        (index,) = np.nonzero(polar)
        rings = [_about_pole(lon[:, i], lat[:, i]) for i in index]
        most = max(len(ring) for ring in rings)
        padded = np.stack([np.concatenate([ring, np.repeat(ring[-1:], most - len(ring), axis=0)]) for ring in rings], axis=-1)
        yield cells[index], padded[:, 0], padded[:, 1]


def _steep(lon: Array, lat: Array) -> npt.NDArray[np.bool_]:
    """Sides [K, N] (each from its point to the next one) that are long for their distance to a pole."""
    colatitude = np.radians(90 - np.abs(lat))
    nearest = np.minimum(colatitude, np.roll(colatitude, -1, axis=0))
    along = _turn(np.roll(lon, -1, axis=0) - lon) * np.cos(np.radians(np.minimum(np.abs(lat), np.abs(np.roll(lat, -1, axis=0)))))
    steep: npt.NDArray[np.bool_] = np.hypot(np.radians(along), np.roll(colatitude, -1, axis=0) - colatitude) > _STEEP * nearest
    steep &= nearest < np.radians(20)
    return steep


def _with_points(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Outlines [K, N] with points along the great circle of every steep side [K * _BETWEEN, N]; of others the first point is repeated.
    It depends on the side alone, so that neighbours go on sharing their points."""
    here = unit(lon, lat)
    after, far = np.roll(here, -1, axis=1), _steep(lon, lat)
    parts = [(lon, lat)]
    for k in range(1, _BETWEEN):
        x, y, z = here * (1 - k / _BETWEEN) + after * (k / _BETWEEN)
        parts.append((np.where(far, np.degrees(np.arctan2(y, x)), lon), np.where(far, np.degrees(np.arctan2(z, np.hypot(x, y))), lat)))
    lons, lats = (np.stack([part[i] for part in parts], axis=1).reshape(-1, lon.shape[1]) for i in (0, 1))
    return lons, lats


def areas(lon: Array, lat: Array) -> Array:
    """Areas [N], km2, of spherical polygons with great-circle sides between points [K, N] in degrees, smaller than a hemisphere; also
    about a pole. NaN where a point is not finite. (Each side adds the triangle between it and the equator: Girard.)"""
    change = np.radians(_turn(np.roll(lon, -1, axis=0) - lon))
    half = np.tan(np.radians(lat) / 2)
    after = np.roll(half, -1, axis=0)
    excess = (2 * np.arctan2(np.tan(change / 2) * (half + after), 1 + half * after)).sum(axis=0) % (2 * np.pi)
    result: Array = np.minimum(excess, 2 * np.pi - excess) * EARTH_RADIUS_KM**2
    return result


def latitudes(lon: Array, lat: Array) -> tuple[float, float]:
    """Least and greatest latitude inside the closed line of points [N]; a pole inside it counts (the one on the line's side)."""
    south, north = float(lat.min()), float(lat.max())
    if abs(_turn(np.roll(lon, -1) - lon).sum()) > 180:
        return (-90.0, north) if lat.mean() < 0 else (south, 90.0)
    return south, north


def unit(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Array:
    """Points as unit vectors [3, ...]."""
    lon_, lat_ = np.radians(np.asarray(lon, dtype=np.float64)), np.radians(np.asarray(lat, dtype=np.float64))
    return np.stack([np.cos(lat_) * np.cos(lon_), np.cos(lat_) * np.sin(lon_), np.sin(lat_)])


def distance_km(lon0: npt.ArrayLike, lat0: npt.ArrayLike, lon1: npt.ArrayLike, lat1: npt.ArrayLike) -> Array:
    """Great-circle distances."""
    chord = np.linalg.norm(unit(lon1, lat1) - unit(lon0, lat0), axis=0)
    distances: Array = 2 * EARTH_RADIUS_KM * np.arcsin(np.clip(chord / 2, 0, 1))
    return distances


def _turn(lon: Array) -> Array:
    """Differences of longitude in [-180, 180)."""
    return (lon + 180.0) % 360.0 - 180.0


def _about_pole(lon: Array, lat: Array) -> Array:
    """One outline [K] round or through a pole as a closed plane polygon [K', 2] of (longitude, sin latitude)."""
    points = unit(lon, lat)
    if (np.cross(points.T, np.roll(points, -1, axis=1).T) @ points.sum(axis=1)).sum() < 0:
        lon, lat = lon[::-1], lat[::-1]  # counter-clockwise from outside: the cell lies on the left
    top = 1.0 if lat.mean() > 0 else -1.0
    kept = np.abs(lat) < 90 - _AT_POLE
    begin = int(np.argmax(kept & ~np.roll(kept, 1))) if not kept.all() else 0
    lon, lat, kept = np.roll(lon, -begin), np.roll(lat, -begin), np.roll(kept, -begin)
    at = np.flatnonzero(kept)
    ring, x = [], float(lon[at[0]])
    for here, after in zip(at, np.roll(at, -1), strict=True):
        ring.append((x, np.sin(np.radians(lat[here]))))
        change = float(_turn(np.asarray(lon[after] - lon[here])))
        if (after - here) % len(lon) > 1 or abs(change) > 180 - 1e-9:  # by way of the pole: the inner angle lies on the left
            change = -top * (float(top * (lon[here] - lon[after]) % 360.0) or 360.0)
            ring += [(x, top), (x + change, top)]
        x += change
    turned = x - ring[0][0]
    if abs(turned) > 180:  # once round the pole
        ring += [(x, ring[0][1]), (x, top), (ring[0][0], top)]
    return np.array(ring)
