"""Canny's edges of a batch of maps with tensor operations (Canny 1986), without the hysteresis loop. Carries no gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from orbit2.model.geometry import pad

SIGMA = 1.0  # cells; smoothing before the gradient
_bell = [math.exp(-0.5 * (cell / SIGMA) ** 2) for cell in range(-2, 3)]
GAUSS = [share / sum(_bell) for share in _bell]
RISE, MEAN = (-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)  # Sobel's
WEAK, STRONG = 1.0, 2.0  # thresholds in units of a map's own mean gradient, so that scale and offset do not matter
# lines across an edge: east, north-east, north, north-west, as (rows, columns)
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))


@torch.no_grad()
def canny(maps: Tensor, periodic: bool) -> Tensor:
    """maps [B, H, W] -> edges [B, H, W] in {0, 1, 2}: none, weak, strong; longitude wraps when periodic, latitude replicates.

    Smooth, take Sobel gradients, keep the crest across the gradient, compare it with the map's mean gradient. A constant
    map has no edges.
    """
    maps = maps.detach().float()
    smooth = _separable(maps, GAUSS, GAUSS, periodic)
    east, north = _separable(smooth, MEAN, RISE, periodic), _separable(smooth, RISE, MEAN, periodic)
    steep = torch.hypot(east, north)
    crest = steep * _is_crest(steep, east, north, periodic)
    typical = steep.mean((1, 2), keepdim=True)
    # differences of rounding are no edges
    typical = torch.where(typical > 1e-5 * maps.abs().amax((1, 2), keepdim=True), typical, torch.inf)
    return (crest > WEAK * typical).to(maps.dtype) + (crest > STRONG * typical).to(maps.dtype)


def _separable(maps: Tensor, rows: Sequence[float], columns: Sequence[float], periodic: bool) -> Tensor:
    """Convolve [B, H, W] with the outer product of two odd kernels."""
    return _along(_along(_pad(maps, len(rows) // 2, len(columns) // 2, periodic), rows, 1), columns, 2)


def _along(maps: Tensor, kernel: Sequence[float], dim: int) -> Tensor:
    """A sum of shifted maps: what is called a convolution would be one of bfloat16 under autocast, of TF32 on a GPU."""
    size = maps.shape[dim] - len(kernel) + 1
    first, *others = ((maps.narrow(dim, i, size), weight) for i, weight in enumerate(kernel) if weight)
    total = first[0] * first[1]
    for shifted, weight in others:
        total = torch.add(total, shifted, alpha=weight)
    return total


def _pad(maps: Tensor, north: int, east: int, periodic: bool) -> Tensor:
    """As geometry.pad; a grid narrower than the margin is wrapped one column at a time."""
    while east > maps.shape[-1]:
        maps, east = pad(maps, 0, 1, periodic, west=1), east - 1
    return pad(maps, north, east, periodic, south=north, west=east)


def _is_crest(steep: Tensor, east: Tensor, north: Tensor, periodic: bool) -> Tensor:
    """Whether a cell is at least as steep as its neighbour on one side of the line across the edge, and steeper than the other.

    Unequal comparisons leave one of two equal neighbours, and none of a plateau.
    """
    height, width = steep.shape[1:]
    same = 1e-3 * steep.mean((1, 2), keepdim=True)  # closer ones count as equal: rounding makes no crests on an even slope
    around = _pad(steep, 1, 1, periodic)

    def shifted(rows: int, columns: int) -> Tensor:
        return around[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    octant = torch.round(torch.atan2(north, east) * (4 / math.pi)).long() % 4  # opposite directions are the same line
    lines = [(steep >= shifted(-r, -c) - same) & (steep > shifted(r, c) + same) for r, c in DIRECTIONS]
    return torch.stack(lines).gather(0, octant[None])[0]
