"""How many threads of a processor a training step is worth: small tensors are computed before a second thread has woken up.

Threads that wait for each other at every operator also suffer most where others use the processor: a network of 1.3 M parameters on
6 x 10 cells takes 0.026 s a step with one thread, 0.046 s with two, and 0.7 s with two beside another process with two, on the same two
cores (benchmarks/threads.py).
"""

from __future__ import annotations

EACH = 3e9  # floating-point operations of a step (forward and backward) that make another thread worth it (benchmarks/threads.py)


def worthwhile(flops: float, most: int) -> int:
    """Threads for a step of `flops` where `most` may be used: at least one."""
    return int(max(1, min(most, flops / EACH)))
