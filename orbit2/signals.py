"""Stops asked for from outside: SIGUSR1, SIGTERM, SIGHUP, Ctrl-C and the run's own deadline. Never interrupts a step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class StopRequest:
    """True from the first signal or the deadline on; `reason` says which. Use as a context manager.

    A verb opens one before its slow imports, so that no signal is lost; one inside it hears what the outer one heard, and its
    deadline counts from there. A second Ctrl-C raises KeyboardInterrupt at once. A signal that the caller ignores (nohup, a shell's
    background job) stays ignored. Only the main thread may listen to signals; any other has the deadline alone.
    """

    def __init__(self, wall_minutes: float = 0.0) -> None:
        self._reason: str | None = None
        self._outer = _listening()
        self._began: float = time.monotonic() if self._outer is None else self._outer._began
        self._deadline = self._began + 60 * wall_minutes if wall_minutes else None
        self._interrupts: int = 0 if self._outer is None else self._outer._interrupts
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        main = threading.current_thread() is threading.main_thread()
        for number in STOPS if main else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _received(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._interrupts += number == signal.SIGINT
        if number == signal.SIGINT and self._interrupts > 1:
            raise KeyboardInterrupt
        if self.reason is None or number == signal.SIGINT:
            again = "; Ctrl-C again ends at once, and only what was saved before is kept" if number == signal.SIGINT else ""
            _say(f"\n{name}: the work in hand is finished and saved, then this stops{again}\n")
        self._reason = self._reason or name

    @property
    def reason(self) -> str | None:
        """What asked for the stop: a signal's name or "wall time"; None while nothing did."""
        if self._reason is None and self._outer is not None:
            self._reason = self._outer.reason
        if self._reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self._reason = "wall time"
        return self._reason

    def __bool__(self) -> bool:
        return self.reason is not None


def _listening() -> StopRequest | None:
    """The request that listens now."""
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return owner if isinstance(owner, StopRequest) else None


def _say(text: str) -> None:
    """Write to stderr from inside a handler: past Python's buffers, which the interrupted code may hold."""
    with suppress(OSError):  # nobody reads any more
        os.write(2, text.encode())


@contextmanager
def held_back() -> Iterator[None]:
    """Hold the stop signals back for a moment. Processes started meanwhile inherit that for good: stopping is this one's affair."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent(_: int = 0) -> None:
    """In a worker process started under `held_back` (`worker_init_fn`): SIGTERM ends it only when its own parent sends it."""
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo(STOPS).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
