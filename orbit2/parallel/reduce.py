"""What ranks do together: sums, flags, agreement, over all of them or a `group`. In one process each is what it is for one rank.

Tensors go where they lie (nccl on a GPU); flags and objects lie on the host, and go over gloo (see `launch.ranks`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from orbit2.errors import OrbitError
from orbit2.files import short_hash

T = TypeVar("T")
SLOTS = 16  # facts that ranks compare at once
SHOWN = 4  # names that an error lists


def total(values: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """The sum of `values` over the ranks (unchanged for one process)."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values, group=group)
    return values


def sums_and_maxima(values: Sequence[float], group: ProcessGroup | None = None) -> tuple[list[float], list[float]]:
    """Of each number, its sum over the ranks and the largest one."""
    both = [torch.tensor(values, dtype=torch.float64) for _ in range(2)]
    if dist.is_initialized():
        for numbers, how in zip(both, (dist.ReduceOp.SUM, dist.ReduceOp.MAX), strict=True):
            dist.all_reduce(numbers, how, group=group)
    sums, most = both
    return sums.tolist(), most.tolist()


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


@dataclass(frozen=True)
class Fact:
    """Something that is the same on all ranks, or else their results are not one: text by name, of which an error shows what differs."""

    what: str
    parts: Mapping[str, str]
    hint: str

    @property
    def number(self) -> int:
        """63 bits of its sha256."""
        return int(short_hash(sorted(self.parts.items()), 16), 16) >> 1


def agree_on(facts: Sequence[Fact], group: ProcessGroup | None = None) -> None:
    """Raises OrbitError, on every rank alike, where a rank's `facts` are not the first's; the first that differs is named.

    Ranks compare SLOTS numbers, whatever their code calls facts; texts travel only from the two that an error names.
    """
    if not dist.is_initialized():
        return
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    mine = torch.tensor([fact.number for fact in facts] + [0] * (SLOTS - len(facts)))
    first = mine.clone()
    dist.broadcast(first, _first(group), group=group)
    lowest = torch.where(mine == first, world, rank)
    dist.all_reduce(lowest, dist.ReduceOp.MIN, group=group)
    if bool((lowest == world).all()):
        return
    slot = int((lowest < world).int().argmax())
    others = torch.tensor(int(mine[slot] != first[slot]))
    dist.all_reduce(others, group=group)
    told = []
    for source in (0, int(lowest[slot])):
        box: list[Any] = [(facts[slot] if slot < len(facts) else Fact("their code", {}, ""), socket.gethostname())]
        dist.broadcast_object_list(box, source if group is None else dist.get_global_rank(group, source), group=group)
        told.append(box[0])
    (theirs, host), (other, there) = told
    differ = [name for name in {**theirs.parts, **other.parts} if theirs.parts.get(name) != other.parts.get(name)]
    beside = f", and {int(others) - 1} more" if others > 1 else ""
    error = OrbitError(f"ranks disagree on {theirs.what}", where=f"rank {int(lowest[slot])} of {world} on {there}{beside}",
                       got=_shown(other, differ), allowed=f"{_shown(theirs, differ)}, as the first rank on {host} has it",
                       hint=theirs.hint)  # fmt: skip
    error.everywhere = True
    raise error


def agree(what: str, value: str, hint: str, group: ProcessGroup | None = None) -> None:
    """Raises OrbitError, on every rank alike, where a rank's `value` is not the first's."""
    agree_on([Fact(what, {"": value}, hint)], group)


def _shown(fact: Fact, names: Sequence[str]) -> str:
    parts = [f"{name}{'=' if name else ''}{fact.parts.get(name, 'absent')}" for name in names[:SHOWN]]
    return ", ".join(parts) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _first(group: ProcessGroup | None) -> int:
    """The number, among all ranks, of a group's first."""
    return 0 if group is None else dist.get_global_rank(group, 0)
