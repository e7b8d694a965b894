"""Stops asked for from outside: SIGUSR1, SIGTERM and the run's own deadline. Never interrupts a step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType


class StopRequest:
    """True from the first signal or the deadline on; `reason` says which. Use as a context manager.

    Only the main thread may listen to signals; any other has the deadline alone.
    """

    def __init__(self, wall_minutes: float = 0.0) -> None:
        self.reason: str | None = None
        self._deadline = time.monotonic() + 60 * wall_minutes if wall_minutes else None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGUSR1, signal.SIGTERM) if main else ():
            self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name

    def __bool__(self) -> bool:
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "wall time"
        return self.reason is not None
