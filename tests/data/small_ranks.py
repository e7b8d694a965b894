"""Two real processes that meet over gloo, forked from this one: no imports, so that a test of them takes a second or two."""

from __future__ import annotations

import atexit
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import torch._dynamo  # noqa: F401  # training loads it: here, and not in every process

from orbit2.parallel.launch import PORTS
from tests.data.small_downscaling import forked


def free_port() -> int:
    """A port that nobody has, of those that the system gives to nobody either."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def forked_ranks(act: Callable[[int], object], world: int = 2) -> tuple[list[int], list[float]]:
    """Exit codes of `act(rank)` in `world` processes, and the times (monotonic) of their ends."""
    port = free_port()

    def process(rank: int) -> None:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        atexit._clear()  # what the parent has to do at its own end
        try:
            act(rank)
        finally:
            atexit._run_exitfuncs()

    pids = [forked(lambda rank=rank: process(rank)) for rank in range(world)]  # type: ignore[misc]
    ended, codes = {}, {}
    for _ in pids:
        pid, status = os.waitpid(-1, 0)
        ended[pid], codes[pid] = time.monotonic(), os.waitstatus_to_exitcode(status)
    return [codes[pid] for pid in pids], [ended[pid] for pid in pids]


def two_ranks(act: Callable[[int], object]) -> tuple[list[int], float]:
    """Exit codes of `act(rank)` in two processes, and the seconds between the two ends."""
    codes, ended = forked_ranks(act)
    return codes, abs(ended[1] - ended[0])
