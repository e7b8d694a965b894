"""Arithmetic of cell edges along one axis: what grids are built with. Never knows what an axis means."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import lcm

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def exact_edges(low: Fraction, high: Fraction, cells: int) -> Array:
    """`cells` + 1 edges from integer numerators: each the double nearest to its exact value."""
    denominator = lcm(low.denominator, high.denominator) * cells
    first, step = int(low * denominator), int((high - low) * denominator) // cells
    edges: Array = (first + step * np.arange(cells + 1, dtype=np.int64)) / denominator
    return edges


def edge_digest(*axes: Array, decimals: int, more: str = "") -> str:
    """12 hex digits of edges rounded to `decimals`, and of `more`."""
    parts = [(np.round(edges, decimals) + 0.0).tobytes() for edges in axes]  # + 0.0: no negative zero
    return hashlib.sha256(b"|".join([*parts, *([more.encode()] if more else [])])).hexdigest()[:12]


def midpoints(centres: Array) -> Array:
    """Edges [n + 1] half-way between centres [n >= 2]; the outer cells are symmetric about theirs."""
    inner = (centres[:-1] + centres[1:]) / 2
    edges: Array = np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])
    return edges


def subdivide(edges: Array, factor: int) -> Array:
    """Edges [factor n + 1] of cells [n + 1 edges] that are each cut into `factor` equal ones."""
    fractions = np.arange(factor) / factor
    inner = edges[:-1, None] + np.diff(edges)[:, None] * fractions[None]
    result: Array = np.append(inner.ravel(), edges[-1])
    return result


def brief(values: Array) -> str:
    """Values as an error names them."""
    flat = np.asarray(values).ravel()
    return f"{len(flat)} values from {flat[0]:g} to {flat[-1]:g}" if len(flat) else "no values"
