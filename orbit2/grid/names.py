"""Grids that have a name, every edge the nearest double to its exact value. Never looks at a file."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import cast

import numpy as np

from orbit2 import longitudes
from orbit2.edges import exact_edges
from orbit2.errors import OrbitError
from orbit2.grid.attributes import from_attributes
from orbit2.grid.latlon import SNAP, Grid, global_grid
from orbit2.grid.protocol import AnyGrid

# The paper's continental US box: 24-50 N, 235-295 E (sources.md gives its south-west corner).
US_BOX = (24.0, 50.0, 235.0, 295.0)
# PRISM's cell centres lie on k/24 degree (4 km) and k/120 degree (800 m), so its edges lie half a 4 km cell beside the
# paper's: the same box moved south and west by 1/48 degree. 800 m cells nest five by five in 4 km cells: one shift serves both.
PRISM_SHIFT = Fraction(-1, 48)
CELLS = "cells_"
_DECIMALS, _EVEN = 6, 2e-5  # of degrees: float32 coordinates are no better
_NAMES = ("global_<degrees>, nodes_<degrees>, us_<arc minutes> or prism_<arc minutes>, each with /n for its cells divided by n and "
          "@south,north,west,east for a part of it")  # fmt: skip


def named(name: str) -> Grid:
    """The grid of a name, with every edge the nearest double to its exact value.

    - `global_<degrees>`: cell centred, edges at 90 S and 0 E: `global_5.625`, `global_1.40625`, `global_0.25`, `global_0.0625`;
    - `nodes_<degrees>`: cells AROUND the nodes of ERA5's own grid, from 90 S (half a cell) and 0 E, without the row at 90 N: `nodes_0.25`
      has 720 rows, as the published ORBIT-2 weights read them;
    - `us_<arc minutes>`: the paper's box, edges at 24 N and 235 E, to 50 N and 295 E: `us_15`, `us_3.75`, `us_0.625`;
    - `prism_<arc minutes>`: that box moved by half a PRISM cell (1/48 degree south and west), so that `prism_2.5` is PRISM's
      own 4 km grid, `prism_0.5` its 800 m grid and `prism_10` nests `prism_2.5` four by four;
    - `NAME/n`: the cells of NAME divided by n along both sides: `nodes_0.25/4`, whose first row's cells are half as high as the others;
    - `NAME@south,north,west,east`: the cells of NAME inside a box, e.g. `us_15@36,40,255,262`; west may be negative, the box
      may cross 0 E. For PRISM the box is given before the move, so that one suffix serves the US grids of either kind;
    - `cells_<south>,<north>,<rows>,<west>,<east>,<columns>`: any even grid; or `to_attributes` of any other one, as JSON (see `spelled`).

    Raises OrbitError for any other name, a size that does not divide the box, or a box whose sides are no cell edges.
    """
    if name.startswith((CELLS, "{")):
        return _spelled_out(name)
    whole, _, box = name.partition("@")
    if "/" in whole:
        base, _, parts = whole.partition("/")
        if not parts.isdecimal() or int(parts) < 2:
            raise OrbitError("not a number of parts of a cell", where="grid", got=name, allowed="NAME/2, NAME/4, ...",
                             hint="NAME/4 are cells of a quarter of NAME's")  # fmt: skip
        grid = named(base).refine(int(parts))
        return _part(grid, box, float(PRISM_SHIFT if base.startswith("prism") else 0), name) if "@" in name else grid
    match = re.fullmatch(r"(global|nodes|us|prism)_([0-9]+(?:\.[0-9]+)?)", whole)
    if not match or float(match[2]) == 0:
        raise OrbitError("unknown grid name", where="grid", got=name, allowed=_NAMES,
                         hint="e.g. global_1.0, us_15, prism_2.5, us_15@36,40,255,262")  # fmt: skip
    shift = PRISM_SHIFT if match[1] == "prism" else Fraction(0)
    if match[1] == "global":
        grid = global_grid(float(match[2]))
    elif match[1] == "nodes":
        rows_ = Fraction(180) / Fraction(match[2])
        count = round(rows_)
        if count < 3 or abs(rows_ - count) > Fraction(1, 10**6):
            raise OrbitError("the globe does not divide into cells of this size", where="grid", got=f"{match[2]} degrees",
                             hint="choose a size that divides 180 degrees, e.g. global_0.25")  # fmt: skip
        step = Fraction(180, count)
        grid = Grid(np.concatenate([[-90.0], exact_edges(-90 + step / 2, 90 - step / 2, count - 1)]),
                    exact_edges(-step / 2, 360 - step / 2, 2 * count))  # fmt: skip
    else:
        size = Fraction(match[2]) / 60
        south, north, west, east = (Fraction(side) for side in US_BOX)
        rows, columns = (north - south) / size, (east - west) / size
        if rows.denominator != 1 or columns.denominator != 1:
            raise OrbitError("the US box does not divide into cells of this size", where="grid", got=f"{match[2]} arc minutes",
                             hint="choose a size that divides its sides, e.g. us_15")  # fmt: skip
        grid = Grid(exact_edges(south + shift, north + shift, int(rows)), exact_edges(west + shift, east + shift, int(columns)))
    return _part(grid, box, float(shift), name) if "@" in name else grid


def spelled(grid: AnyGrid) -> str:
    """A name for a grid that has none: `cells_...` for an even one of latitudes and longitudes, else its attributes as JSON."""
    if not isinstance(grid, Grid):
        return json.dumps(grid.to_attributes(), separators=(",", ":"), sort_keys=True)
    south, north, west, east = (round(float(edge), _DECIMALS) for edge in (*grid.lat_edges[[0, -1]], *grid.lon_edges[[0, -1]]))
    rows, columns = grid.shape
    text = f"{CELLS}{south:.10g},{north:.10g},{rows},{west:.10g},{east:.10g},{columns}"
    even = _spelled_out(text)
    if np.allclose(even.lat_edges, grid.lat_edges, atol=_EVEN) and np.allclose(even.lon_edges, grid.lon_edges, atol=_EVEN):
        return text
    rounded = Grid(np.round(grid.lat_edges, _DECIMALS), np.round(grid.lon_edges, _DECIMALS))
    return json.dumps(rounded.to_attributes(), separators=(",", ":"), sort_keys=True)


def _spelled_out(name: str) -> Grid:
    """The grid that `spelled` wrote."""
    try:
        if name.startswith("{"):
            return cast(Grid, from_attributes(json.loads(name)))  # or one of another kind: who asks knows what the files have
        south, north, rows, west, east, columns = name.removeprefix(CELLS).split(",")
        return Grid(exact_edges(Fraction(south), Fraction(north), int(rows)), exact_edges(Fraction(west), Fraction(east), int(columns)))
    except (ValueError, ZeroDivisionError):
        raise OrbitError("not a grid", where="grid", got=name[:80], allowed=f"{CELLS}south,north,rows,west,east,columns in degrees",
                         hint="give bounds and numbers of rows and columns, with commas between") from None  # fmt: skip


def _part(grid: Grid, box: str, shift: float, name: str) -> Grid:
    """The cells of `grid` inside `box` = "south,north,west,east", whose sides (moved by `shift`) must be cell edges."""
    try:
        south, north, west, east = (float(side) + shift for side in box.split(","))
    except ValueError:
        raise OrbitError("a part of a grid needs four numbers", where="grid", got=name, allowed="NAME@south,north,west,east",
                         hint="four sides in degrees, with commas between") from None  # fmt: skip
    first, lon = float(grid.lon_edges[0]), grid.lon_edges
    if grid.periodic:  # once more round, so that a box may cross the seam
        lon = np.concatenate([lon, lon[1:] + 360])
    west_ = longitudes.follow(west + SNAP, first) - SNAP
    east_ = west_ + longitudes.width(west, east - SNAP) + SNAP
    index = []
    for side, edges, value, moved in (("south", grid.lat_edges, south, 0.0), ("north", grid.lat_edges, north, 0.0),
                                      ("west", lon, west_, west - west_), ("east", lon, east_, east - east_)):
        nearest = int(np.abs(edges - value).argmin())
        if not abs(edges[nearest] - value) <= SNAP:  # also not a number
            around = sorted({float(edges[k]) + moved - shift for k in (nearest - 1, nearest, nearest + 1) if 0 <= k < len(edges)})
            raise OrbitError(f"the box's {side} side is not on a cell edge", where=name, got=f"{value + moved - shift:.6g}",
                             allowed=", ".join(f"{edge:.7g}" for edge in around), hint="choose one of the nearest edges")  # fmt: skip
        index.append(nearest)
    if index[0] >= index[1] or index[2] >= index[3]:
        raise OrbitError("a part of a grid needs south < north and west < east", where="grid", got=name,
                         hint="the order is south, north, west, east")  # fmt: skip
    return Grid(grid.lat_edges[index[0] : index[1] + 1], lon[index[2] : index[3] + 1])

