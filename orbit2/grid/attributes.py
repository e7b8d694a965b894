"""A grid out of what `to_attributes` wrote: how stores and model folders carry their geometry. Never opens a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from orbit2.errors import OrbitError
from orbit2.grid.curvilinear import CurvilinearGrid
from orbit2.grid.latlon import Grid
from orbit2.grid.projected import ProjectedGrid
from orbit2.grid.protocol import AnyGrid

_KINDS = ("latlon", "projected", "curvilinear")
_CURVILINEAR = ("lat2d", "lon2d", "lat_vertices", "lon_vertices")


def from_attributes(attributes: Mapping[str, Any]) -> AnyGrid:
    """The grid with the same digest. Raises OrbitError for a kind or keys that are not known."""
    kind = attributes.get("kind")
    try:
        if kind == "latlon":
            return Grid(*(np.array(attributes[key], dtype=np.float64) for key in ("lat_edges", "lon_edges")))
        if kind == "projected":
            y, x = (np.array(attributes[key], dtype=np.float64) for key in ("y_edges", "x_edges"))
            return ProjectedGrid(y, x, str(attributes["crs"]))
        if kind == "curvilinear":
            return CurvilinearGrid(*(np.array(attributes[key], dtype=np.float64) for key in _CURVILINEAR))
    except KeyError as error:
        raise OrbitError("a grid's attributes are not whole", where="grid", got=f"{kind} without {error}",
                         hint="build the file again: it was cut or edited") from None  # fmt: skip
    raise OrbitError("unknown kind of grid", where="grid", got=kind, allowed=", ".join(_KINDS),
                     hint="a newer orbit2 wrote it: update, or build the file again")  # fmt: skip
