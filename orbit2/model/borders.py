"""Fields with cells around them that the sphere, or the edge of a tile, gives: for convolutions. One pass over the field, channels last."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.model.precision import exact


def around(fields: Tensor, margin: int, periodic: bool) -> Tensor:
    """Pad [B, C, H, W] by `margin` cells on all four sides: latitude replicates its edge rows, longitude wraps when periodic and
    replicates otherwise. The type is kept, whatever the autocast; memory is channels-last, as tokens lie and convolutions are fastest.
    """
    if fields.device.type == "cpu" and not periodic and not torch.compiler.is_compiling():  # torch's own is as fast, with less to do
        with exact(fields):
            return F.pad(fields.contiguous(memory_format=torch.channels_last), (margin,) * 4, mode="replicate")
    padded: Tensor = _Around.apply(fields.permute(0, 2, 3, 1), margin, periodic)  # type: ignore[no-untyped-call]
    return padded.permute(0, 3, 1, 2)


class _Around(torch.autograd.Function):
    """[B, H, W, C] -> [B, H + 2 m, W + 2 m, C]. What torch makes of `cat` goes twice over a field, and oftener on its way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, margin: int, periodic: bool) -> Tensor:
        batch, height, width, channels = rows.shape
        ctx.margin, ctx.periodic = margin, periodic
        padded = rows.new_empty(batch, height + 2 * margin, width + 2 * margin, channels)
        middle = padded[:, margin : margin + height]
        middle[:, :, margin : margin + width] = rows
        middle[:, :, :margin] = rows[:, :, -margin:] if periodic else rows[:, :, :1]
        middle[:, :, margin + width :] = rows[:, :, :margin] if periodic else rows[:, :, -1:]
        padded[:, :margin] = middle[:, :1]
        padded[:, margin + height :] = middle[:, -1:]
        return padded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (given,), margin, periodic = gradients, ctx.margin, ctx.periodic
        height, width = (size - 2 * margin for size in given.shape[1:3])
        rows, columns = slice(margin, margin + height), slice(margin, margin + width)
        own = given[:, rows, columns].clone()
        # the field's rows beside themselves; its first and last one, and what lies beyond them
        beyond = ((own[:, :1], _total(given[:, :margin], 1)), (own[:, -1:], _total(given[:, margin + height :], 1)))
        for edge, rim in beyond:
            edge.add_(rim[:, :, columns])
        for edge, rim in ((own, given[:, rows]), *beyond):
            west, east = rim[:, :, :margin], rim[:, :, margin + width :]
            if periodic:
                edge[:, :, -margin:].add_(west)
                edge[:, :, :margin].add_(east)
            else:
                edge[:, :, :1].add_(_total(west, 2))
                edge[:, :, -1:].add_(_total(east, 2))
        return own, None, None


def _total(fields: Tensor, dim: int) -> Tensor:
    """The sum over `dim`, kept as one; of a single row without an operator."""
    return fields if fields.shape[dim] == 1 else fields.sum(dim, keepdim=True)
