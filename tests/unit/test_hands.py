"""Pictures packed by several threads, chapters drawn by several processes: the same, in the same order, whatever happens to one of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import numpy as np
import psutil
import pytest

from orbit2 import allowance
from orbit2.errors import OrbitError
from orbit2.hands import apart, in_order
from orbit2.report.figures.panels import Picture
from orbit2.report.interactive.widgets import Still
from tests.data.small_downscaling import forked

forks = pytest.mark.skipif(sys.platform == "darwin", reason="processes are forked, which is not done there")


def packed(k: int) -> int:
    time.sleep(0.002 * (5 - k % 5))
    if k == 40:
        raise ValueError("forty")
    return k


@pytest.mark.parametrize("hands", [1, 3])
def test_work_comes_back_in_order_and_failures_are_raised(hands: int) -> None:
    made: list[int] = []

    def work(count: int) -> Iterator[Callable[[], int]]:
        for k in range(count):
            made.append(k)
            yield partial(packed, k)

    found = in_order(work(20), hands)
    assert next(found) == 0 and len(made) <= 2 * hands + 1  # no more is drawn than can be packed
    assert list(found) == list(range(1, 20))
    with pytest.raises(ValueError, match="forty"):
        list(in_order(work(42), hands))


def slow(number: int, seconds: float = 0.02) -> tuple[int, int]:
    time.sleep(seconds)
    return number, os.getpid()


def met(number: int, others: Barrier, here: set[int]) -> tuple[int, int]:
    """The first piece of each process waits for those of the others: a busy machine may be long in starting them."""
    if os.getpid() not in here:
        here.add(os.getpid())
        others.wait(timeout=60)
    return number, os.getpid()


@forks
def test_order_stays_and_several_work() -> None:
    others, here = get_context("fork").Barrier(3), set[int]()
    found = apart([partial(met, i, others, here) for i in range(20)], 3)
    assert [number for number, _ in found] == list(range(20)) and len({pid for _, pid in found}) == 3
    alone = apart([partial(slow, i, 0.0) for i in range(3)], 1)
    assert alone == [(i, os.getpid()) for i in range(3)]


@forks
def test_what_others_make_is_packed_and_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that others drew come as their page shows them; one that stands in two places is one picture afterwards, too."""
    here = os.getpid()

    def drawn() -> list[object]:
        time.sleep(0.05)
        picture = Picture(np.full((20, 30, 3), 200, dtype=np.uint8), "grey")
        return [os.getpid(), picture, picture, allowance.threads()]

    for pid, one, same, threads in apart([drawn] * 4, 2):
        assert one is same and isinstance(one, Picture if pid == here else Still)
        assert (one.size, one.alt) == ((15, 10), "grey") and (pid == here or threads == 1)
        assert one.webp(76) == Picture(np.full((20, 30, 3), 200, dtype=np.uint8), "grey").webp(76)


@forks
@pytest.mark.parametrize("hands", [1, 3])
def test_an_error_is_raised_whoever_met_it(hands: int) -> None:
    def fails() -> None:
        time.sleep(0.02)
        raise OrbitError("no such field", where="maps", hint="run evaluate first")

    before = set(psutil.Process().children())  # other tests' in this process
    with pytest.raises(OrbitError, match="maps: no such field; run evaluate first"):
        apart([partial(slow, 0), fails, fails, partial(slow, 1), fails], hands)
    assert not set(psutil.Process().children()) - before


@forks
def test_pieces_of_one_that_is_killed_are_made_here() -> None:
    """As the kernel does it where memory ends."""
    here = os.getpid()

    def made(number: int) -> tuple[int, bool]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return slow(number)[0], os.getpid() == here

    assert apart([partial(made, i) for i in range(8)], 3) == [(i, True) for i in range(8)]


@forks
def test_nobody_is_left_behind() -> None:
    """Of a parent that is killed the others end when they have nothing left to do, though none takes what they made."""

    def parent() -> None:
        apart([partial(slow, i, 0.3) for i in range(6)], 3)

    pid = forked(parent)
    until = time.monotonic() + 20
    while len(children := psutil.Process(pid).children()) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not psutil.wait_procs(children, timeout=20)[1]


@forks
def test_memory_and_threads_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "threads", lambda: 4)
    monkeypatch.setattr(allowance, "memory_left", lambda: 10**9)
    assert {pid for _, pid in apart([partial(slow, i) for i in range(6)])} == {os.getpid()}
    monkeypatch.setattr(allowance, "memory_left", lambda: 3 * 10**9)
    others, here = get_context("fork").Barrier(2), set[int]()
    assert len({pid for _, pid in apart([partial(met, i, others, here) for i in range(6)])}) == 2
