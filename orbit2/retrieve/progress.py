"""How far a transfer is: a bar on a terminal, one log line a minute elsewhere. Never touches the files themselves."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from tqdm import tqdm

from orbit2.progress import bar, doing
from orbit2.sources.source import Request

PERIOD_SECONDS = 60.0
_log = logging.getLogger(__name__)


def human(size: float) -> str:
    """Bytes as people read them: 1.5 TB, 12.3 GB, 4.0 MB, 512 B (powers of 1000)."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} B"


class Progress:
    """Bytes and files of one transfer. Unknown sizes are the plan's estimates, replaced as files become known."""

    def __init__(self, label: str, requests: list[Request], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._label, self._clock = label, clock
        self._sizes = {r.file: float(r.bytes) for r in requests}
        self._got: dict[str, int] = {}
        self._received = 0  # over the network in this run; a resumed file's earlier bytes do not count for the rate
        self._done = 0
        self._begin = self._last = clock()
        self._mutex = threading.Lock()
        self._bar = tqdm(total=sum(self._sizes.values()), desc=label, unit="B", unit_scale=True, file=sys.stderr) if _terminal() else None
        bar(1)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        bar(-1)

    def begin(self, file: str, got: int) -> None:
        """`file` starts, or starts again, with `got` bytes of an earlier try."""
        with self._mutex:
            self._got[file] = got

    def update(self, file: str, got: int, total: int | None) -> None:
        """`got` bytes of `file` are there, of `total` if known."""
        with self._mutex:
            self._received += max(0, got - self._got.get(file, 0))
            self._got[file] = got
            self._sizes[file] = float(total) if total is not None else max(self._sizes[file], got)

    def finish(self, file: str, size: int) -> None:
        """`file` is complete (`size` bytes), or will not come (0)."""
        with self._mutex:
            self._got[file], self._sizes[file] = size, float(size)
            self._done += 1

    def show(self) -> None:
        """Bring the bar up to date, or log a line when the last one is a minute old; called about once a second."""
        with self._mutex:
            if self._bar is not None:
                self._bar.total = sum(self._sizes.values())
                self._bar.n = sum(self._got.values())
                self._bar.set_postfix_str(f"{self._done}/{len(self._sizes)} files", refresh=False)
                self._bar.refresh()
            elif not doing(self.line()) and self._clock() - self._last >= PERIOD_SECONDS:
                self._last = self._clock()
                _log.info("%s", self.line())

    def line(self) -> str:
        """`prism: 12/365 files, 17.3 MB of about 512.0 MB, 1.2 MB/s, 0:06:51 left`."""
        got, total = sum(self._got.values()), sum(self._sizes.values())
        rate = self._received / max(self._clock() - self._begin, 1e-9)
        left = str(timedelta(seconds=int(max(0.0, total - got) / rate))) if rate > 0 else "unknown time"
        return f"{self._label}: {self._done}/{len(self._sizes)} files, {human(got)} of about {human(total)}, {human(rate)}/s, {left} left"


def _terminal() -> bool:
    return sys.stderr.isatty()
