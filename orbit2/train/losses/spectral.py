"""Log power of prediction against truth along parallels, in tapered segments without a missing cell. Blind to phase."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orbit2.model.geometry import valueless

BAND = 8  # rows whose power is averaged before the logarithm, which would otherwise see one draw's noise
Core = Tensor | tuple[slice, slice]
FLOOR = 1e-3  # of the power density of white noise as large as the interpolation's error


def log_power(prediction: Tensor, truth: Tensor, weight: Tensor, core: Core, segment: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """Numerator and denominator [C] of the mean square difference of log power.

    prediction, truth, weight [B, C, H, W] (units of the interpolation's error; weight 0 where masked), core: a rectangle, as rows and
    columns or as [H, W] bool. Every row of the core is cut into segments of `segment` cells, half overlapping and wrapped when periodic
    (Welch 1967); of each the mean is removed, a Hann taper applied (none where it is the whole circle) and the one-sided power taken at
    wavenumbers 1 .. segment/2, scaled so that white noise of variance 1 has density 1. Segments with a masked cell are left out.
    Power is averaged, by area, over bands of 8 rows, and a band counts by its area:
    sum_band area mean_k (ln(P + floor) - ln(T + floor))^2 / sum_band area. Prediction and truth meet on the same rows at the
    same wavenumber, so latitude needs no other care; a segment lies within one tile.
    """
    found = mean_power([prediction, truth], weight, core, segment, periodic)
    if found is None:
        return weight.new_zeros(weight.shape[1]), weight.new_zeros(weight.shape[1])
    mean, total = found
    logarithm = torch.log(mean + FLOOR)
    difference = ((logarithm[0] - logarithm[1]) ** 2).mean(-1)
    return (total * difference).sum((0, 2, 3)), total.sum((0, 2, 3))


def mean_power(
    fields: Sequence[Tensor], weight: Tensor, core: Core, segment: int, periodic: bool
) -> tuple[Tensor, Tensor] | None:
    """Of F fields [B, C, H, W]: (power [F, B, C, bands, S, K] averaged by area over bands of 8 rows, area of each [B, C, bands, S]), as
    `log_power` has them; None where the core is less than two columns wide."""
    extent = extent_of(core) if isinstance(core, Tensor) else core
    if extent[1].stop - extent[1].start < 2 or extent[0].stop == extent[0].start:
        return None
    inside = (..., *extent)
    closed = periodic and extent[1].stop - extent[1].start == weight.shape[-1]
    weight = weight[inside]
    valid = weight > 0
    whole = torch.stack([torch.where(valid, field[inside], 0.0) for field in fields])
    length = min(segment, weight.shape[-1])
    circle = closed and length == weight.shape[-1]
    power = _power(_segments(whole, length, closed), circle)  # [F, B, C, H, S, K]
    area = _segments(weight, length, closed)
    area = area.mean(-1) * (area > 0).all(-1)  # [B, C, H, S]
    area, power = _banded(area, 2), _banded(power, 3)  # rows -> [bands, BAND]
    total = area.sum(3)
    return (area[..., None] * power).sum(4) / torch.where(total > 0, total, 1.0)[..., None], total


def extent_of(core: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a rectangle in [H, W] (a device is waited for); of one without values all."""
    if valueless(core):
        return slice(0, core.shape[0]), slice(0, core.shape[1])
    found = [core.any(dim).nonzero()[:, 0].tolist() for dim in (1, 0)]
    rows, columns = (slice(at[0], at[-1] + 1) if at else slice(0, 0) for at in found)
    return rows, columns


def _segments(fields: Tensor, length: int, closed: bool) -> Tensor:
    """[..., W] -> [..., S, length], starting every length / 2 cells."""
    hop = max(length // 2, 1)
    if closed and length < fields.shape[-1]:
        fields = torch.cat([fields, fields[..., : length - hop]], -1)
    elif closed:
        hop = length
    return fields.unfold(-1, length, hop)


def _power(segments: Tensor, circle: bool) -> Tensor:
    """Power density at wavenumbers 1 .. L/2 of [..., L]; 1 for white noise of variance 1."""
    length = segments.shape[-1]
    taper = torch.ones if circle else torch.hann_window
    window = taper(length, dtype=segments.dtype, device=segments.device)
    waves = torch.fft.rfft((segments - segments.mean(-1, keepdim=True)) * window)[..., 1:]
    density: Tensor = (waves.real**2 + waves.imag**2) / (window**2).sum()
    return density


def _banded(values: Tensor, axis: int) -> Tensor:
    """Rows (`axis`) split into [bands, BAND], filled up with zeros."""
    missing = -values.shape[axis] % BAND
    if missing:
        shape = list(values.shape)
        shape[axis] = missing
        values = torch.cat([values, values.new_zeros(shape)], axis)
    return values.reshape(*values.shape[:axis], -1, BAND, *values.shape[axis + 1 :])
