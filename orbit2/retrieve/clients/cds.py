"""Climate Data Store through `cdsapi`: submits once, waits in the queue, downloads with resume. Never shows the key.

Request body: {"dataset": collection, "request": the store's request}. The id of a submitted job lies beside the partial file, so that
a run that was killed finds its job again instead of queueing a second one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import multiurl
import requests

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.files import short_hash, write_json
from orbit2.retrieve.clients.cds_key import key, licences, site
from orbit2.retrieve.clients.client import Client, Report, Transient
from orbit2.retrieve.clients.http import retry_after, shown
from orbit2.sources.source import Request

SAY_EVERY = 60.0  # seconds between log lines about the queue
_BLOCK = 1 << 16  # what a cut connection may lose at most
_SUBMISSIONS = 3  # a job whose result is gone is submitted again at most so often in one try
_SLOW_DOWN = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
# Failed jobs that the store itself says may pass; others are mistakes that no retry mends.
_PASSING = ("temporar", "try again", "timed out", "timeout", "internal server", "internal error", "unavailable", "maximum number",
            "connection", "mars has returned", "disk space", "quota")
_TOO_LARGE = re.compile(r"\bcosts?\b.*\b(limit|exceed)|too (large|big|many)|\blimits?\b.*exceed|exceed.*\blimits?\b|items, limit",
                        re.IGNORECASE)
_log = logging.getLogger(__name__)


def connect(settings: SourcesConfig) -> Client:
    """Raises OrbitError where there is no key."""
    return CdsClient(settings.era5.url, key(settings.era5.url), timeout=settings.transfer.timeout_seconds)


@dataclass
class _Job:
    """What is kept beside the partial file."""

    note: Path
    digest: str
    id: str | None = None
    asset: str | None = None  # name of the result that the partial belongs to

    @classmethod
    def of(cls, request: Request, url: str, target: Path) -> _Job:
        job = cls(target.with_name(f"{target.name}.job.part"), short_hash([url, request.body["dataset"], request.body["request"]], 16))
        try:
            known = json.loads(job.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return job
        if isinstance(known, dict) and known.get("digest") == job.digest:
            job.id, job.asset = known.get("id"), known.get("asset")
        return job

    def keep(self) -> None:
        write_json(self.note, {"digest": self.digest, "id": self.id, "asset": self.asset})

    def forget(self) -> None:
        self.id = self.asset = None
        self.note.unlink(missing_ok=True)


class CdsClient:
    """One account of the store. `poll`: first and longest pause between two looks at a job (seconds)."""

    def __init__(self, url: str, key: str, *, timeout: float = 60.0, poll: tuple[float, float] = (0.5, 30.0)) -> None:
        self._url, self._key, self._timeout, self._poll = url, key, timeout, poll

    def host(self, request: Request) -> str:
        return urlsplit(self._url).netloc

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        """See `Client.fetch`. Facts: the request as sent, its dataset, the job's id, seconds in the queue, and the store's checksum."""
        job = _Job.of(request, self._url, target)
        with self._refusals(request):
            store = self._store()
            for _ in range(_SUBMISSIONS):
                began = time.monotonic()
                remote = self._attached(store, job, request) or self._submitted(store, job, request)
                if not self._wait(remote, job, request, report):
                    continue
                queued = time.monotonic() - began
                result = self._result(remote, job)
                if result is None or not self._download(result, job, target, report):
                    continue
                facts = {"url": f"{self._url}/retrieve/v1/processes/{request.body['dataset']}", "dataset": request.body["dataset"],
                         "request": request.body["request"], "job": job.id, "queued_seconds": round(queued, 1),
                         "checksum": result.asset.get("file:checksum")}
                job.forget()
                return facts
        raise Transient("the store lost the job's result several times")

    def _store(self) -> Any:
        """A fresh cdsapi client: silent, and without its own retries (the transfer paces them)."""
        import cdsapi  # type: ignore[import-untyped]  # slow to import

        logging.getLogger("multiurl").setLevel(logging.CRITICAL)  # it logs servers' pages whole
        silent: Callable[..., None] = lambda *_, **__: None  # noqa: E731 (its debug line holds the key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the store's banner could not be read
            return cdsapi.Client(
                url=self._url, key=self._key, verify=True, quiet=True, progress=False, timeout=self._timeout, retry_max=1, sleep_max=1,
                wait_until_complete=False, delete=False, info_callback=silent, warning_callback=silent, error_callback=silent,
                debug_callback=silent)

    def _attached(self, store: Any, job: _Job, request: Request) -> Any:
        """The job that an earlier run submitted, None where there is none or the store has forgotten it."""
        if job.id is None:
            return None
        try:
            remote = store.client.get_remote(job.id)
        except requests.HTTPError as error:
            if _status(error) not in _GONE:
                raise
            _log.info("%s: the store does not know job %s any more", request.file, job.id)
            job.forget()
            return None
        _log.info("%s: found job %s again", request.file, job.id)
        return remote

    def _submitted(self, store: Any, job: _Job, request: Request) -> Any:
        remote = store.retrieve(request.body["dataset"], dict(request.body["request"]))
        job.id, job.asset = str(remote.request_id), None
        job.keep()
        _log.info("%s: submitted as job %s", request.file, job.id)
        return remote

    def _wait(self, remote: Any, job: _Job, request: Request, report: Report) -> bool:
        """Until the job has finished; False where it vanished. Raises Transient or OrbitError when it failed."""
        began = said = time.monotonic()
        pause = self._poll[0]
        while True:
            try:
                state = str(remote.status)
            except requests.HTTPError as error:
                if _status(error) not in _GONE:
                    raise
                state = "deleted"
            if state == "successful":
                return True
            if state in ("dismissed", "deleted"):
                job.forget()
                return False
            if state not in ("accepted", "running", "queued"):
                self._failed(remote, job, request, state)
            now = time.monotonic()
            if now - said >= SAY_EVERY:
                said = now
                _log.info("%s: job %s is %s, waiting for %d min", request.file, job.id, state, (now - began) // 60)
            _sleep(pause, report)
            pause = min(pause * 1.5, self._poll[1])

    def _failed(self, remote: Any, job: _Job, request: Request, state: str) -> NoReturn:
        from ecmwf.datastores.processing import ProcessingFailedError

        text = ""
        try:
            remote.get_results()
        except (ProcessingFailedError, requests.HTTPError) as error:
            text = self._clean(_message(error))
        number = job.id
        job.forget()  # the next try must not find the failed job again
        if any(sign in text.lower() for sign in _PASSING):
            raise Transient(f"job {number} {state}: {text}")
        raise OrbitError(f"the Climate Data Store could not do the request: job {number} {state}", where=request.file,
                         got=text or "no reason", hint="change what is asked for, or look at the job on the store's page of your requests")

    def _result(self, remote: Any, job: _Job) -> Any:
        """Where the finished job's file is; None where the store has deleted it."""
        try:
            return remote.get_results()
        except requests.HTTPError as error:
            if _status(error) not in _GONE:
                raise
            job.forget()
            return None

    def _download(self, result: Any, job: _Job, target: Path, report: Report) -> bool:
        """The file in `target`, continued where an earlier try was cut; False where the store has deleted it.

        Through multiurl, as cdsapi's own `download` does, which however begins anew each time.
        """
        size, location = int(result.content_length), str(result.location)
        have = target.stat().st_size if target.is_file() else 0
        if have and (job.asset != _name(location) or have > size):
            target.unlink()
            have = 0
        if job.asset != _name(location):
            job.asset = _name(location)
            job.keep()
        if have < size or not size:
            try:
                multiurl.download(location, target=str(target), maximum_retries=1, retry_after=0, resume_transfers=True, chunk_size=_BLOCK,
                                  timeout=self._timeout, verify=True, progress_bar=_bar(report, size))
            except requests.HTTPError as error:
                if _status(error) in _GONE:
                    job.forget()
                    target.unlink(missing_ok=True)
                    return False
                if _status(error) == 416:
                    target.unlink(missing_ok=True)
                    raise Transient("the server did not continue the file where it was cut; starting it anew", wait=0.0) from None
                raise
            except AssertionError:  # multiurl's check of the length
                if target.is_file() and target.stat().st_size == have:
                    target.unlink()
        got = target.stat().st_size if target.is_file() else 0
        if got != size:
            if got > size:
                target.unlink()
            raise Transient(f"{got} of {size} bytes came")
        if not _intact(target, result.asset.get("file:checksum")):
            target.unlink()
            raise Transient("the file's checksum is not the store's; starting it anew")
        return True

    @contextmanager
    def _refusals(self, request: Request) -> Iterator[None]:
        """The libraries' exceptions as what the transfer understands; texts are the server's, short and without secrets."""
        try:
            yield
        except requests.HTTPError as error:
            status, text = _status(error), self._clean(_message(error))
            if status in _SLOW_DOWN:
                wait = error.response.headers.get("Retry-After") if error.response is not None else None
                raise Transient(f"HTTP {status} from {self.host(request)}", wait=retry_after(wait)) from None
            if status == 401:
                raise OrbitError("the Climate Data Store does not accept the key (mistyped or expired)", where=request.file, got=text,
                                 hint=f"copy a new token from {site(self._url)}/profile into CDSAPI_KEY or ~/.cdsapirc") from None
            if status in (400, 403, 413, 422) and _TOO_LARGE.search(text):  # since 2024 also with the status of a licence that is missing
                raise OrbitError("the Climate Data Store finds the request too large (its cost limit)", where=request.file, got=text,
                                 hint="ask for less at once: fewer variables in a dataset, or a box (coarse_grid: "
                                 "name@south,north,west,east); sources.era5.backend: arco has no such limit") from None
            if status == 403:
                page = licences(self._url, request.body["dataset"])
                raise OrbitError("the Climate Data Store refuses: is the licence accepted?", where=request.file, got=text,
                                 hint=f"accept the licences once at {page}") from None
            raise OrbitError(f"the Climate Data Store refuses the request (HTTP {status})", where=request.file, got=text,
                             hint="what it answered says why; `orbit2 doctor` checks the account's file") from None  # fmt: skip
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise Transient(f"connection to {self.host(request)} failed ({type(error).__name__})") from None
        except (requests.exceptions.JSONDecodeError, KeyError, AssertionError) as error:
            raise Transient(f"{self.host(request)} answered what the store never says ({type(error).__name__})") from None

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[...]")


def _intact(file: Path, checksum: Any) -> bool:
    """Whether the MD5 that the store gives is the file's; True where it gives none."""
    if not isinstance(checksum, str) or not re.fullmatch(r"[0-9a-f]{32}", checksum):
        return True
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == checksum


def _sleep(seconds: float, report: Report) -> None:
    """In slices, reporting each time: the transfer may want to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        report(0, None)
        time.sleep(min(left, 0.5))


def _bar(report: Report, size: int) -> Callable[..., Any]:
    """What multiurl takes for a progress bar."""

    class Bar:
        def __init__(self, total: int | None = None, initial: int = 0, desc: str | None = None) -> None:
            self.done = initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            self.done += count
            report(self.done, size)

        def close(self) -> None:
            pass

    return Bar


def _name(location: str) -> str:
    """The result's own name: query strings may hold signatures."""
    return urlsplit(location).path


def _status(error: requests.HTTPError) -> int:
    return error.response.status_code if error.response is not None else 0


def _message(error: Exception) -> str:
    """The store's own words: `cdsapi` puts status and URL on the first line."""
    lines = str(error).splitlines()
    return shown(" ".join(lines[1:] if len(lines) > 1 and " for url: " in lines[0] else lines))
