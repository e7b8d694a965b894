"""Exact conservation: the area mean of a coarse cell's fine cells is the coarse value (Harder et al. 2023, JMLR 24:365).

Valid where the input IS the block mean of the target. What a network sees as a logarithm or a logit is conserved in its own units, rain in
mm: it is never made negative, and a fraction stays one. Never looks at a truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.config.network import Conserve
from orbit2.data.curves import CURVED, SQUEEZE
from orbit2.model.geometry import Geometry
from orbit2.variables import is_precipitation, transform_of, variable

DRIZZLE = 0.01  # mm, so that a block predicted dry can still carry its input's rain
SHARPNESS = 1.5
DRY = 1e-6  # mm: rain below it is rounding, of a block or of an input
RAIN_RANGE = 10_000.0  # mm a day, the end of precipitation's range
TINY = 1e-12
Layer = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # (prediction, input, areas, factor), rain in mm -> conserved


def constrained(conserve: Conserve, name: str, training: bool) -> bool:
    """Whether the output `name` is conserved in this pass.

    `true` spares rain while training: the loss is in ln(1 + mm), and learning through its scaling was measured to be worse in both spaces;
    and so whatever else the loss sees through a transform.
    A layer that is named is part of the network, always.
    """
    return bool(conserve) and not (conserve is True and training and transform_of(name) in CURVED)


def conserve_blocks(
    fine: Tensor,
    coarse: Tensor,
    inputs: Sequence[str],
    outputs: Sequence[str],
    geometry: Geometry,
    factor: int,
    moments: Tensor,
    conserve: Conserve,
    training: bool = False,
    leak: float = 0.0,
) -> Tensor:
    """`fine` [B, C, sH, sW] changed so that its block means are the input's, for the outputs that are inputs.

    All in network space; `moments` [C, 2] are mean and standard deviation of the outputs. `conserve`: see
    `ArchitectureConfig`. Cells with a missing input are left alone. `leak`: share of the gradient that rain below none, which counts as
    none, still gets.
    """
    names = list(inputs)
    weights = cell_weights(geometry, factor).to(fine.dtype)
    channels = []
    for i, name in enumerate(outputs):
        field = fine[:, i : i + 1]
        if name in names and constrained(conserve, name, training):
            source = coarse[:, names.index(name)][:, None].to(fine.dtype)
            mean, std = moments[i]
            if transform_of(name) == "log1p":
                field = _rain(field, source, weights, factor, mean, std, conserve, unit_of(name), leak)
            elif transform_of(name) == "logit":
                field = _fraction(field, source, weights, factor, mean, std)
            elif conserve == "multiplicative" and variable(name).valid[0] >= 0:
                field = _stretched(field, source, weights, factor, mean / std)
            else:
                field = _shifted(field, source, weights, factor)
        channels.append(field)
    return torch.cat(channels, 1)


def _shifted(field: Tensor, source: Tensor, weights: Tensor, factor: int) -> Tensor:
    """Additive: the block's difference is added to all of its cells."""
    return field + _spread(torch.nan_to_num(source - block_mean(field, weights, factor)), factor)


def _stretched(field: Tensor, source: Tensor, weights: Tensor, factor: int, origin: Tensor) -> Tensor:
    """Multiplicative, of a quantity that is never negative: normalised values + `origin` are proportional to it."""
    predicted = block_mean(field, weights, factor)
    return field + (field + origin) * _spread(torch.nan_to_num((source - predicted) / (predicted + origin)), factor)


def unit_of(name: str) -> float:
    """What DRIZZLE and DRY are counted in: 1 mm of precipitation; of anything else as much of its range as 1 mm is of that of rain (a mass
    fraction of ozone is 1e-5 at most, and would all be dry)."""
    return 1.0 if is_precipitation(name) else variable(name).valid[1] / RAIN_RANGE


def _rain(
    field: Tensor, source: Tensor, weights: Tensor, factor: int, mean: Tensor, std: Tensor, conserve: Conserve, unit: float, leak: float
) -> Tensor:
    """Precipitation [B, 1, sH, sW], conserved in mm; or another amount that is seen as a logarithm, in units of `unit`."""
    amount = torch.expm1(source * std + mean).clamp_min(0) / unit
    amount = torch.where(amount > DRY, amount, 0.0)
    if conserve == "softmax":
        conserved = softmax_layer(field, amount, weights, factor)
    else:
        seen = leaky(field * std + mean, leak) if leak else field * std + mean
        conserved = RAIN[conserve](torch.expm1(seen).clamp_min(0) / unit, amount, weights, factor)
    return torch.where(_spread(torch.isfinite(source), factor), (torch.log1p(conserved * unit) - mean) / std, field)


def leaky(values: Tensor, leak: float, least: Tensor | float = 0.0) -> Tensor:
    """`values`, at least `least`; where they are below it, the share `leak` of a gradient goes on to them."""
    floor = least.to(values) if isinstance(least, Tensor) else values.new_full((), least)  # filled on the device: no copy from the host
    below = torch.minimum(values, floor)
    return torch.where(values < least, least, values) + leak * (below - below.detach())


def _fraction(field: Tensor, source: Tensor, weights: Tensor, factor: int, mean: Tensor, std: Tensor) -> Tensor:
    """A share [B, 1, sH, sW] of a range, conserved as a share: a surplus is scaled towards the range's beginning, a deficit towards its
    end, so that no cell leaves it."""
    given, share = (_share(x * std + mean) for x in (source, field))
    predicted = block_mean(share, weights, factor)
    down = share * _spread(given / predicted.clamp_min(TINY), factor)
    up = 1 - (1 - share) * _spread((1 - given) / (1 - predicted).clamp_min(TINY), factor)
    conserved = torch.where(_spread(given > predicted, factor), up, down).clamp(0, 1)
    seen = (torch.logit(SQUEEZE + (1 - 2 * SQUEEZE) * conserved) - mean) / std
    return torch.where(_spread(torch.isfinite(source), factor), seen, field)


def _share(logit: Tensor) -> Tensor:
    return ((torch.sigmoid(logit) - SQUEEZE) / (1 - 2 * SQUEEZE)).clamp(0, 1)


def deficit_layer(rain: Tensor, amount: Tensor, weights: Tensor, factor: int) -> Tensor:
    """A surplus is scaled away, a deficit added in proportion to rain^1.5.

    A mean of logarithms falls short of the mean amount where it rains most, so that is where the missing rain belongs.
    """
    predicted = block_mean(rain, weights, factor)
    surplus = rain * _spread(amount / predicted.clamp_min(1e-12), factor)
    shape = (rain + DRIZZLE) ** SHARPNESS
    deficit = rain + shape * _spread((amount - predicted) / block_mean(shape, weights, factor), factor)
    return torch.where(_spread(amount > predicted, factor), deficit, surplus)


def multiplicative_layer(rain: Tensor, amount: Tensor, weights: Tensor, factor: int) -> Tensor:
    """rain x amount / mean(rain); a block that is predicted dry gets its input's rain evenly."""
    rain = rain + _spread((block_mean(rain, weights, factor) <= DRY).to(rain.dtype) * DRIZZLE, factor)
    return rain * _spread(amount / block_mean(rain, weights, factor), factor)


def additive_layer(rain: Tensor, amount: Tensor, weights: Tensor, factor: int) -> Tensor:
    """max(rain + c, 0) with the one c of a block that makes its mean the amount: the nearest non-negative field that conserves.

    c is found among the block's cells in descending order (the projection onto a simplex of Held et al. 1974, by area).
    """
    cells = _blocks(rain, factor)  # [B, H, W, s^2]
    areas = _blocks(weights.expand_as(rain), factor)
    ordered, order = cells.sort(-1, descending=True)
    area = areas.gather(-1, order)
    held = area.cumsum(-1)
    shift = (amount[:, 0, :, :, None] * areas.sum(-1, keepdim=True) - (area * ordered).cumsum(-1)) / held  # if the first k stay wet
    wet = (ordered + shift > 0).sum(-1, keepdim=True).clamp_min(1)
    return _fields((cells + shift.gather(-1, wet - 1)).clamp_min(0), factor)


def softmax_layer(field: Tensor, amount: Tensor, weights: Tensor, factor: int) -> Tensor:
    """amount x exp(field) / mean(exp(field)) in mm, of the network's own output [B, 1, sH, sW]."""
    share = torch.exp(field - _spread(F.max_pool2d(field, factor), factor))
    return share * _spread(amount / block_mean(share, weights, factor), factor)


RAIN: dict[Conserve, Layer] = {True: deficit_layer, "additive": additive_layer, "multiplicative": multiplicative_layer}


def block_mean(field: Tensor, weights: Tensor, factor: int) -> Tensor:
    """Area-weighted block means [B, 1, sH, sW] -> [B, 1, H, W]; `weights` [B, 1, sH, 1 or sW]."""
    cells = weights.expand(-1, -1, -1, factor) if weights.shape[-1] == 1 else weights
    return F.avg_pool2d(field * weights, factor) / F.avg_pool2d(cells, factor)


def _spread(coarse: Tensor, factor: int) -> Tensor:
    return coarse.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def _blocks(fine: Tensor, factor: int) -> Tensor:
    """[B, 1, sH, sW] -> [B, H, W, s^2]: the cells of each block."""
    batch, _, height, width = fine.shape
    cells = fine.reshape(batch, height // factor, factor, width // factor, factor)
    return cells.transpose(2, 3).flatten(3)


def _fields(cells: Tensor, factor: int) -> Tensor:
    """What `_blocks` took apart."""
    batch, height, width, _ = cells.shape
    return cells.view(batch, height, width, factor, factor).transpose(2, 3).reshape(batch, 1, height * factor, width * factor)


def cell_weights(geometry: Geometry, factor: int) -> Tensor:
    """Relative areas of the fine cells [B, 1, sH, 1], or [B, 1, sH, sW] where the cells of a row differ."""
    return row_weights(geometry, factor)[:, None, :, None] if geometry.areas is None else geometry.areas[:, None]


def row_weights(geometry: Geometry, factor: int) -> Tensor:
    """Relative areas of the fine rows [B, sH], float32: difference of the sine of their edges.

    In float64, from where the pole is: in float32 the rows beside it would be wrong by 1e-3, and rain with them.
    """
    lat = geometry.lat.double()
    rows = lat.shape[1]
    step = (lat[:, -1:] - lat[:, :1]) / max(rows - 1, 1) if rows > 1 else torch.full_like(lat[:, :1], 1.0)
    south = lat[:, :1] - step / 2
    for edge, pole in ((lat[:, -1:] + step / 2, 90.0), (south, -90.0)):
        south = south + torch.where((edge - pole).abs() < 1e-3 * step, pole - edge, 0.0)
    edges = south + step / factor * torch.arange(rows * factor + 1, device=lat.device, dtype=lat.dtype)
    return torch.sin(torch.deg2rad(edges.clamp(-90, 90))).diff(dim=1).abs().clamp_min(1e-9).float()
