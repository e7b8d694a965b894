"""Fetches a URL into a file and resumes where a cut connection left it. Never retries, never logs a URL that it was redirected to.

Request body: {"url"}, and optional: "minimum_bytes" (shorter answers are error pages), "maximum_bytes", "begins" (the file's first
characters, e.g. "PK"), "absent" (words with which this service says, status 200, that it has no such file).
"""

from __future__ import annotations

import email.utils
import html
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx

from orbit2.config.sources import SourcesConfig, TransferConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients import partial
from orbit2.retrieve.clients.client import Absent, Client, Report, Transient
from orbit2.sources.source import Request

MAX_REDIRECTS = 10
_SLOW_DOWN = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524})
_LEAST_LIMIT = 2 * 2**30  # no file is refused below this size, however small its estimate was


def connect(settings: SourcesConfig) -> Client:
    return HttpClient(settings.transfer)


def shown(text: str, limit: int = 160) -> str:
    """A server's text as one short line: tags, control characters and long tokens (which may be secrets) removed."""
    plain = html.unescape(re.sub(r"<(script|style)\b.*?(</\1>|$)|<[^>]*>", " ", text, flags=re.S | re.I))
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    plain = re.sub(r"[A-Za-z0-9_\-+/=.~%]{48,}", "[...]", plain)
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def retry_after(value: str | None) -> float | None:
    """Seconds to wait from a Retry-After header (a number of seconds or an HTTP date), None where it says nothing usable."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


class HttpClient:
    """GET with resume. `headers` (a token, say) and `auth` go to the request's own host only, never along a redirect to another."""

    def __init__(
        self, transfer: TransferConfig, *, headers: Mapping[str, str] | None = None, auth: httpx.Auth | None = None,
        account: str = "this server",
    ) -> None:
        self._headers, self._auth = dict(headers or {}), auth
        self._account = account  # named in the message about refused credentials
        self._http = httpx.Client(
            headers={"User-Agent": "orbit2", "Accept-Encoding": "identity"}, follow_redirects=False,
            timeout=transfer.timeout_seconds, limits=httpx.Limits(max_connections=transfer.workers + 2))

    def host(self, request: Request) -> str:
        return httpx.URL(str(request.body["url"])).host

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        """See `Client.fetch`. Facts: the URL asked for, ETag and Last-Modified where the server sent them."""
        url = _checked(httpx.URL(str(request.body["url"])), request.file)
        have, validator = partial.held(target, str(url))
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
        try:
            with _passing_failures(url), self._get(url, headers) as response:
                return self._receive(response, request, url, target, have, validator, report)
        except Absent:
            partial.forget(target)
            raise

    def _receive(
        self, response: httpx.Response, request: Request, url: httpx.URL, target: Path, have: int, validator: str, report: Report,
    ) -> dict[str, Any]:
        """Write what the server sends after the `have` bytes that are there, or anew."""
        match response.status_code:
            case 200:
                have = 0
            case 206 if have and partial.continues(response.headers, have, validator):
                pass
            case 416 if partial.complete(response.headers, have):
                return self._done(url, target, response)  # it was complete; only the rename was missing
            case 206 | 416:
                target.unlink(missing_ok=True)
                raise Transient("the server did not continue the file where it was cut; starting it anew", wait=0.0)
            case status:
                _refuse(status, response, request.file, self._account)
        total = _length(response, have)
        blocks = response.iter_bytes() if "Content-Encoding" in response.headers else response.iter_raw()  # as they arrive
        begin = b"" if have else next(blocks, b"")
        _plausible(response, total, request, begin, blocks, resumed=bool(have))
        if not have:
            target.unlink(missing_ok=True)
            partial.remember(target, str(url), response.headers)
        self._write(itertools.chain([begin], blocks), target, have, total, request, report)
        return self._done(url, target, response)

    @contextmanager
    def _get(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """GET, following redirects to http(s) only, never from https to http."""
        request = self._http.build_request("GET", url, headers={**self._headers, **headers})
        for _ in range(MAX_REDIRECTS + 1):
            if request.url.host != url.host:
                for name in self._headers:
                    request.headers.pop(name, None)
            response = self._http.send(request, stream=True, auth=self._auth if request.url.host == url.host else None)
            if response.next_request is None:
                try:
                    yield response
                finally:
                    response.close()
                return
            response.close()
            following = response.next_request
            if following.url.scheme not in ("http", "https") or (request.url.scheme == "https" and following.url.scheme == "http"):
                raise OrbitError("server redirects to a place that is not followed", where=url.host, got=following.url.scheme,
                                 allowed="http, https (and never from https to http)",
                                 hint="check the address; a proxy or a login page may be in the way")  # fmt: skip
            request = following
        raise OrbitError("server redirects in a circle", where=url.host, allowed=f"at most {MAX_REDIRECTS} redirects",
                         hint="check the address; a proxy or a login page may be in the way")  # fmt: skip

    @staticmethod
    def _write(blocks: Iterable[bytes], target: Path, have: int, total: int | None, request: Request, report: Report) -> None:
        limit = _limit(request)
        got = have
        with open(target, "ab" if have else "wb") as out:
            for block in blocks:
                got += len(block)
                if got > limit or (total is not None and got > total):
                    break
                out.write(block)
                report(got, total)
        if got > limit or (total is not None and got > total):
            target.unlink(missing_ok=True)
            raise OrbitError("file is larger than it can be", where=request.file, got=f"more than {min(limit, total or limit)} bytes",
                             hint="start again; where it stays so, look at the file at the provider's")  # fmt: skip
        if total is not None and got < total:
            raise Transient(f"connection cut after {got} of {total} bytes")

    @staticmethod
    def _done(url: httpx.URL, target: Path, response: httpx.Response) -> dict[str, Any]:
        partial.forget(target)
        facts = {"url": str(url), "etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
        return {key: value for key, value in facts.items() if value}


def _checked(url: httpx.URL, file: str) -> httpx.URL:
    if url.scheme not in ("http", "https") or not url.host:
        raise OrbitError("not a web address", where=file, got=url.scheme or "no scheme", allowed="http://..., https://...",
                         hint="check the address in the configuration")  # fmt: skip
    if url.userinfo:
        raise OrbitError("a URL must not carry a user or password", where=file, hint="put them into ~/.netrc")
    return url


def _length(response: httpx.Response, have: int) -> int | None:
    """Size of the whole file, or None where the server does not say."""
    if "Content-Encoding" in response.headers or "Content-Length" not in response.headers:
        whole = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(whole[1]) if whole else None
    return have + int(response.headers["Content-Length"])


def _limit(request: Request) -> int:
    return int(request.body.get("maximum_bytes", max(_LEAST_LIMIT, 20 * request.bytes)))


def _plausible(
    response: httpx.Response, total: int | None, request: Request, begin: bytes, blocks: Iterator[bytes], *, resumed: bool
) -> None:
    """Raise OrbitError where the answer is a page instead of a file, or too large. Nothing is written then."""
    page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    short = total is not None and total < int(request.body.get("minimum_bytes", 1))
    magic = str(request.body.get("begins", "")).encode("latin-1")
    other = not resumed and begin[: len(magic)] != magic[: len(begin)]
    if page or short or other:
        said = _said(itertools.chain([begin], blocks))
        if "absent" in request.body and str(request.body["absent"]).lower() in said.lower():
            raise Absent(said)
        raise OrbitError(f"the server sent {'a web page' if page else 'a message'} instead of the file", where=request.file, got=said,
                         hint="read what it says, and try again later")
    if total is not None and total > _limit(request):
        raise OrbitError("file is larger than it can be", where=request.file, got=f"{total} bytes", allowed=f"{_limit(request)} bytes",
                         hint="look at the file at the provider's")  # fmt: skip


def _said(blocks: Iterable[bytes]) -> str:
    """The beginning of an answer's text."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= 4096:
            break
    if b"\x00" in head[:4096]:
        return "binary data"
    return shown(head[:4096].decode("utf-8", "replace")) or "nothing"


def _refuse(status: int, response: httpx.Response, file: str, account: str) -> NoReturn:
    """Raise what an unsuccessful status means."""
    if status in (404, 410):
        raise Absent(f"HTTP {status}")
    if status in _SLOW_DOWN:
        raise Transient(f"HTTP {status} from {response.request.url.host}", wait=retry_after(response.headers.get("Retry-After")))
    if status in (401, 403):
        raise OrbitError(f"access refused (HTTP {status})", where=file, got=_said(response.iter_bytes()),
                         hint=f"the credentials for {account} are missing or expired, or its terms are not accepted yet")
    raise OrbitError(f"the server refuses the request (HTTP {status})", where=file, got=_said(response.iter_bytes()),
                     hint="what it answered says why; check the address")  # fmt: skip


@contextmanager
def _passing_failures(url: httpx.URL) -> Iterator[None]:
    """Failures of the network as Transient, without the address (a redirect's may hold a signature)."""
    try:
        yield
    except httpx.TimeoutException:
        raise Transient(f"no answer from {url.host} in time") from None
    except httpx.TransportError as error:
        raise Transient(f"connection to {url.host} failed ({type(error).__name__})") from None
    except httpx.DecodingError:
        raise Transient(f"{url.host} sent a damaged encoding") from None
