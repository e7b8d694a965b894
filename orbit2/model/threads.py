"""How many threads of a processor a training step or a pass of a prediction is worth: small tensors are computed before a second thread
has woken up.

Threads that wait for each other at every operator also suffer most where others use the processor: a network of 1.3 M parameters on
6 x 10 cells takes 24 ms a step with one thread, 46 with two that sleep between operators; beside a busy process 26 and 195, on the same
two cores. A pass of a prediction on 6 x 10 cells takes 3.1 ms with one and 8.2 with two, on 45 x 90 cells 37 and 31
(benchmarks/threads.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Floating-point operations that make another thread worth it (benchmarks/threads.py): of a step, forward and backward, or of the pass of
# one window of a prediction: however many go in one batch, the threads are the same.
EACH = 3e9


def worthwhile(flops: float, most: int) -> int:
    """Threads for a step, or a window's pass, of `flops` where `most` may be used: at least one."""
    return int(max(1, min(most, flops / EACH)))


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
