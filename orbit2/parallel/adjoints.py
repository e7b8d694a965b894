"""Collectives inside a network with their exact adjoints. Never averages: a gradient is what the sum over ranks of their losses has.

Two kinds of groups meet here. Over tokens (sp) every rank adds its part of the loss, so adjoints are the transposed maps: a gather's is a
sum of slices, an exchange's the exchange back. Over the hidden width and the variables (tp) ranks compute the SAME loss after a sum, as
Megatron-LM (arXiv 1909.08053, section 3) has it: the sum's adjoint is the identity, and that of entering such a region is a sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

# newer names for the same, where torch has them
_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class _Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        result = torch.empty_like(parts, memory_format=torch.contiguous_format)
        dist.all_to_all_single(result, parts.contiguous(), group=group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        dist.all_to_all_single(result, gradient.contiguous(), group=ctx.group)
        return result, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group, ctx.rows = group, len(part)
        result = part.new_empty(dist.get_world_size(group) * len(part), *part.shape[1:])
        _gather(result, part.contiguous(), group=group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result = gradient.new_empty(ctx.rows, *gradient.shape[1:])
        _scatter(result, gradient.contiguous(), group=ctx.group)
        return result, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        result = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result, group=group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Entered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result, group=ctx.group)
        return result, None


class _Alike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        result = values.clone(memory_format=torch.contiguous_format)
        dist.broadcast(result, dist.get_global_rank(group, 0), group=group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def exchanged(parts: Tensor, group: ProcessGroup) -> Tensor:
    """[R, ...] on each of R ranks: entry r goes to rank r; the result's entry r came from rank r."""
    result: Tensor = _Exchanged.apply(parts, group)  # type: ignore[no-untyped-call]
    return result


def gathered(part: Tensor, group: ProcessGroup) -> Tensor:
    """[n, ...] on each of R ranks -> [R n, ...] on all. Gradients are added over ranks, each of which keeps its own rows'."""
    result: Tensor = _Gathered.apply(part, group)  # type: ignore[no-untyped-call]
    return result


def summed(values: Tensor, group: ProcessGroup) -> Tensor:
    """The sum over ranks, which go on alike: the gradient of the result is the gradient of each."""
    result: Tensor = _Summed.apply(values, group)  # type: ignore[no-untyped-call]
    return result


def entered(values: Tensor, group: ProcessGroup) -> Tensor:
    """`values`, the same on all ranks, for work that differs between them: gradients are added over ranks."""
    result: Tensor = _Entered.apply(values, group)  # type: ignore[no-untyped-call]
    return result


def alike(values: Tensor, group: ProcessGroup) -> Tensor:
    """The first rank's `values`, where all have them up to rounding: for decisions that must not differ."""
    result: Tensor = _Alike.apply(values, group)  # type: ignore[no-untyped-call]
    return result


def largest(values: Tensor, group: ProcessGroup) -> Tensor:
    """The maximum over ranks, without a gradient."""
    result = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result, dist.ReduceOp.MAX, group=group)
    return result
