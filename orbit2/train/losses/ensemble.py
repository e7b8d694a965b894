"""Losses that see more than the mean: quantiles of the truth, and the CRPS of an ensemble. Masks are the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orbit2.data.transforms import Normaliser, curved
from orbit2.train.losses.spectral import FLOOR, Core, mean_power
from orbit2.train.losses.terms import neighbours
from orbit2.variables import is_precipitation, transform_of, variable

DRIZZLE = 0.01  # mm under the root of the rain term
WAVES = 6  # wavenumbers, about, whose power is averaged before the logarithm: that of single ones is too noisy for few members
NONE = -1e30


def pinball(prediction: Tensor, truth: Tensor, level: Tensor) -> Tensor:
    """Pinball loss per cell, least where `prediction` is the `level` quantile of the truth (Koenker & Bassett 1978).

    level [C, 1, 1] in (0, 1); at 0.5 it is half the absolute error.
    """
    error = truth - prediction
    return torch.maximum(level * error, (level - 1) * error)


def fair_crps(members: Tensor, truth: Tensor, alpha: float = 1.0) -> Tensor:
    """Almost fair CRPS per cell: mean |x_i - y| - (1 - (1 - alpha) / M) sum_{i<j} |x_i - x_j| / (M (M - 1)). members [M, ...], truth [...].

    `alpha` 1 is the fair form (Ferro 2014), 0 the usual one; 0.95 keeps two members, of which one is right, from ignoring the other (Lang
    et al. 2024, arXiv 2412.15832, equation 4). sum_{i<j} |x_i - x_j| is a weighted sum of the sorted members, so memory is M fields, not
    M^2. Zero or negative values are possible for single cells: only the expectation has its minimum at the truth's distribution.
    """
    count = members.shape[0]
    if count == 2:
        pairs = (members[0] - members[1]).abs()
    else:
        rank = torch.arange(count, dtype=members.dtype, device=members.device).view(-1, *[1] * (members.ndim - 1))
        pairs = ((2 * rank - (count - 1)) * members.sort(0).values).sum(0)
    return (members - truth).abs().mean(0) - (1 - (1 - alpha) / count) * pairs / (count * (count - 1))


def of_differences(members: Tensor, truth: Tensor, weight: Tensor, second: Tensor, periodic: bool, alpha: float) -> tuple[Tensor, Tensor]:
    """Numerator and denominator [C] of the mean CRPS of differences between neighbours, east and north.

    members [M, B, C, H, W], truth and `weight` [B, C, H, W]. A pair counts by the area of its first cell (the southern, the western one),
    where `second` holds for the other: it belongs to the tile whose core holds the first.
    """
    total, count = weight.new_zeros(weight.shape[1]), weight.new_zeros(weight.shape[1])
    for rows, columns in ((0, 1), (1, 0)):
        pairs = [neighbours(field, rows, columns, periodic) for field in (members, truth, weight, second)]
        area = pairs[2][0] * pairs[3][1]
        found = fair_crps(pairs[0][1] - pairs[0][0], pairs[1][1] - pairs[1][0], alpha)
        total = total + (area * found).sum((0, 2, 3))
        count = count + area.sum((0, 2, 3))
    return total, count


def of_log_power(
    members: Tensor, truth: Tensor, weight: Tensor, core: Core, segment: int, periodic: bool, alpha: float
) -> tuple[Tensor, Tensor]:
    """Numerator and denominator [C] of the mean CRPS of ln(P + floor): bands of rows and segments as in `log_power`, P the power of a band
    averaged over about `WAVES` wavenumbers. members [M, B, C, H, W]."""
    found = mean_power([*members, truth], weight, core, segment, periodic)
    if found is None:
        return weight.new_zeros(weight.shape[1]), weight.new_zeros(weight.shape[1])
    power, area = found  # [M + 1, B, C, bands, S, K], [B, C, bands, S]
    groups = max(round(power.shape[-1] / WAVES), 1)
    power = torch.stack([part.mean(-1) for part in power.tensor_split(groups, -1)], -1)
    logarithm = torch.log(power + FLOOR)
    crps = fair_crps(logarithm[:-1], logarithm[-1], alpha).mean(-1)
    return (area * crps).sum((0, 2, 3)), area.sum((0, 2, 3))


@dataclass(frozen=True)
class Amounts:
    """What a model's normalised outputs are in their own units: `least` [C, 1, 1] (rain none, the beginning of a curved range; NONE
    without one), `rain` [C] whether a channel is rain seen as ln(1 + mm), `mean` and `std` [C, 1, 1]."""

    least: Tensor
    rain: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, outputs: Sequence[str], normaliser: Normaliser) -> Amounts:
        rain = torch.tensor([is_rain(name) for name in outputs])
        moments = torch.tensor([normaliser.moments[name] for name in outputs])[:, :, None, None]
        return cls(least(outputs, normaliser), rain, moments[:, 0], moments[:, 1])

    def to(self, device: torch.device) -> Amounts:
        return Amounts(*(each.to(device) for each in (self.least, self.rain, self.mean, self.std)))

    def roots(self, fields: Tensor) -> Tensor:
        """sqrt(mm + DRIZZLE) of the rain in normalised fields [..., C, H, W]; 0 in other channels."""
        rain = self.rain[:, None, None]
        seen = torch.where(rain, fields * self.std.to(fields.dtype) + self.mean.to(fields.dtype), 0.0)
        return torch.where(rain, (torch.expm1(seen).clamp_min(0) + DRIZZLE).sqrt(), 0.0)


def is_rain(name: str) -> bool:
    """Whether it is rain, seen as ln(1 + mm)."""
    return is_precipitation(name) and transform_of(name) == "log1p"


def least(outputs: Sequence[str], normaliser: Normaliser) -> Tensor:
    """Lower bound [C, 1, 1] in network space: no rain for precipitation, the beginning of the range for what is seen through a transform,
    NONE for the others."""
    first = torch.tensor([float(variable(name).valid[0]) for name in outputs])
    low = normaliser.normalise(first[:, None, None], outputs)
    return torch.stack([low[i] if curved(name) else torch.full((1, 1), NONE) for i, name in enumerate(outputs)])

