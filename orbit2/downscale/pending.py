"""A prediction on its way from the device: who writes it waits for it, while the one that computes goes on. Never computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.timing import DeviceEvent

FloatArray = npt.NDArray[np.float32]


def mark(device: torch.device) -> DeviceEvent | None:
    """A place in the device's queue; None on a processor, which is there when it is asked."""
    if device.type != "cuda":
        return None
    place = DeviceEvent(device)
    place.record()
    return place


class Pending:
    """Parts [T', C, h, w] of what was computed, one after the other along T: on their way into page-locked memory of the host, which a
    GPU writes by itself."""

    def __init__(self, parts: Sequence[Tensor], began: DeviceEvent | None = None) -> None:
        """`began`: a `mark` before anything of it was computed."""
        self.parts, self._began, self._ended = [_host(part) for part in parts], began, mark(parts[0].device)

    def array(self) -> FloatArray:
        """[T, C, h, w]; waits for it."""
        if self._ended is not None:
            self._ended.synchronize()
        arrays = [part.numpy() for part in self.parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def seconds(self, otherwise: float) -> float:
        """The device's own, once it is there; `otherwise`: where it keeps no time."""
        if self._began is None or self._ended is None:
            return otherwise
        return self._began.elapsed_time(self._ended) / 1e3


def _host(part: Tensor) -> Tensor:
    if part.device.type != "cuda":
        return part.contiguous()  # what is around it may go
    there = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return there.copy_(part, non_blocking=True)
