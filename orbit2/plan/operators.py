"""The operators of a step, one by one: what each computes, reads and writes. Computes nothing.

Views and what only makes room (`empty`) are left out; collectives are told apart (see rehearse.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbit2.model import flops

COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
METADATA = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::resize_", "aten::set_", "aten::sym_", "prim::")
COLLECTIVES = ("c10d", "_c10d_functional")
OVERWRITING = ("aten::copy_", "aten::fill_", "aten::zero_", "aten::bernoulli_", "aten::normal_", "aten::uniform_")


@dataclass(frozen=True)
class Operator:
    """`count` calls of one operator (`name`, as aten calls it) on tensors of the same sizes.

    `flops`, and the bytes `read` and `written`, are one call's; `dtype` is that of its largest result. `backward`: within a backward
    pass, what is recomputed there too. `phase`: forward, backward, or update (clipping, optimiser, weight average).
    """

    name: str
    count: int
    flops: int
    read: int
    written: int
    backward: bool
    phase: str
    dtype: str


class Call(NamedTuple):
    """One call; `part`: of which part of a step (0: before the first)."""

    name: str
    flops: int
    read: int
    written: int
    backward: bool
    dtype: str
    part: int


class Signature(NamedTuple):
    """What an operator's schema says: whether it does any work, which arguments it writes to and does not read, what it makes."""

    works: bool
    writes: tuple[tuple[int, str], ...]
    overwrites: bool
    fresh: bool


@cache
def signature(operator: Any) -> Signature:
    schema = operator._schema
    places = enumerate(schema.arguments)
    writes = tuple((i, argument.name) for i, argument in places if argument.alias_info and argument.alias_info.is_write)
    fresh = not writes and any(result.alias_info is None for result in schema.returns)
    works = operator.namespace not in COLLECTIVES and not schema.name.startswith(METADATA) and not (operator.is_view and not writes)
    overwrites = schema.name in OVERWRITING or any(name == "out" for _, name in writes)
    return Signature(works, writes, overwrites, fresh)


def call(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, backward: bool, part: int) -> Call | None:
    """What one call is; None for one that moves no data."""
    known = signature(operator)
    if not known.works:
        return None
    given = [_argument(args, kwargs, place, name) for place, name in known.writes]
    written = list(_tensors(given)) if given else list(_tensors([result])) if known.fresh else []
    if not written:
        return None
    read = list(_tensors(chain(args, kwargs.values())))
    if known.overwrites:
        own = {id(tensor) for tensor in written}
        read = [tensor for tensor in read if id(tensor) not in own]
    largest = max(written, key=lambda tensor: tensor.nbytes)
    return Call(operator._schema.name.replace("::", "."), flops.of_operator(operator, args, kwargs, result), _bytes(read), _bytes(written),
                backward, str(largest.dtype).removeprefix("torch."), part)  # fmt: skip


def gathered(calls: Sequence[Call], weights: Sequence[float] = ()) -> tuple[Operator, ...]:
    """Operators in the order of their first calls. A call of part i counts `weights[i]` times (default: once).

    What comes after the last backward pass is the update.
    """
    last = max((i for i, each in enumerate(calls) if each.backward), default=len(calls))
    counts: Counter[Operator] = Counter()
    for i, each in enumerate(calls):
        phase = BACKWARD if each.backward else UPDATE if i > last else FORWARD
        one = Operator(each.name, 1, each.flops, each.read, each.written, each.backward, phase, each.dtype)
        counts[one] += weights[each.part] if weights else 1  # type: ignore[assignment]
    return tuple(replace(one, count=round(number)) for one, number in counts.items() if round(number))


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if place < len(args) else kwargs.get(name)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    """Tensors in arguments or results, in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """What they hold in memory: of an expanded tensor its values once."""
    return sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) if tensor.numel() else 0 for tensor in tensors)


def decomposed(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A composite operator's result, by the operators that it is made of; NotImplemented for others.

    In inference mode composites arrive whole, where autograd takes them apart. Never as torch would take them apart to trace them: that
    makes a hundred operators of an interpolation, which is one kernel.
    """
    return operator._op_dk(COMPOSITE, *args, **kwargs) if composite(operator) else NotImplemented


@cache
def composite(operator: Any) -> bool:
    """Whether its kernel is made of other operators; not what torch could take apart only to trace it."""
    return operator.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), COMPOSITE.name)
