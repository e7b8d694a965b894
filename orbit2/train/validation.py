"""Validation on held-out samples, in units a user understands: RMSE over the RMSE of plain interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import Batch, Pairs
from orbit2.model.build import Downscaling
from orbit2.parallel.launch import Ranks, total
from orbit2.variables import is_precipitation

SCALE_SAMPLES = 64


@torch.no_grad()
def validate_model(
    model: Downscaling, datasets: Sequence[Pairs], dtype: torch.dtype | None, here: Ranks, cutting: Cutting | None = None
) -> dict[str, Any]:
    """{"validation_loss": mean over outputs of RMSE / interpolation RMSE, "validation_ratio": {output: ratio}}.

    In network space (ln(1 + mm) for precipitation, not below dry), area-weighted over the core; samples shared by ranks. With
    `cutting` on all tiles of a sample, one at a time: memory does not grow with the grid.
    """
    model.eval()
    sums = torch.zeros(2, len(model.outputs), dtype=torch.float64, device=here.device)
    for pairs in datasets:
        for index in pairs.indices[here.rank :: here.world]:
            for piece in pairs.pieces(int(index), cutting):
                batch = piece.to(here.device)
                with torch.autocast(here.device.type, dtype, enabled=dtype is not None):
                    prediction = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
                base = model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
                batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
                dry = _dry(model.outputs, pairs)
                for row, fields in enumerate((prediction.float(), base)):
                    sums[row] += _squares(torch.maximum(fields, dry.to(fields.device)), batch)
    sums = total(sums)
    ratio = (sums[0] / sums[1].clamp_min(1e-30)).sqrt()
    ratio = torch.where(sums[1] > 0, ratio, torch.nan)
    return {"validation_loss": float(ratio.nanmean()), "validation_ratio": dict(zip(model.outputs, ratio.tolist(), strict=True))}


def _dry(outputs: Sequence[str], pairs: Pairs) -> Tensor:
    """Lower bound [C, 1, 1] in network space: no rain for precipitation, none for the others."""
    zero = pairs.normaliser.normalise(torch.zeros(len(outputs), 1, 1), outputs)
    return torch.stack([zero[i] if is_precipitation(name) else torch.full((1, 1), -torch.inf) for i, name in enumerate(outputs)])


def _squares(fields: Tensor, batch: Batch) -> Tensor:
    error = torch.where(torch.isfinite(batch.fine), fields - batch.fine, 0.0) ** 2 * batch.weights
    return error.double().sum((0, 2, 3))


@torch.no_grad()
def residual_scale(model: Downscaling, datasets: Sequence[Pairs]) -> Tensor:
    """RMSE of the interpolation per output [C] over (at most 64) TRAINING samples: the unit both paths predict in."""
    sums = torch.zeros(2, len(model.outputs), dtype=torch.float64)
    for pairs in datasets:
        for index in pairs.indices[:: max(1, len(pairs.indices) // SCALE_SAMPLES)][:SCALE_SAMPLES]:
            batch = pairs.batch([int(index)])
            base = model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            sums[0] += _squares(base, batch)
            sums[1] += (torch.isfinite(batch.fine) * batch.weights).double().sum((0, 2, 3))
    scale = (sums[0] / sums[1].clamp_min(1e-12)).sqrt().float()
    return torch.where(scale > 1e-6, scale, torch.ones_like(scale))
