"""How many threads of a processor a training step or a pass of a prediction is worth: small tensors are computed before a second thread
has woken up.

Threads that wait for each other at every operator also suffer most where others use the processor: a network of 1.3 M parameters on
6 x 10 cells takes 24 ms a step with one thread, 46 with two that sleep between operators; beside a busy process 25 and 147, on the same
two cores (benchmarks/threads.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Floating-point operations that make another thread worth it (benchmarks/threads.py): of a step, forward and backward, whose threads look
# for each other before they sleep; of one window's pass, forward alone, whose threads sleep.
STEP = 3e9
PASS = 1.5e9


def worthwhile(flops: float, most: int) -> int:
    """Threads for a step of `flops` where `most` may be used: at least one."""
    return _of(flops / STEP, most)


def worthwhile_in_pass(flops: float, most: int) -> int:
    """Threads for predictions where a pass of ONE window has `flops`, however many go in one batch: so batches never change their bits."""
    return _of(flops / PASS, most)


def _of(shares: float, most: int) -> int:
    return int(max(1, min(most, shares)))


@contextmanager
def taking(threads: int) -> Iterator[None]:
    """Within it torch takes so many threads (0: as many as before it), afterwards as many as before it."""
    before = torch.get_num_threads()
    try:
        if threads not in (0, before):
            torch.set_num_threads(threads)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
