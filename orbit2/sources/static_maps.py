"""Static fields on a map projection or a rotated pole: the model's own where it carries them, else made from those of latitudes and
longitudes. Never fills."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.door.damage import reading
from orbit2.door.opening import read
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, from_attributes
from orbit2.grid.sphere import distance_km
from orbit2.remap import Regridder
from orbit2.remap.parallels import under

Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
GRID = "grid"  # attribute of a file that says what grid it is on (see orbit2.data.store_grid)


def on_map(
    grid: AnyGrid, names: Sequence[str], path: Path | None, made: Callable[[Grid, Sequence[str]], FloatArray],
    direct: Mapping[str, npt.NDArray[Any]],
) -> FloatArray:
    """[S, H, W] of `names`: those of `direct` are on `grid` already; `made` gives fields of latitudes and longitudes, which are then
    averaged conservatively. `latitude` and `slope` are those of the target. Raises OrbitError where the fields do not cover the grid."""
    asked = list(dict.fromkeys("orography" if name == "slope" else name for name in names if name != "latitude"))
    rest = [name for name in asked if name not in direct]
    known = {name: np.asarray(direct[name]) for name in asked if name in direct}
    known |= dict(zip(rest, _fields(grid, rest, path, made), strict=True)) if rest else {}
    if asked and not all(np.isfinite(field).all() for field in known.values()):
        raise OrbitError("the static fields do not cover the grid", where=path, got=", ".join(asked), allowed=grid.describe(),
                         hint="give a file of the whole region")  # fmt: skip
    values = {"latitude": grid.lat2d, **known}
    if "slope" in names:
        values["slope"] = slope(known["orography"].astype(np.float64), grid)
    return np.stack([np.asarray(values[name], dtype=np.float32) for name in names])


def _fields(grid: AnyGrid, names: Sequence[str], path: Path | None, made: Callable[[Grid, Sequence[str]], FloatArray]) -> FloatArray:
    if path is not None and path.is_file():
        with reading(path, "NetCDF with static fields"), read(path) as opened:
            if GRID in opened.attrs and set(names) <= set(opened.data_vars):
                own = from_attributes(json.loads(opened.attrs[GRID]))
                fields = np.stack([opened[name].to_numpy().astype(np.float32) for name in names])
                return fields if own.same_as(grid) else Regridder(own, grid, "conservative")(fields)
    base = under(grid)
    return Regridder(base, grid, "conservative")(made(base, names))


def slope(orography: Array, grid: AnyGrid) -> Array:
    """Magnitude of the gradient of `orography` [H, W] in metres, by distances on the ground: centred differences, one-sided at the rim."""
    parts = []
    for axis in (0, 1):
        if grid.shape[axis] < 2:
            parts.append(np.zeros(grid.shape))
            continue
        one, other = (tuple(slice(*(cut if k == axis else (None,))) for k in (0, 1)) for cut in ((None, -1), (1, None)))
        apart = 1000 * distance_km(grid.lon2d[one], grid.lat2d[one], grid.lon2d[other], grid.lat2d[other])
        edge = [apart.take([i], axis) for i in (0, -1)]
        spacing = (np.concatenate([edge[0], apart], axis) + np.concatenate([apart, edge[1]], axis)) / 2
        parts.append(np.gradient(orography, axis=axis) / spacing)
    result: Array = np.hypot(*parts)
    return result
