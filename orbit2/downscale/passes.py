"""What a pass of a prediction computes, by torch's own formulas, and how many threads of a processor that is worth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

import torch

from orbit2 import timing
from orbit2.model.build import Downscaling
from orbit2.model.inspect import operations
from orbit2.model.threads import taking, worthwhile

SWITCH_INTERVAL = 2e-4  # seconds; Python's own 5e-3 is as much as a whole pass


def of_window(model: Downscaling, shape: tuple[int, int]) -> tuple[int, int]:
    """Floating-point operations on one window of `shape` coarse cells: of a pass, and of one member of it apart from its trunk."""
    return operations(model.config.model_dump_json(), model.inputs, model.outputs, model.statics, *shape)


def fitting_threads(model: Downscaling, device: torch.device, shape: tuple[int, int]) -> AbstractContextManager[None]:
    """Within it, as many of torch's threads as a pass on one window of `shape` coarse cells is worth, on a processor, of those there are.

    The network and the window alone decide, for members with one of them: neither a batch nor how many members, windows or blocks there
    are changes the threads, and with them the order of a sum.
    """
    most = torch.get_num_threads()
    if device.type != "cpu" or most == 1:
        return taking(0)
    return taking(worthwhile(_counted(model.config.model_dump_json(), model.inputs, model.outputs, model.statics, *shape), most))


@contextmanager
def short_switch_interval(device: torch.device) -> Iterator[None]:
    """Within it Python's threads take turns every SWITCH_INTERVAL seconds, beside a GPU: whoever launches its kernels gives Python's lock
    away with each, and waits for it again as long as a turn of those that read and write."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL if device.type == "cuda" else before)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@lru_cache(256)
def _counted(
    architecture: str, inputs: tuple[str, ...], outputs: tuple[str, ...], statics: tuple[str, ...], rows: int, columns: int
) -> float:
    """Operations of a pass, said once where they cannot be counted: then all threads are worth it."""
    return timing.operations(lambda: operations(architecture, inputs, outputs, statics, rows, columns)[0]) or float("inf")
