"""How many threads of a processor a training step is worth: small tensors are computed before a second thread has woken up.

Threads that wait for each other at every operator also suffer most where others use the processor: a network of 1.3 M parameters on
6 x 10 cells takes 24 ms a step with one thread, 46 with two that sleep between operators; beside a busy process 25 and 147, on the same
two cores (benchmarks/threads.py).
"""

from __future__ import annotations

EACH = 3e9  # floating-point operations of a step (forward and backward) that make another thread worth it (benchmarks/threads.py)


def worthwhile(flops: float, most: int) -> int:
    """Threads for a step of `flops` where `most` may be used: at least one."""
    return int(max(1, min(most, flops / EACH)))
