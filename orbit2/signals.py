"""Stops asked for from outside: SIGUSR1, SIGTERM, SIGHUP, Ctrl-C, `orbit2 stop` and the run's own deadline. Never interrupts a step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

FLOOR = 360.0  # seconds before the end of a job: ahead of a signal that is asked for 300 s before it, which may come 60 s early
SHARE, MOST = 0.1, 0.5  # of the job's time: what is kept free of a short one where FLOOR were more, and the most that ever is
TIMES = 2.0  # what a save, a validation and a step took last, kept free before the end
STOPPED = Path(".snakemake/orbit2/stop")  # lies in a workflow's folder while its run is being stopped (`orbit2 stop`)
LOOK = 10.0  # seconds between two looks for it
STOPS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class StopRequest:
    """True from the first signal or deadline on; `reason` says which. Use as a context manager.

    Deadlines are set with `within` (counted from the start) and `before` (the end of the job, less what a last save needs: `took`); the
    soonest counts.

    A verb opens one before its slow imports, so that no signal is lost; one inside it hears what the outer one heard, and `within`
    counts from there. A second Ctrl-C raises KeyboardInterrupt at once. A signal that the caller ignores (nohup, a shell's
    background job) stays ignored. Only the main thread may listen to signals; any other has deadlines alone.
    """

    def __init__(self, wall_minutes: float = 0.0) -> None:
        self._reason: str | None = None
        self._outer = _listening()
        self._began: float = time.monotonic() if self._outer is None else self._outer._began
        self._limits: list[tuple[float, str]] = []
        self._end: tuple[float, float, float, str] | None = None  # when (monotonic), least and greatest margin, who says so
        self._took: dict[str, float] = {}
        self._interrupts: int = 0 if self._outer is None else self._outer._interrupts
        self._previous: dict[int, object] = {}
        self._file = Path.cwd() / STOPPED if "ORBIT2_RUN" in os.environ else None  # only jobs of a workflow look for it
        self._looked = -LOOK
        self.within(wall_minutes)

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

    def within(self, minutes: float, who: str = "the given time") -> None:
        """Stop this long after the start; 0: no limit."""
        if minutes:
            self._limits.append((self._began + 60 * minutes, who))

    def before(self, left: float, who: str, floor: float = FLOOR) -> None:
        """Stop in time for a last save, at least `floor` seconds, before the job ends, which is in `left` seconds as `who` says."""
        self._end = (time.monotonic() + left, min(floor, SHARE * left), MOST * left, who)

    def took(self, what: str, seconds: float) -> None:
        """How long the last save, validation or step was: TIMES as much is kept free before the job's end."""
        self._took[what] = seconds

    def _deadline(self) -> tuple[float, str, str] | None:
        """(when (monotonic), what is said of a stop then, what it rests on)."""
        found = [(at, "wall time", who) for at, who in self._limits]
        if self._end is not None:
            at, least, most, who = self._end
            margin = min(max(least, TIMES * sum(self._took.values())), most)
            found.append((at - margin, "the job's time limit", f"{margin:.0f} s before the job's end by {who}"))
        return min(found, default=None)

    @property
    def deadline(self) -> str:
        """When it stops by itself, for a log: "stops at 14:05:00 (...)"; empty where nothing is known."""
        if (found := self._deadline()) is None:
            return ""
        when = time.time() + found[0] - time.monotonic()
        day = "%a " if abs(when - time.time()) > 86000 else ""
        return f"stops at {time.strftime(f'{day}%H:%M:%S', time.localtime(when))} ({found[2]})"

    @property
    def asked(self) -> bool:
        """Whether somebody asked for the stop (SIGTERM, SIGHUP, Ctrl-C). A time limit did not, nor did SIGUSR1, which comes before one."""
        return self.reason in (signal.SIGTERM.name, signal.SIGHUP.name, signal.SIGINT.name)

    @property
    def reason(self) -> str | None:
        """What asked for the stop: a signal's name, "orbit2 stop", "wall time" or "the job's time limit"; None while nothing did."""
        if self._reason is None and self._outer is not None:
            self._reason = self._outer.reason
        if self._reason is None and (found := self._deadline()) is not None and time.monotonic() >= found[0]:
            self._reason = found[1]
        if self._reason is None and self._file is not None and time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._reason = "orbit2 stop" if self._file.exists() else None
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


def hold() -> None:
    """Let stop signals wait from here on until `release`: for the time in which nobody could listen yet."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def release() -> None:
    """Let signals come, those that wait first: somebody listens. Also undoes what the process that started this one held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


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
