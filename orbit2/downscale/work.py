"""The loop of inference: read the next item and write the last one while this one is computed. Never looks at a field."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from orbit2.downscale.items import Item
from orbit2.progress import Count
from orbit2.timing import Clock

log = logging.getLogger(__name__)
Read = TypeVar("Read")
Made = TypeVar("Made")


class Flag(Protocol):
    def __bool__(self) -> bool: ...


@dataclass
class Spent:
    """What was done and where the time went, in seconds; `waiting` is the compute thread's, `read` and `write` go on beside it."""

    items: int = 0
    windows: int = 0  # of one time each
    fields: float = 0.0
    wall: float = 0.0
    read: float = 0.0
    compute: float = 0.0
    write: float = 0.0
    waiting: float = 0.0

    def line(self) -> str:
        rate = 3600 * self.fields / self.wall if self.wall else 0.0
        return (
            f"{self.items} items ({self.fields:.4g} fields) in {self.wall:.1f} s, {rate:.3g} fields/hour: compute {self.compute:.1f} s, "
            f"waiting for reading and writing {self.waiting:.1f} s; beside it read {self.read:.1f} s, write {self.write:.1f} s"
        )


def work(
    todo: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
    *,
    label: str,
    fields_of: Callable[[Item], float],
    stop: Flag,
    clock: Clock | None = None,
    writers: int = 1,
    depth: int = 1,
) -> Spent:
    """Do `todo` in order; a request to stop lets the item in hand finish. An exception of any of the three ends the work.

    At most `depth` items are read ahead, and as many wait for `writers` (threads that call `write`): memory for twice as many, and one. One
    is enough where items take alike; a time's first reads all of it, and of mixed tiles some write none and others two. `clock` is lapped
    while it waits.
    """
    clock = clock or Clock()
    spent, began = Spent(), time.perf_counter()
    progress = Count(label, len(todo))
    upcoming, ahead, behind = iter(todo), deque[tuple[Item, Future[tuple[Read, float]]]](), deque[Future[tuple[None, float]]]()

    def ask(reader: ThreadPoolExecutor) -> None:
        if (item := next(upcoming, None)) is not None:
            ahead.append((item, reader.submit(_timed, read, item)))

    def landed() -> None:
        clock.lap("saving")
        spent.write += _waited(behind.popleft(), spent)[1]

    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(writers, "writer") as writer, progress:
        for _ in range(depth):
            ask(reader)
        try:
            while ahead and not stop:
                clock.lap("waiting")
                item, future = ahead.popleft()
                fields, seconds = _waited(future, spent)
                spent.read += seconds
                ask(reader)
                clock.lap("other")
                made, seconds = _timed(compute, item, fields)
                spent.compute += seconds
                del fields, future  # the fields may go before the next are waited for
                while len(behind) >= max(depth, writers):
                    landed()
                behind.append(writer.submit(_timed, write, item, made))
                del made
                clock.lap("other")
                spent.items += 1
                spent.windows += item.count
                spent.fields += fields_of(item)
                spent.wall = time.perf_counter() - began
                progress.step(f"{3600 * spent.fields / spent.wall:.3g} fields/hour")
        finally:
            for _, future in ahead:
                future.cancel()  # of what nobody will compute
        while behind:
            landed()
    clock.lap("other")
    spent.wall = time.perf_counter() - began
    log.info("%s: %s", label, spent.line())
    return spent


def _timed(act: Callable[..., Made], *arguments: Any) -> tuple[Made, float]:
    began = time.perf_counter()
    return act(*arguments), time.perf_counter() - began


def _waited(future: Future[Made], spent: Spent) -> Made:
    began = time.perf_counter()
    try:
        return future.result()
    finally:
        spent.waiting += time.perf_counter() - began
