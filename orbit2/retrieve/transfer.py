"""Fetches requests in parallel: waits, resumes, checks, records. Never lists a file that was not checked and moved whole into place."""

from __future__ import annotations

import errno
import logging
import os
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity

from orbit2.config.sources import TransferConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients.client import Absent, Client, Transient
from orbit2.retrieve.progress import Progress, human
from orbit2.sources import manifest
from orbit2.sources.source import ClientName, Facts, Request

MAX_WAIT = 3600.0  # a server's Retry-After beyond this is not waited for
MAX_FAILURES = 10  # final failures in a row after which no further file is begun: the next would fail the same way
PROGRESS_BYTES = 1 << 20  # a try that brought this much more than any before it does not count against `attempts`
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCAL = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
          errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE)  # failures of this machine's disk, not of the network
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one transfer did."""

    fetched: int
    bytes: int
    gaps: int


class _Stopped(Exception):
    """Raised inside a worker when the transfer ends early; what it has so far stays as a partial."""


@dataclass
class _Work:
    """What the workers share."""

    ledger: manifest.Ledger
    connect: Callable[[ClientName], Client]
    check: Callable[[Path, Request], None]
    facts: Facts
    settings: TransferConfig
    progress: Progress
    stop: threading.Event


def transfer(
    requests: Sequence[Request], *, planned: int, ledger: manifest.Ledger, connect: Callable[[ClientName], Client],
    check: Callable[[Path, Request], None], facts: Facts, settings: TransferConfig,
) -> Outcome:
    """Fetch `requests` into the ledger's folder; each is listed as soon as it is whole and passes `check`.

    `planned` counts the whole plan (for the share of gaps). A file's final failure does not stop the others; in the end one
    OrbitError tells how many failed and why the first did, or that the provider lacks more files than `max_gaps` allows.
    Whatever happens, finished files stay listed and partials (`*.part`) are resumed by the next run.
    """
    if not requests:
        return Outcome(0, 0, 0)
    clients = {name: connect(name) for name in dict.fromkeys(r.client for r in requests)}
    line = _Line(requests, lambda r: clients[r.client].host(r), settings.per_host, most_gaps=settings.max_gaps * planned)
    results: queue.Queue[tuple[Request, int | BaseException]] = queue.Queue()
    with Progress(ledger.source, list(requests)) as progress:
        work = _Work(ledger, lambda name: clients[name], check, facts, settings, progress, threading.Event())
        # Daemons: a client that sleeps in a provider's queue must not hold back Ctrl-C.
        workers = [threading.Thread(target=_worker, args=(line, work, results), daemon=True)
                   for _ in range(min(settings.workers, len(requests)))]
        for worker in workers:
            worker.start()
        try:
            return _collect(len(requests), planned, results, line, work)
        finally:
            work.stop.set()
            line.close()
            for worker in workers:
                worker.join(timeout=1.0 / len(workers))


def _collect(
    count: int, planned: int, results: queue.Queue[tuple[Request, int | BaseException]], line: _Line, work: _Work
) -> Outcome:
    """Wait for every file that was begun; decide what each result means."""
    fetched = size = 0
    gaps: list[Request] = []
    failed: list[tuple[Request, BaseException]] = []
    settled = 0
    while settled < count - line.cancelled:
        try:
            request, result = results.get(timeout=1.0)
        except queue.Empty:
            work.progress.show()
            continue
        settled += 1
        match result:
            case int():
                fetched, size = fetched + 1, size + result
            case Absent():
                gaps.append(request)
            case OrbitError() | Transient() | tenacity.RetryError():
                failed.append((request, result))
                _log.warning("%s failed: %s", request.file, result)
            case _:
                raise result  # a bug, not a download that went wrong
        work.progress.show()
    _judge(gaps, failed, fetched, planned, line.cancelled, work)
    return Outcome(fetched, size, len(gaps))


def _judge(
    gaps: list[Request], failed: list[tuple[Request, BaseException]], fetched: int, planned: int, left: int, work: _Work
) -> None:
    """Raise the one OrbitError that sums up what went wrong, if anything did."""
    rest = f"{fetched} finished files are kept" + (f", {left} were not begun" if left else "") + "; run retrieve again to go on"
    if failed:
        request, error = failed[0]
        if isinstance(error, _Fatal):
            raise OrbitError(error.what, where=error.where, hint=f"{error.hint}; {rest}")
        named = error if str(error).startswith(request.file) else f"{request.file}: {error}"
        raise OrbitError(f"{len(failed)} of {planned} files could not be retrieved; the first, {named}",
                         where=work.ledger.source, hint=rest)
    if len(gaps) > work.settings.max_gaps * planned:
        reason = work.ledger.gaps.get(gaps[0].file, {}).get("reason", "absent")
        raise OrbitError(f"the provider does not have {len(gaps)} of {planned} files, the first {gaps[0].file} ({reason})",
                         where=work.ledger.source, allowed=f"sources.transfer.max_gaps = {work.settings.max_gaps}",
                         hint="change the periods, or allow more gaps; " + rest)


class _Fatal(OrbitError):
    """A failure that every other file would share (a full disk): nothing more is begun."""


class _Line:
    """The requests that wait, handed out so that no host has more than its share at once, and none once it makes no sense."""

    def __init__(self, requests: Sequence[Request], host: Callable[[Request], str], per_host: int, most_gaps: float) -> None:
        self._waiting: dict[str, deque[Request]] = {}
        for request in requests:
            self._waiting.setdefault(host(request), deque()).append(request)
        self._busy = dict.fromkeys(self._waiting, 0)
        self._limit, self._most_gaps, self._changed = per_host, most_gaps, threading.Condition()
        self._gaps = self._row = self.cancelled = 0

    def take(self) -> tuple[str, Request] | None:
        """The next request of the least busy host, waiting until one may start; None when nothing waits."""
        with self._changed:
            while any(self._waiting.values()):
                free = [h for h, queued in self._waiting.items() if queued and self._busy[h] < self._limit]
                if free:
                    host = min(free, key=lambda h: self._busy[h])
                    self._busy[host] += 1
                    return host, self._waiting[host].popleft()
                self._changed.wait()
            return None

    def settle(self, host: str, result: int | BaseException) -> None:
        """A request of `host` is done. Closes the line when the next would fail the same way, or too much is missing already."""
        with self._changed:
            self._busy[host] -= 1
            self._gaps += isinstance(result, Absent)
            self._row = self._row + 1 if isinstance(result, BaseException) and not isinstance(result, Absent) else 0
            if isinstance(result, _Fatal) or self._row >= MAX_FAILURES or self._gaps > self._most_gaps:
                self.close()
            self._changed.notify_all()

    def close(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self.cancelled += sum(map(len, self._waiting.values()))
            for queued in self._waiting.values():
                queued.clear()
            self._changed.notify_all()


def _worker(line: _Line, work: _Work, results: queue.Queue[tuple[Request, int | BaseException]]) -> None:
    while (taken := line.take()) is not None:
        host, request = taken
        result: int | BaseException
        try:
            result = _one(request, work)
        except BaseException as error:  # handed to the collecting thread, which decides
            result = error
        line.settle(host, result)
        results.put((request, result))


def _one(request: Request, work: _Work) -> int:
    """Fetch, check, move into place and record one file; its size in bytes."""
    final = work.ledger.folder / request.file
    target = final.with_name(final.name + ".part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        facts = _persistently(request, target, work)
        if not target.is_file():
            raise RuntimeError(f"client '{request.client}' wrote no file for {request.file}")
        _checked(target, request, work)
        record = _record(target, request, facts, work.facts)
        _into_place(target, final)
        work.ledger.add(record)
    except Absent as gap:
        target.unlink(missing_ok=True)
        work.progress.finish(request.file, 0)
        work.ledger.gap(file=request.file, variables=request.variables, first=request.first, last=request.last,
                        reason=str(gap) or "the provider does not have it")
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _Fatal("disk is full", where=work.ledger.folder, hint="free some space") from None
        raise _Fatal(f"cannot be written ({error.strerror or type(error).__name__})", where=final, hint="check the folder") from None
    work.progress.finish(request.file, record["bytes"])
    return int(record["bytes"])


def _persistently(request: Request, target: Path, work: _Work) -> dict[str, Any]:
    """Call the client until it succeeds, waiting longer each time, at least as long as the server asks."""
    settings = work.settings
    spread = tenacity.wait_exponential_jitter(initial=settings.backoff_seconds, max=settings.backoff_limit, jitter=settings.backoff_seconds)
    best = fruitless = 0

    def pause(state: tenacity.RetryCallState) -> float:
        asked = _failure(state).wait
        return spread(state) if asked is None else asked + random.uniform(0.0, settings.backoff_seconds)

    def enough(state: tenacity.RetryCallState) -> bool:
        nonlocal best, fruitless
        size = target.stat().st_size if target.is_file() else 0
        fruitless = 1 if size >= best + PROGRESS_BYTES else fruitless + 1
        best = max(best, size)
        return fruitless >= settings.attempts or (_failure(state).wait or 0.0) > MAX_WAIT

    def say(state: tenacity.RetryCallState) -> None:
        _log.info("%s: %s; trying again in %.0f s", request.file, _failure(state), state.upcoming_sleep)

    def report(got: int, total: int | None) -> None:
        if work.stop.is_set():
            raise _Stopped
        work.progress.update(request.file, got, total)

    def sleep(seconds: float) -> None:
        if work.stop.wait(seconds):
            raise _Stopped

    def attempt() -> dict[str, Any]:
        if work.stop.is_set():
            raise _Stopped
        work.progress.begin(request.file, target.stat().st_size if target.is_file() else 0)
        try:
            return work.connect(request.client).fetch(request, target, report)
        except OSError as error:
            if error.errno in _LOCAL:
                raise
            raise Transient(f"connection failed ({type(error).__name__})") from None  # what a client's library lets through

    retrying = tenacity.Retrying(retry=tenacity.retry_if_exception_type(Transient), stop=enough, wait=pause, sleep=sleep,
                                 before_sleep=say, reraise=True)
    return retrying(attempt)


def _failure(state: tenacity.RetryCallState) -> Transient:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Transient) else Transient("unknown")


def _checked(target: Path, request: Request, work: _Work) -> None:
    try:
        work.check(target, request)
    except (OrbitError, OSError, ValueError, RuntimeError) as error:  # libraries say in many ways that a file is not theirs
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        target.unlink(missing_ok=True)  # whole but wrong: resuming it would never mend it
        raise OrbitError(f"what the server sent is not the file: {str(error).replace(str(target), request.file)}", where=request.file,
                         hint="start again; where it stays so, look at the file at the provider's") from None  # fmt: skip


def _record(target: Path, request: Request, sent: dict[str, Any], facts: Facts) -> manifest.Record:
    sent = dict(sent)
    origin = str(sent.pop("origin", None) or sent.pop("url", None) or f"{facts.title} ({request.client})")
    return manifest.entry(
        target, origin=origin, licence=facts.licence, doi=facts.doi, attribution=facts.attribution, file=request.file,
        variables=request.variables, first=request.first, last=request.last, box=request.box, facts=sent)


def _into_place(target: Path, final: Path) -> None:
    """Durable before it is listed: content first, then the name."""
    with open(target, "rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(target, final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def enough_space(folder: Path, needed: int) -> None:
    """Warn where the estimate exceeds what is free."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        _log.warning("%s: about %s are needed and %s are free", folder, human(needed), human(free))
