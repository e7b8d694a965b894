"""A stand-in for CUDA graphs where there is no GPU: operators are taken down, and run again in the same memory.

As on a GPU a recording computes nothing: what it wrote into what was there before is put back, and what it made is unknown (NaN) until it
is replayed. As on a GPU, what would make the host wait is an error. What the host decided, and its numbers, stay those of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.data.waits import WaitsError, no_waiting


class Tape(TorchDispatchMode):
    """What a recording did, operator by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: set[int] = set()  # memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _written(func, args, kwargs or {}):
            memory = tensor.untyped_storage()._cdata
            if memory not in self.made and memory not in self.before:
                self.before[memory] = (tensor, tensor.clone())
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.made |= {each.untyped_storage()._cdata for each in _tensors(out) if not _written(func, args, kwargs or {})}
        self.taken.append((func, args, kwargs or {}, out))
        return out

    def forget(self) -> None:
        """Nothing was computed."""
        for func, args, kwargs, out in self.taken:
            if not func.is_view and not _written(func, args, kwargs):
                for tensor in _tensors(out):
                    if tensor.is_floating_point():
                        tensor.fill_(torch.nan)
        for tensor, value in self.before.values():
            tensor.copy_(value)

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self.taken:
                if func.is_view:
                    continue
                again = func(*args, **kwargs)
                if not _written(func, args, kwargs):
                    for kept, new in zip(_tensors(out), _tensors(again), strict=True):
                        kept.copy_(new)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operator writes into."""
    found: list[Tensor] = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[number] if number < len(args) else kwargs.get(argument.name)
            found += _tensors(given)
    return found


class _Graph:
    def __init__(self) -> None:
        self.tape, self.replayed = Tape(), 0

    def replay(self) -> None:
        self.replayed += 1
        self.tape.replay()


@contextmanager
def _recorded(graph: _Graph, pool: Any = None, capture_error_mode: str = "global") -> Iterator[None]:
    state = torch.get_rng_state()
    try:
        with ExitStack() as stack:
            stack.enter_context(no_waiting())
            stack.enter_context(graph.tape)
            yield
    except WaitsError as error:
        raise RuntimeError(f"operation not permitted when stream is capturing: {error}") from error
    torch.set_rng_state(state)
    with torch.no_grad():
        graph.tape.forget()


class _Stream:
    def __init__(self, device: Any = None) -> None: ...
    def wait_stream(self, other: Any) -> None: ...


def stand_in(patch: pytest.MonkeyPatch) -> list[_Graph]:
    """Let torch's CUDA graphs be tapes; those that are made."""
    made: list[_Graph] = []

    def graph() -> _Graph:
        made.append(_Graph())
        return made[-1]

    patch.setattr(torch.cuda, "CUDAGraph", graph)
    patch.setattr(torch.cuda, "graph", _recorded)
    patch.setattr(torch.cuda, "Stream", _Stream)
    patch.setattr(torch.cuda, "current_stream", _Stream)
    patch.setattr(torch.cuda, "stream", lambda side: nullcontext())
    patch.setattr(torch.cuda, "device", lambda device: nullcontext())
    patch.setattr(torch.cuda, "graph_pool_handle", lambda: object())
    return made
