"""Exact conservation: the area mean of a coarse cell's fine cells is the coarse value (Harder et al. 2023, additive form)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.model.geometry import Geometry
from orbit2.variables import is_precipitation


def conserve_blocks(
    base: Tensor, detail: Tensor, coarse: Tensor, inputs: Sequence[str], outputs: Sequence[str], geometry: Geometry, factor: int
) -> Tensor:
    """`detail` [B, C, sH, sW] changed by one constant per coarse cell so that base + detail has the input's block means.

    Only for outputs that are inputs and not precipitation (whose normalised space is not linear in mm). Valid where the
    input IS the block mean of the target. Cells with a missing input are left alone.
    """
    chosen = [i for i, name in enumerate(outputs) if name in inputs and not is_precipitation(name)]
    if not chosen:
        return detail
    names = list(inputs)
    target = coarse[:, [names.index(outputs[i]) for i in chosen]]
    weights = row_weights(geometry, factor)[:, None, :, None]  # [B, 1, sH, 1]
    fine = (base + detail)[:, chosen]
    mean = F.avg_pool2d(fine * weights, factor) / F.avg_pool2d(weights.expand(-1, -1, -1, factor), factor)
    gap = torch.nan_to_num(target - mean)
    shift = torch.zeros_like(detail)
    shift[:, chosen] = gap.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    return detail + shift


def row_weights(geometry: Geometry, factor: int) -> Tensor:
    """Relative areas of the fine rows [B, sH]: difference of the sine of their edges."""
    lat = geometry.lat
    step = (lat[:, -1:] - lat[:, :1]) / max(lat.shape[1] - 1, 1) if lat.shape[1] > 1 else torch.full_like(lat[:, :1], 1.0)
    offsets = torch.arange(factor, device=lat.device) / factor - 0.5
    south = (lat[:, :, None] + step[:, :, None] * offsets).flatten(1)
    north = south + step / factor
    south, north = (torch.sin(torch.deg2rad(edge.clamp(-90, 90))) for edge in (south, north))
    return (north - south).abs().clamp_min(1e-9)
