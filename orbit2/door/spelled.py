"""A grid that has no name, spelled out in a word that `orbit2.grid.named` reads: how configurations carry the grids of files."""

from __future__ import annotations

import json

import numpy as np

from orbit2.grid import Grid, named

CELLS = "cells_"
DECIMALS = 6  # of degrees: float32 coordinates are no better


def spelled(grid: Grid) -> str:
    """`cells_<south>,<north>,<rows>,<west>,<east>,<columns>` of an even grid; every edge of another one, as JSON."""
    south, north, west, east = (round(float(edge), DECIMALS) for edge in (*grid.lat_edges[[0, -1]], *grid.lon_edges[[0, -1]]))
    rows, columns = grid.shape
    text = f"{CELLS}{south:.10g},{north:.10g},{rows},{west:.10g},{east:.10g},{columns}"
    even = named(text)
    if np.allclose(even.lat_edges, grid.lat_edges, atol=2e-5) and np.allclose(even.lon_edges, grid.lon_edges, atol=2e-5):
        return text
    lat, lon = (np.round(edges, DECIMALS).tolist() for edges in (grid.lat_edges, grid.lon_edges))
    return json.dumps({"kind": "latlon", "lat_edges": lat, "lon_edges": lon}, separators=(",", ":"))
