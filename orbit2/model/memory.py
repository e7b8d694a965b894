"""How much memory a pass of a model takes, counted on the meta device. Never allocates it: sizes only."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

FORWARD, BACKWARD, GATHERED = "forward", "backward", "gathered"


@dataclass
class Held:
    """A storage on a ledger: its bytes now, in which pass it was made (GATHERED: it is emptied and filled again), and as which."""

    bytes: int
    origin: str
    number: int


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all tensors made while it is on: `live` now and at the `peak`, there also by `origin`. A storage counts once, until it is
    freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.origin = FORWARD
        self.at_peak: Counter[str] = Counter()
        self._by: Counter[str] = Counter()
        self._seen: Any = WeakIdKeyDictionary()
        self._number = self._peak_number = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._seen:
                self._book(tensor.untyped_storage(), self.origin)
        return result

    def known(self, tensors: Sequence[Tensor]) -> None:
        """Tensors that were there before: they never count."""
        for tensor in tensors:
            self._seen[tensor.untyped_storage()] = None

    def resized(self, storage: torch.UntypedStorage) -> None:
        """Book what a storage has now; one that is new here was empty before."""
        if storage not in self._seen:
            self._book(storage, GATHERED)
        elif (held := self._seen[storage]) is not None:  # not one that was known
            if held.origin != GATHERED:  # it was all along
                self._by.update({held.origin: -held.bytes, GATHERED: held.bytes})
                if held.number <= self._peak_number:
                    self.at_peak.update({held.origin: -held.bytes, GATHERED: held.bytes})
                held.origin = GATHERED
            self._count(storage.nbytes() - held.bytes, GATHERED)
            held.bytes = storage.nbytes()

    def there_at_peak(self, tensors: Iterable[Tensor]) -> int:
        """Bytes of those of `tensors`, all of them there now, that were made before the peak."""
        held = {id(found): found for tensor in tensors if (found := self._seen.get(tensor.untyped_storage())) is not None}
        return sum(each.bytes for each in held.values() if each.number <= self._peak_number)

    def _book(self, storage: torch.UntypedStorage, origin: str) -> None:
        self._number += 1
        held = self._seen[storage] = Held(storage.nbytes(), origin, self._number)
        self._count(held.bytes, origin)
        weakref.finalize(storage, self._free, held)

    def _count(self, size: int, origin: str) -> None:
        self.live += size
        self._by[origin] += size
        if self.live > self.peak:
            self.peak, self.at_peak, self._peak_number = self.live, self._by.copy(), self._number

    def _free(self, held: Held) -> None:
        self.live -= held.bytes
        self._by[held.origin] -= held.bytes


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
