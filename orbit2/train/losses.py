"""Losses with masks, cell-area weights and global denominators (paper section III-B, corrected). Masked cells never count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.errors import OrbitError

Pointwise = Callable[[Tensor, Tensor], Tensor]
DIAGONAL = 2**-0.5


@dataclass
class Terms:
    """Numerators and denominators [C] of the data term and the prior: sums over cells, to be added over ranks and tiles."""

    data: Tensor
    data_weight: Tensor
    prior: Tensor
    prior_weight: Tensor

    def packed(self) -> Tensor:
        """Denominators as one tensor [2, C] (what ranks exchange before dividing)."""
        return torch.stack([self.data_weight, self.prior_weight]).detach()


def _squared(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target) ** 2


POINTWISE: dict[str, Pointwise] = {
    "bayesian_tv": _squared,
    "mse": _squared,
    "mae": lambda p, t: (p - t).abs(),
    "huber": lambda p, t: F.huber_loss(p, t, reduction="none"),
}


def terms(
    prediction: Tensor, target: Tensor, weights: Tensor, periodic: bool, loss: str = "bayesian_tv", scale: Tensor | None = None
) -> Terms:
    """Sums of one batch. prediction, target [B, C, H, W] (target NaN = masked); weights broadcastable to it (cell area,
    0 outside the core); `scale` [C] divides errors before the pointwise function.

    The prior is sum M b |y_i - y_j| over the 8-neighbourhood, b = 1 for edges and 1/sqrt(2) for diagonals, longitude
    wrapped when periodic (paper eq. for the Bayesian TV loss). Raises OrbitError for an unknown loss.
    """
    if loss not in POINTWISE:
        raise OrbitError("unknown loss", got=loss, allowed=", ".join(POINTWISE))
    prediction = prediction if prediction.dtype == torch.float64 else prediction.float()
    mask = torch.isfinite(target)
    weight = weights.to(prediction.dtype).expand_as(prediction) * mask
    divisor = torch.ones((), dtype=prediction.dtype) if scale is None else scale[:, None, None].to(prediction.dtype)
    safe = torch.where(mask, target, prediction.detach()).to(prediction.dtype)
    data = (weight * POINTWISE[loss](prediction / divisor, safe / divisor)).sum((0, 2, 3))
    if loss == "bayesian_tv":
        prior, prior_weight = total_variation(prediction, (weight > 0).to(prediction.dtype), periodic)
    else:
        prior, prior_weight = torch.zeros_like(data), torch.ones_like(data)
    return Terms(data, weight.sum((0, 2, 3)), prior, prior_weight)


def total_variation(fields: Tensor, mask: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
    """(sum of M_ij b_ij |y_i - y_j|, sum of M_ij) per channel over the 8-neighbourhood, each pair once."""
    total, count = fields.new_zeros(fields.shape[1]), fields.new_zeros(fields.shape[1])
    for rows, columns, factor in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, DIAGONAL), (1, -1, DIAGONAL)):
        first, second = _neighbours(fields, rows, columns, periodic)
        both = torch.mul(*_neighbours(mask, rows, columns, periodic))
        total = total + factor * (both * (first - second).abs()).sum((0, 2, 3))
        count = count + both.sum((0, 2, 3))
    return total, count


def _neighbours(fields: Tensor, rows: int, columns: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """Pairs of cells (i, j) and (i + rows, j + columns)."""
    height, width = fields.shape[-2:]
    first, second = fields[..., : height - rows, :], fields[..., rows:, :]
    if columns == 0:
        return first, second
    if periodic:
        return first, second.roll(-columns, -1)
    if columns > 0:
        return first[..., : width - columns], second[..., columns:]
    return first[..., -columns:], second[..., : width + columns]


def combine(part: Terms, denominators: Tensor, channel_weights: Tensor, tv_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, data term, prior): sums of this part over GLOBAL denominators [2, C], weighted over channels.

    Added over all ranks it is the loss of the whole global batch; a channel without any valid cell counts nothing.
    """
    alive = (denominators[0] > 0).to(channel_weights.dtype) * channel_weights
    share = alive / alive.sum().clamp_min(1e-12)
    data = (share * part.data / denominators[0].clamp_min(1e-12)).sum()
    prior = (share * part.prior / denominators[1].clamp_min(1e-12)).sum()
    return data + tv_weight * prior, data, prior
