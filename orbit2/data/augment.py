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
    the halo cells that other tiles own. `mirrored`: north and south, and with them the seasons, are exchanged.
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
    mirrored: bool = False

    def part(self, first: int, last: int) -> Raw:
        """Some of whole samples."""
        return replace(self, coarse=self.coarse[first:last], fine=self.fine[first:last])


def coarsen(fine: Tensor, row_weights: Tensor, factor: int, min_valid: float = 0.5) -> Tensor:
    """Area-weighted means [..., H, W] over the valid cells of blocks of [..., sH, sW]; `row_weights` [sH].

    A block with less than `min_valid` of its area valid is missing, as in a store's coarse fields (`min_valid_fraction`).
    """
    weights = row_weights[:, None].to(fine.dtype)
    height, width = fine.shape[-2] // factor, fine.shape[-1] // factor

    def sums(values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-2], height, factor, width, factor).sum((-1, -3))

    totals = row_weights.to(fine.dtype).view(height, factor).sum(1)[:, None] * factor
    means: Tensor = sums(fine * weights) / totals
    broken = ~torch.isfinite(means)
    if not bool(broken.any()):
        return means
    valid = torch.isfinite(fine)
    area = sums(valid * weights)
    partial = sums(torch.where(valid, fine, 0.0) * weights) / area
    enough = (area >= (min_valid - 1e-6) * totals) & (area > 0)
    return torch.where(broken, torch.where(enough, partial, torch.nan), means)


def flip_north_south(raw: Raw, coarse_parity: Sequence[int], fine_parity: Sequence[int], static_parity: Sequence[int]) -> Raw:
    """The mirrored Earth: what was at latitude p is at -p, northward components and the latitude itself negated, seasons exchanged.

    The equations of motion allow it: at -p the Coriolis force has the opposite sign, so that wind and pressure still fit the
    latitude that the network is told. Land and mountains move with the weather; rows stay south to north.
    """

    def mirrored(fields: Tensor, parity: Sequence[int]) -> Tensor:
        result = fields.flip(-2)
        for i, sign in enumerate(parity):
            if sign != 1:
                result[..., i, :, :] *= sign
        return result

    return replace(
        raw,
        coarse=mirrored(raw.coarse, coarse_parity),
        fine=mirrored(raw.fine, fine_parity),
        static_coarse=mirrored(raw.static_coarse, static_parity),
        static_fine=mirrored(raw.static_fine, static_parity),
        weights=raw.weights.flip(0),
        lat=-raw.lat.flip(0),
        mirrored=not raw.mirrored,
    )
