"""What ranks do together: sums, flags, agreement, over all of them or a `group`. In one process each is what it is for one rank.

Tensors go where they lie (nccl on a GPU); flags and objects lie on the host, and go over gloo (see `launch.ranks`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from orbit2.errors import OrbitError

T = TypeVar("T")


def total(values: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """The sum of `values` over the ranks (unchanged for one process)."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values, group=group)
    return values


def any_rank(flag: bool, group: ProcessGroup | None = None) -> bool:
    """Whether the flag is set on any rank: the same answer everywhere."""
    if not dist.is_initialized():
        return flag
    found = torch.tensor(int(flag), dtype=torch.int32)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=group)
    return bool(found)


def barrier(group: ProcessGroup | None = None) -> None:
    if dist.is_initialized():
        dist.barrier(group)


def from_first(value: T, group: ProcessGroup | None = None) -> T:
    """The first rank's value (anything that pickles), on all ranks."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, _first(group), group=group)
    return box[0]


def gathered(value: T, group: ProcessGroup | None = None) -> list[T]:
    """Every rank's value, in order, on all ranks."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def agree(what: str, value: str, hint: str, group: ProcessGroup | None = None) -> None:
    """Raises OrbitError, on every rank alike, where a rank's `value` is not the first's."""
    values = gathered((value, socket.gethostname()), group)
    for rank, (other, host) in enumerate(values):
        if other != values[0][0]:
            raise OrbitError(f"ranks disagree on {what}", where=f"rank {rank} of {len(values)} on {host}", got=other,
                             allowed=f"{values[0][0]}, what the first rank has on {values[0][1]}", hint=hint)  # fmt: skip


def copy_first(tensors: Iterable[Tensor], group: ProcessGroup | None = None) -> None:
    """Give every rank the first one's values, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, _first(group), group=group)


def sum_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup | None = None) -> None:
    """Add gradients over ranks in place; a parameter without gradient on this rank counts as zero."""
    if not dist.is_initialized():
        return
    chosen = [p for p in parameters if p.requires_grad]
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in chosen])
    dist.all_reduce(flat, group=group)
    for parameter, gradient in zip(chosen, torch.split(flat, [p.numel() for p in chosen]), strict=True):
        parameter.grad = gradient.view_as(parameter).clone()


def _first(group: ProcessGroup | None) -> int:
    """The number, among all ranks, of a group's first."""
    return 0 if group is None else dist.get_global_rank(group, 0)
