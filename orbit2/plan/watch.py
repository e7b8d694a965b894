"""What one rank of a mesh does, watched: its operators, its memory, its exchanges. Changes nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed import ProcessGroup, distributed_c10d
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_leaves

from orbit2.model.build import Downscaling
from orbit2.model.memory import BACKWARD, FORWARD, Ledger
from orbit2.parallel.mesh import AXES, Sizes
from orbit2.plan import operators

DEVICE = torch.ops.prim.device.default
KINDS = {  # as torch's operators are called, of its process groups and of DTensor
    "all-gather": ("allgather", "all_gather"),
    "reduce-scatter": ("reduce_scatter",),
    "all-reduce": ("allreduce", "all_reduce"),
    "all-to-all": ("alltoall", "all_to_all"),
    "broadcast": ("broadcast",),
}


@dataclass(frozen=True)
class Collective:
    """One exchange: `kind`, the `axes` of the mesh that its `ranks` differ in, `bytes` of its largest tensor: all that is gathered,
    summed, scattered or exchanged."""

    kind: str
    axes: tuple[str, ...]
    ranks: int
    bytes: int
    backward: bool


class Valueless(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without values. `trying`: entered again within itself, as DTensor does to try an operator once on tensors of full size."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._depth = 0

    @property
    def trying(self) -> bool:
        return self._depth > 1

    def __enter__(self) -> Valueless:
        super().__enter__()
        self._depth += 1
        return self

    def __exit__(self, *details: Any) -> None:
        self._depth -= 1
        super().__exit__(*details)


class Watch(Ledger):  # type: ignore[no-untyped-call]
    """The memory of a rank whose parameters are sharded, and what it says to others. DTensors are looked into."""

    def __init__(self, mesh: Sizes, fake: Valueless) -> None:
        super().__init__()
        self._fake = fake
        self.mesh, self.collectives, self.calls = mesh, list[tuple[Collective, int]](), list[operators.Call]()
        self.part = 0  # of the step, counted from 1; 0 before the network's first pass
        self._resize: Callable[..., Any] = torch.UntypedStorage.resize_

    def __enter__(self) -> Watch:
        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            """FSDP frees and fills gathered parameters by this, which is no operator."""
            result = self._resize(storage, size)
            self.resized(storage)
            return result

        torch.UntypedStorage.resize_ = resize  # type: ignore[assignment, method-assign]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*details)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        if func is DEVICE and isinstance(args[0], FakeTensor):  # two calls in three
            return args[0].fake_device
        kwargs = kwargs or {}
        if self._fake.trying:
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled():
            with self:
                result = operators.decomposed(func, args, kwargs)
            if result is not NotImplemented:
                return result
        backward = torch._C._current_graph_task_id() >= 0
        self.origin = BACKWARD if backward else FORWARD
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func.namespace in operators.COLLECTIVES:
            self._note(func, args, result, backward)
        elif (call := operators.call(func, args, kwargs, result, backward, self.part)) is not None:
            self.calls.append(call)
        return result

    def follow(self, model: Downscaling, passes: int) -> None:
        """A part of a step begins with every `passes`-th pass of the model."""
        seen = 0

        def begins(module: Any, arguments: Any) -> None:
            nonlocal seen
            self.part, seen = seen // passes + 1, seen + 1

        model.register_forward_pre_hook(begins, prepend=True)  # before parameters are gathered

    def exchanged(self, weights: Sequence[float]) -> tuple[Collective, ...]:
        """Collectives in order, those of part i of the step `weights[i]` times; what comes before the first part, once."""
        parts = [[each for each, part in self.collectives if part == number] for number in range(len(weights))]
        return tuple(each for part, weight in zip(parts, (1, *weights[1:]), strict=True) for _ in range(round(weight)) for each in part)

    def _note(self, func: Any, args: Sequence[Any], result: Any, backward: bool) -> None:
        name = func._schema.name.partition("::")[2]
        kind = next((kind for kind, names in KINDS.items() if any(part in name for part in names)), None)
        group = next((found for part in args if (found := _group(part)) is not None), None)
        if kind is None or group is None:  # waiting, looking
            return
        ranks = dist.get_process_group_ranks(group)
        size = max((t.nbytes for t in tree_leaves((args, result)) if isinstance(t, Tensor)), default=0)
        self.collectives.append((Collective(kind, axes(self.mesh, ranks), len(ranks), size, backward), self.part))


def _group(argument: Any) -> ProcessGroup | None:
    """The process group that an operator's argument stands for, by itself or by name."""
    if isinstance(argument, str):
        try:
            named: Any = distributed_c10d
            return cast(ProcessGroup, named._resolve_process_group(argument))
        except (LookupError, RuntimeError, ValueError):  # a reduction's name
            return None
    if isinstance(argument, torch.ScriptObject):
        try:
            return ProcessGroup.unbox(argument)
        except RuntimeError:  # a reduction
            return None
    return argument if isinstance(argument, ProcessGroup) else None


def axes(mesh: Sizes, ranks: Sequence[int]) -> tuple[str, ...]:
    """The axes of the mesh whose coordinates differ among `ranks`."""
    seen: dict[str, set[int]] = {axis: set() for axis in AXES}
    for rank in ranks:
        for axis in reversed(AXES):
            rank, place = divmod(rank, getattr(mesh, axis))
            seen[axis].add(place)
    return tuple(axis for axis in AXES if len(seen[axis]) > 1)
