"""What every loss is made of: masked sums with cell-area weights, and their division over the global batch. Masked cells never count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.errors import OrbitError

Pointwise = Callable[[Tensor, Tensor], Tensor]
DIAGONAL = 2**-0.5


@dataclass
class Terms:
    """Numerators and denominators [C] of the data term and the prior: sums over cells, to be added over ranks and tiles.

    The prior is whatever is added to the data term: total variation, log power, features; 0 / 1 where there is none. Of several of them
    [P, C], each with a weight of its own.
    """

    data: Tensor
    data_weight: Tensor
    prior: Tensor
    prior_weight: Tensor

    def packed(self) -> Tensor:
        """Denominators as one tensor [1 + P, C] (what ranks exchange before dividing)."""
        return torch.cat([self.data_weight[None], self.prior_weight.view(-1, len(self.data_weight))]).detach()


@dataclass
class Scored:
    """One batch ready to be compared: `prediction` ([M,] B, C, H, W) as given, `divided` and `truth` in units of `scale`;
    `weight` [B, C, H, W] is the cell area, 0 outside the core and where the truth is missing (there truth = prediction)."""

    prediction: Tensor
    divided: Tensor
    truth: Tensor
    weight: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """Weighted sum over samples and cells [C]."""
        return (self.weight * values).sum((0, 2, 3))

    def terms(self, values: Tensor, prior: tuple[Tensor, Tensor] | None = None) -> Terms:
        """Terms with `values` [B, C, H, W] as the data term; `prior` is a numerator and a denominator [C]."""
        data = self.sum(values)
        added = prior if prior is not None else (torch.zeros_like(data), torch.ones_like(data))
        return Terms(data, self.weight.sum((0, 2, 3)), *added)


def scored(prediction: Tensor, target: Tensor, weights: Tensor, scale: Tensor | None = None) -> Scored:
    """prediction [B, C, H, W], or an ensemble [M, B, C, H, W]; the rest as in `terms`. At least float32."""
    prediction = prediction if prediction.dtype == torch.float64 else prediction.float()
    mask = torch.isfinite(target)
    weight = weights.to(prediction.dtype).expand_as(target) * mask
    divisor = torch.ones((), dtype=prediction.dtype) if scale is None else scale[:, None, None].to(prediction.dtype)
    centre = prediction if prediction.ndim == target.ndim else prediction.mean(0)
    safe = torch.where(mask, target, centre.detach()).to(prediction.dtype)
    return Scored(prediction, prediction / divisor, safe / divisor, weight)


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target) ** 2


POINTWISE: dict[str, Pointwise] = {
    "bayesian_tv": squared,
    "mse": squared,
    "mae": lambda p, t: (p - t).abs(),
    "huber": lambda p, t: F.huber_loss(p, t, reduction="none"),
}


def terms(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor,
    periodic: bool,
    loss: str = "bayesian_tv",
    scale: Tensor | None = None,
    context: Tensor | None = None,
) -> Terms:
    """Sums of one batch. prediction, target [B, C, H, W] (target NaN = masked); weights broadcastable to it (cell area,
    0 outside the core); `scale` [C] divides errors before the pointwise function.

    The prior is sum M b |y_i - y_j| over the 8-neighbourhood, b = 1 for edges and 1/sqrt(2) for diagonals, longitude
    wrapped when periodic (paper eq. for the Bayesian TV loss). A pair belongs to the tile whose core holds its first cell:
    `context` (bool, like weights) marks halo cells that other tiles own and second cells may lie in; without it both cells
    lie in the core. Raises OrbitError for an unknown loss.
    """
    if loss not in POINTWISE:
        raise OrbitError("unknown loss", where="train.loss", got=loss, allowed=", ".join(POINTWISE), hint="choose one of these")
    cells = scored(prediction, target, weights, scale)
    values = POINTWISE[loss](cells.divided, cells.truth)
    if loss != "bayesian_tv":
        return cells.terms(values)
    first = (cells.weight > 0).to(cells.prediction.dtype)
    second = first if context is None else (((weights > 0) | context) & torch.isfinite(target)).to(first.dtype)
    return cells.terms(values, total_variation(cells.prediction, first, periodic, second))


def total_variation(fields: Tensor, mask: Tensor, periodic: bool, second_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(sum of M_ij b_ij |y_i - y_j|, sum of M_ij) per channel over the 8-neighbourhood, each pair once.

    `mask` holds for the first cell of a pair (the southern one; on a row the western one), `second_mask` for the other.
    """
    total, count = fields.new_zeros(fields.shape[1]), fields.new_zeros(fields.shape[1])
    others = mask if second_mask is None else second_mask
    for rows, columns, factor in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, DIAGONAL), (1, -1, DIAGONAL)):
        first, second = neighbours(fields, rows, columns, periodic)
        both = neighbours(mask, rows, columns, periodic)[0] * neighbours(others, rows, columns, periodic)[1]
        total = total + factor * (both * (first - second).abs()).sum((0, 2, 3))
        count = count + both.sum((0, 2, 3))
    return total, count


def neighbours(fields: Tensor, rows: int, columns: int, periodic: bool) -> tuple[Tensor, Tensor]:
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


def combine(
    part: Terms, denominators: Tensor, channel_weights: Tensor, prior_weight: float | Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, data term, prior): sums of this part over GLOBAL denominators [1 + P, C], weighted over channels. Of several priors, each
    with its `prior_weight`, the prior is their weighted sum.

    Added over all ranks it is the loss of the whole global batch; a channel without any valid cell counts nothing.
    """
    alive = (denominators[0] > 0).to(channel_weights.dtype) * channel_weights
    share = alive / alive.sum().clamp_min(1e-12)
    data = (share * part.data / denominators[0].clamp_min(1e-12)).sum()
    ratios = (share * part.prior.view(-1, len(share)) / denominators[1:].clamp_min(1e-12)).sum(1)
    if isinstance(prior_weight, float | int):
        return data + prior_weight * ratios[0], data, ratios[0]
    prior = torch.stack([weight * ratio for weight, ratio in zip(prior_weight, ratios, strict=True)]).sum()
    return data + prior, data, prior
