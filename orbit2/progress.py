"""What a command tells while it works: a bar on a terminal, at least a line a minute in a log. Never touches the work itself."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

FIRST_SECONDS = 2.0  # until the first line of a log
LINE_SECONDS = 50.0  # without a line in a log; two of them are never more than a minute apart
TERMINAL_SECONDS = 10.0  # without a line or a bar on a terminal; shorter work ends without a word
SPECIAL_STEPS = 0xFFFFFFF0  # SLURM's numbers of batch, extern, interactive and pending steps lie above

Item = TypeVar("Item")
log = logging.getLogger(__name__)


def detect(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """(rank, world, local rank) from torchrun's variables or those of an srun step; (0, 1, 0) for a plain process.

    An sbatch script, its extern step and an interactive shell have SLURM_PROCID and SLURM_NTASKS too, but are one process: only a
    numbered step starts as many as its SLURM_STEP_NUM_TASKS says.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment.get("LOCAL_RANK", 0))
    step, tasks = environment.get("SLURM_STEP_ID", ""), environment.get("SLURM_STEP_NUM_TASKS", "")
    if step.isdecimal() and int(step) < SPECIAL_STEPS and tasks.isdecimal() and "SLURM_PROCID" in environment:
        return int(environment["SLURM_PROCID"]), int(tasks), int(environment.get("SLURM_LOCALID", 0))
    return 0, 1, 0


def number(count: int, unit: str) -> str:
    """`1 file`, `1,234 files`."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


class Telling:
    """What the process is doing, for lines in a log, or on a terminal while no bar is there. One thread watches the clock while it is used
    as a context manager."""

    def __init__(self, label: str, terminal: bool = False) -> None:
        self.label, self.terminal = label, terminal
        self._began = self._said = time.monotonic()
        self._doing = "starting"
        self._over = threading.Event()
        self.bars = 0

    def __enter__(self) -> Telling:
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._heard)
        threading.Thread(target=self._watch, name="telling", daemon=True).start()
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        self._over.set()
        for handler in logging.getLogger().handlers:
            handler.removeFilter(self._heard)

    def doing(self, what: str) -> None:
        self._doing = what

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def _heard(self, _: logging.LogRecord) -> bool:
        """Any line of a log is a sign of life."""
        self._said = time.monotonic()
        return True

    def _watch(self) -> None:
        first, usual = (TERMINAL_SECONDS, TERMINAL_SECONDS) if self.terminal else (FIRST_SECONDS, LINE_SECONDS)
        wait = first
        while not self._over.wait(max(0.05, wait)):
            silent = time.monotonic() - self._said
            if self.bars:
                self._said = time.monotonic()
            elif silent >= (first if self._said == self._began else usual):
                log.info("%s: %s; %s so far", self.label, self._doing, tqdm.format_interval(time.monotonic() - self._began))
            wait = self._said + usual - time.monotonic()


_now: Telling | None = None
_silent = False


@contextmanager
def telling(label: str, brief: bool = False) -> Iterator[None]:
    """While it lasts, the first process of a job says what it does: soon, then at least once a minute on a log; on a terminal where
    nothing else shows that it lives. `brief`: what is often done at once ends without a word then."""
    global _now
    if _now is not None or detect()[0] != 0:
        yield
        return
    began, terminal = time.monotonic(), sys.stderr.isatty()
    with Telling(label, terminal) as _now:
        code: object = None
        try:
            yield
        except SystemExit as stop:  # how the command line ends, also well
            code = stop.code
            raise
        except BaseException:
            code = 1
            raise
        finally:
            least = TERMINAL_SECONDS if terminal else FIRST_SECONDS if brief else 0.0
            if not code and not _now.over and time.monotonic() - began >= least:
                log.info("%s: done, %s", label, tqdm.format_interval(time.monotonic() - began))
            _now = None


def hand_over() -> None:
    """From here on another voice (the trainer's) says what goes on."""
    if _now is not None:
        _now.__exit__()


def silent() -> None:
    """From here on this process, one of several that do the same, shows no bars."""
    global _silent
    _silent = True


def doing(what: str) -> bool:
    """What goes on from here, for the line of a minute in which nothing else is said; whether anybody says it."""
    if _now is not None:
        _now.doing(what)
    return _now is not None


def bar(more: int) -> None:
    """One bar more or less is shown: on a terminal they speak for themselves, in a log there are none."""
    if _now is not None and _now.terminal:
        _now.bars += more


class Count:
    """`total` like things done one after another: a bar with the time left on a terminal; in a log, what the line of a minute says."""

    def __init__(self, label: str, total: int, unit: str = "item") -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self._began = self._said = time.monotonic()
        self._bar = tqdm(total=total, unit=unit, desc=label, disable=_silent or not sys.stderr.isatty(), dynamic_ncols=True)
        bar(1)
        doing(f"{label}: 0 of {number(total, unit)}")

    def __enter__(self) -> Count:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        bar(-1)
        if self.done >= self.total:
            doing(f"{self.label}: finishing")

    def step(self, note: str = "") -> None:
        """One more is done; `note` is added to the line."""
        self.done += 1
        self._bar.update()
        left = (time.monotonic() - self._began) / self.done * max(0, self.total - self.done)
        line = f"{self.label}: {self.done} of {number(self.total, self.unit)}{note and ', '}{note}, {tqdm.format_interval(left)} left"
        if not doing(line) and self._bar.disable and time.monotonic() - self._said >= LINE_SECONDS:  # called from Python
            self._said = time.monotonic()
            log.info("%s", line)


def counted(items: Iterable[Item], label: str, total: int, unit: str = "item") -> Iterator[Item]:
    """The items, each counted when the next is asked for."""
    with Count(label, total, unit) as count:
        for item in items:
            yield item
            count.step()
