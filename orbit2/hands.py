"""Several hands: pictures packed by threads (packing does not hold Python's lock), chapters drawn by processes. Never changes an order, or
what is made."""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from orbit2 import allowance, progress

T = TypeVar("T")
AHEAD = 2  # pieces of work that wait for each thread: pictures are megabytes
NUMBER = 2  # bytes of a number of a piece
MOST, NEEDS = 8, 1500 * 2**20  # processes, and bytes of memory that each may take


def in_order(work: Iterable[Callable[[], T]], hands: int | None = None) -> Iterator[T]:
    """What each piece of work gives, in their order, by `hands` threads (default: all that this process may use) beside the one that
    makes the pieces. Raises what the first that fails raises."""
    hands = allowance.threads() if hands is None else hands
    if hands < 2:
        yield from (one() for one in work)
        return
    with ThreadPoolExecutor(hands) as pool:
        waiting: deque[Future[T]] = deque()
        for one in work:
            waiting.append(pool.submit(one))
            if len(waiting) > AHEAD * hands:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def apart(work: Sequence[Callable[[], T]], hands: int | None = None) -> list[T]:
    """What each piece of work gives, in their order, by `hands` processes (default: as many as this one's threads and memory allow), this
    one among them; each takes the next piece when it is done with its last. What comes from others was pickled.

    Raises what a piece raises. A process that is ended (for want of memory, say) costs time alone: its pieces are made here.
    """
    if hands is None:
        hands = min(allowance.threads(), MOST, 1 + allowance.memory_left() // NEEDS)
    hands = min(hands, len(work))
    if hands < 2 or "fork" not in get_all_start_methods() or sys.platform == "darwin":
        return [one() for one in work]
    context = get_context("fork")
    left, write = os.pipe()  # of numbers of pieces: whoever reads one makes it
    os.write(write, b"".join(number.to_bytes(NUMBER) for number in range(len(work))))
    os.close(write)
    others: list[tuple[BaseProcess, Connection]] = []
    for _ in range(hands - 1):
        ours, theirs = context.Pipe(duplex=False)
        ends = [*(end for _, end in others), ours]
        started = context.Process(target=_elsewhere, args=(work, left, theirs, ends), daemon=True)
        started.start()
        theirs.close()
        others.append((started, ours))
    found: dict[int, T] = {}
    try:
        for i in _taken(left):
            found[i] = work[i]()
        for _, ours in others:
            with suppress(EOFError, OSError):  # it was ended
                for i, packed in pickle.loads(ours.recv_bytes()).items():
                    found[i] = _unpacked(packed)
    finally:
        for other, ours in others:
            other.kill()
            other.join()
            ours.close()
        os.close(left)
    return [found[i] if i in found else one() for i, one in enumerate(work)]


def _taken(left: int) -> Iterator[int]:
    while number := os.read(left, NUMBER):
        yield int.from_bytes(number)


def _elsewhere(work: Sequence[Callable[[], Any]], left: int, answer: Connection, ends: Sequence[Connection]) -> None:
    """Makes pieces until none is left, then answers with all of them; the first that fails is the last."""
    for end in ends:  # so that nobody waits for a process that is gone
        end.close()
    allowance.allow(threads=1)
    progress.silent()
    made: dict[int, bytes] = {}
    for i in _taken(left):
        try:
            made[i] = pickle.dumps((work[i](), None), protocol=5)
        except Exception as error:
            made[i] = pickle.dumps((None, error), protocol=5)
            break
    answer.send_bytes(pickle.dumps(made, protocol=5))


def _unpacked(packed: bytes) -> Any:
    value, error = pickle.loads(packed)
    if error is not None:
        raise error
    return value
