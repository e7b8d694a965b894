"""Augmentation that respects physics: truth coarsened anew (for new positions of the coarse grid) and a mirrored Earth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Raw:
    """Physical fields of a batch: coarse [B, V, H, W], fine [B, C, sH, sW], statics [S, ..], weights [sH, sW], centres [H], [W].

    Cut into tiles (orbit2.data.cutting) all but `periodic` have the leading dimension B, and `context` [B, sH, sW] marks
    the halo cells that other tiles own.
    """

    coarse: Tensor
    fine: Tensor
    static_coarse: Tensor
    static_fine: Tensor
    weights: Tensor
    lat: Tensor
    lon: Tensor
    periodic: bool
    context: Tensor | None = None


def coarsen(fine: Tensor, row_weights: Tensor, factor: int) -> Tensor:
    """Area-weighted block means [..., sH, sW] -> [..., H, W]; `row_weights` [sH]. A block with a missing cell is missing."""
    weights = row_weights[:, None].to(fine.dtype)
    height, width = fine.shape[-2] // factor, fine.shape[-1] // factor
    blocks = (fine * weights).reshape(*fine.shape[:-2], height, factor, width, factor).sum((-1, -3))
    totals = row_weights.to(fine.dtype).view(height, factor).sum(1)[:, None] * factor
    means: Tensor = blocks / totals
    return means


def flip_north_south(raw: Raw, coarse_parity: Sequence[int], fine_parity: Sequence[int]) -> Raw:
    """The mirrored Earth: rows reversed, northward components negated, Coriolis and terrain mirrored with them.

    Cells keep their true latitude (row order is then north to south), so the position embedding still knows the place.
    """
    signs = [torch.tensor(p, dtype=raw.fine.dtype)[:, None, None] for p in (coarse_parity, fine_parity)]
    return replace(
        raw,
        coarse=raw.coarse.flip(-2) * signs[0],
        fine=raw.fine.flip(-2) * signs[1],
        static_coarse=raw.static_coarse.flip(-2),
        static_fine=raw.static_fine.flip(-2),
        weights=raw.weights.flip(0),
        lat=raw.lat.flip(0),
    )
