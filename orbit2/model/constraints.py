"""Exact conservation: the area mean of a coarse cell's fine cells is the coarse value (Harder et al. 2023, JMLR 24).

Additive for linear fields, in mm for precipitation; valid where the input IS the block mean of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.model.geometry import Geometry
from orbit2.variables import is_precipitation

DRIZZLE = 0.01  # mm, so that a block predicted dry can still carry its input's rain
SHARPNESS = 1.5


def conserve_blocks(
    fine: Tensor,
    coarse: Tensor,
    inputs: Sequence[str],
    outputs: Sequence[str],
    chosen: Sequence[int],
    geometry: Geometry,
    factor: int,
    moments: Tensor,
) -> Tensor:
    """`fine` [B, C, sH, sW] changed so that its block means are the input's, for the `chosen` outputs that are inputs.

    All in network space; `moments` [C, 2] are mean and standard deviation of the outputs, needed to conserve precipitation
    in mm. Cells with a missing input are left alone.
    """
    names = list(inputs)
    weights = row_weights(geometry, factor)[:, None, :, None].to(fine.dtype)  # [B, 1, sH, 1]
    channels = []
    for i, name in enumerate(outputs):
        field = fine[:, i : i + 1]
        if i in chosen and name in names:
            source = coarse[:, names.index(name)][:, None].to(fine.dtype)
            mean, std = moments[i]
            field = (
                _scaled(field, source, weights, factor, mean, std) if is_precipitation(name) else _shifted(field, source, weights, factor)
            )
        channels.append(field)
    return torch.cat(channels, 1)


def _shifted(field: Tensor, source: Tensor, weights: Tensor, factor: int) -> Tensor:
    return field + _spread(torch.nan_to_num(source - block_mean(field, weights, factor)), factor)


def _scaled(field: Tensor, source: Tensor, weights: Tensor, factor: int, mean: Tensor, std: Tensor) -> Tensor:
    """Precipitation in mm: a surplus is scaled away, a deficit added in proportion to rain^1.5.

    A mean of logarithms falls short of the mean amount where it rains most, so that is where the missing rain belongs.
    """
    amount = torch.expm1(source * std + mean).clamp_min(0)
    amount = torch.where(amount > 1e-6, amount, 0.0)
    rain = torch.expm1(field * std + mean).clamp_min(0)
    predicted = block_mean(rain, weights, factor)
    surplus = rain * _spread(amount / predicted.clamp_min(1e-12), factor)
    shape = (rain + DRIZZLE) ** SHARPNESS
    deficit = rain + shape * _spread((amount - predicted) / block_mean(shape, weights, factor), factor)
    conserved = torch.where(_spread(amount > predicted, factor), deficit, surplus)
    return torch.where(_spread(torch.isfinite(source), factor), (torch.log1p(conserved) - mean) / std, field)


def block_mean(field: Tensor, weights: Tensor, factor: int) -> Tensor:
    """Area-weighted block means [B, 1, sH, sW] -> [B, 1, H, W]; `weights` [B, 1, sH, 1]."""
    return F.avg_pool2d(field * weights, factor) / F.avg_pool2d(weights.expand(-1, -1, -1, factor), factor)


def _spread(coarse: Tensor, factor: int) -> Tensor:
    return coarse.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def row_weights(geometry: Geometry, factor: int) -> Tensor:
    """Relative areas of the fine rows [B, sH]: difference of the sine of their edges."""
    lat = geometry.lat
    step = (lat[:, -1:] - lat[:, :1]) / max(lat.shape[1] - 1, 1) if lat.shape[1] > 1 else torch.full_like(lat[:, :1], 1.0)
    offsets = torch.arange(factor, device=lat.device) / factor - 0.5
    south = (lat[:, :, None] + step[:, :, None] * offsets).flatten(1)
    north = south + step / factor
    south, north = (torch.sin(torch.deg2rad(edge.clamp(-90, 90))) for edge in (south, north))
    return (north - south).abs().clamp_min(1e-9)
