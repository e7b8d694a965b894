"""Finds calls for which the host would wait for a GPU: values read, shapes that depend on values, copies of the host's own numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
READ = {Tensor.tolist, Tensor.item, Tensor.numpy, Tensor.cpu, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__array__,
        Tensor.__index__, torch.equal, torch.tensor, torch.as_tensor, torch.from_numpy}  # fmt: skip
DEPENDING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal, aten._unique2, aten.bincount,
             aten.item, aten.lift_fresh}  # fmt: skip

BY_INDEX = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class WaitsError(AssertionError):
    """The host would wait."""


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READ:
            raise WaitsError(getattr(func, "__name__", func))
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in DEPENDING or func is aten.repeat_interleave.Tensor:
            raise WaitsError(func)
        indices = args[1] if func.overloadpacket in BY_INDEX else ()
        if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices):
            raise WaitsError(f"{func} by a mask")
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raises WaitsError at the first such call of this thread."""
    with _Functions(), _Operators():
        yield
