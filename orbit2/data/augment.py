"""Augmentation that respects physics: truth coarsened anew (for new positions of the coarse grid) and a mirrored Earth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orbit2.variables import variable


def coarsen(fine: Tensor, areas: Tensor, factor: int, min_valid: float = 0.5, *, complete: bool = False) -> Tensor:
    """Area-weighted means [..., H, W] over the valid cells of blocks of [..., sH, sW]; `areas` [sH] of rows, or [sH, sW].

    A block with less than `min_valid` of its area valid is missing, as in a store's coarse fields (`min_valid_fraction`).
    `complete`: known to miss nothing, which spares looking (a device need not be waited for).
    """
    weights = areas.to(fine.dtype)
    weights = weights[:, None] if areas.ndim == 1 else weights
    height, width = fine.shape[-2] // factor, fine.shape[-1] // factor

    def sums(values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-2], height, factor, width, factor).sum((-1, -3))

    rows = areas.to(fine.dtype)
    totals = rows.view(height, factor).sum(1)[:, None] * factor if areas.ndim == 1 else sums(rows)
    means: Tensor = sums(fine * weights) / totals
    if complete:
        return means
    broken = ~torch.isfinite(means)
    if broken.device.type == "cpu" and not bool(broken.any()):
        return means
    valid = torch.isfinite(fine)
    area = sums(valid * weights)
    partial = sums(torch.where(valid, fine, 0.0) * weights) / area
    enough = (area >= (min_valid - 1e-6) * totals) & (area > 0)
    return torch.where(broken, torch.where(enough, partial, torch.nan), means)


def mirror(fields: Tensor, names: Sequence[str]) -> Tensor:
    """Fields [..., V, H, W] of the mirrored Earth: what was at latitude p is at -p, northward components and the latitude negated.

    The equations of motion allow it: at -p the Coriolis force has the opposite sign, so that wind and pressure still fit the
    latitude that the network is told. Land and mountains move with the weather, the seasons are exchanged; rows stay south to north.
    """
    return turn_signs(fields.flip(-2), names)


def turn_signs(fields: Tensor, names: Sequence[str]) -> Tensor:
    """What points north in [..., V, H, W] negated, in place."""
    for i, name in enumerate(names):
        if variable(name).parity != 1:
            fields[..., i, :, :].neg_()
    return fields
