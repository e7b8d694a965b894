"""Several pictures packed at a time: packing does not hold Python's lock. Never changes an order, or what is packed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from orbit2 import allowance

T = TypeVar("T")
AHEAD = 2  # pieces of work that wait for each thread: pictures are megabytes


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
