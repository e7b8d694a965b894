"""How much memory a pass of a model takes, counted on the meta device. Never allocates it: sizes only."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all tensors made while it is on: `live` now and at the `peak`. A storage counts once, until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._seen:
                self._book(tensor.untyped_storage())
        return result

    def known(self, tensors: Sequence[Tensor]) -> None:
        """Tensors that were there before: they never count."""
        for tensor in tensors:
            self._seen[tensor.untyped_storage()] = [None]

    def resized(self, storage: torch.UntypedStorage) -> None:
        """Book what a storage has now; one that is new here was empty before."""
        box = self._seen.get(storage)
        if box is None:
            self._book(storage)
        elif box[0] is not None:  # not one that was known
            self._count(storage.nbytes() - box[0])
            box[0] = storage.nbytes()

    def _book(self, storage: torch.UntypedStorage) -> None:
        box = self._seen[storage] = [storage.nbytes()]
        self._count(box[0])
        weakref.finalize(storage, self._free, box)

    def _count(self, size: int) -> None:
        self.live += size
        self.peak = max(self.peak, self.live)

    def _free(self, box: list[int]) -> None:
        self.live -= box[0]


class FusedAttention(TorchFunctionMode):
    """On the meta device PyTorch would take the plain formula, whose N x N scores no real device keeps."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention and not kwargs:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args)[0]
        return func(*args, **(kwargs or {}))


def peak_bytes(run: Callable[[], Tensor], known: Sequence[Tensor], training: bool) -> int:
    """Peak bytes of activations of `run()` on meta tensors, with `training` also of its backward pass and the gradients.

    `known` are the weights and inputs, which do not count; attention is counted as the fused kernels do it, precision as given.
    """
    with torch.device("meta"), FusedAttention(), torch.set_grad_enabled(training), Ledger() as ledger:
        ledger.known(known)
        result = run()
        if training:
            result.sum().backward()  # type: ignore[no-untyped-call]
        del result
    return int(ledger.peak)
