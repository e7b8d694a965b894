"""A local web server with scripted faults; each provider's server is a subclass that says what lies where.

    with Files({"/a.nc": content}) as server:
        server.script("/a.nc", cut(1000), status(429, retry_after=0.1))   # first request cut, second refused, third served
        ...
        assert server.paths() == ["/a.nc"] * 3 and server.seen[1].headers["range"] == "bytes=1000-"

Serves Range with If-Range and strong ETags, and keeps what it saw.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass
class Seen:
    """One request and what became of it. Header names are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    status: int = 0
    sent: int = 0  # bytes of content
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Answer:
    """What a server says. `ranges`: Range requests are honoured; `etag` None makes one from the content, "" sends none."""

    body: bytes = b""
    status: int = 200
    type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; made by the functions below."""

    answer: Answer | None = None  # instead of the right one
    cut_after: int | None = None  # bytes of content, then the connection drops
    length_added: int = 0  # to the Content-Length
    wait: float = 0.0  # seconds before anything is sent
    stall_after: int | None = None  # bytes of content, then silence for `stall` seconds
    stall: float = 0.0
    ignore_range: bool = False


def cut(after: int) -> Fault:
    """The connection drops after so many bytes of content."""
    return Fault(cut_after=after)


def wrong_length(added: int) -> Fault:
    """Content-Length is off by so many bytes."""
    return Fault(length_added=added)


def status(code: int, *, retry_after: float | str | None = None, text: str = "no", type: str = "text/plain") -> Fault:
    """An unsuccessful status."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault(answer=Answer(text.encode(), code, type, headers))


def page(text: str = "<html><body>Service unavailable</body></html>", type: str = "text/html; charset=utf-8") -> Fault:
    """Status 200 with a page instead of the file."""
    return Fault(answer=Answer(text.encode(), 200, type, ranges=False, etag=""))


def slow(seconds: float) -> Fault:
    """Nothing is sent for a while, then the right answer."""
    return Fault(wait=seconds)


def stall(after: int, seconds: float) -> Fault:
    """Silence in the middle of the content."""
    return Fault(stall_after=after, stall=seconds)


def no_range() -> Fault:
    """The whole file, whatever part was asked for."""
    return Fault(ignore_range=True)


def redirect(url: str, code: int = 302) -> Fault:
    return Fault(answer=Answer(b"", code, "text/plain", {"Location": url}))


class Quiet(ThreadingHTTPServer):
    """Clients that hang up are what these tests are about: no traceback for them."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """Base class: a subclass answers requests in `respond`. A context manager; `url` is its address while it runs."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self._now = 0
        self._scripts: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def respond(self, request: Seen) -> Answer:
        """What a healthy service answers; may be called from several threads."""
        raise NotImplementedError

    def script(self, path: str, *faults: Fault) -> None:
        """The next requests whose path (or "METHOD path") contains `path` meet these faults, one each."""
        with self._lock:
            self._scripts.setdefault(path, []).extend(faults)

    def paths(self) -> list[str]:
        with self._lock:
            return [request.path for request in self.seen]

    def wait_for(self, path: str, *, sent: int = 0, timeout: float = 10.0) -> Seen:
        """The first request whose path contains `path`, once so many bytes of its answer are sent."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with self._lock:
                found = next((r for r in self.seen if path in r.path and r.sent >= sent), None)
            if found is not None:
                return found
            time.sleep(0.005)
        raise AssertionError(f"no request for {path} within {timeout} s")

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else head and content of each answer lie 40 ms apart

            def do_GET(self) -> None:
                server._serve(self)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Seen(handler.command, parts.path, parse_qs(parts.query, keep_blank_values=True),
                       {k.lower(): v for k, v in handler.headers.items()}, body)
        with self._lock:
            self.seen.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            queued = next((faults for key, faults in self._scripts.items() if faults and key in f"{request.method} {request.path}"), None)
            fault = queued.pop(0) if queued else Fault()
        try:
            self._closing.wait(fault.wait)
            self._send(handler, request, fault.answer or self.respond(request), fault)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._now -= 1

    def _send(self, handler: BaseHTTPRequestHandler, request: Seen, answer: Answer, fault: Fault) -> None:
        answer, headers = _ranged(request, answer, fault.ignore_range)
        request.status = answer.status
        handler.send_response(answer.status)
        for name, value in {"Content-Type": answer.type, **answer.headers, **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body) + fault.length_added))
        handler.end_headers()
        content = b"" if request.method == "HEAD" else answer.body
        stop = len(content) if fault.cut_after is None else min(fault.cut_after, len(content))
        for begin in range(0, stop, 65536):
            end = min(begin + 65536, stop)
            if fault.stall_after is not None and begin <= fault.stall_after < end:
                self._write(handler, request, content[begin:fault.stall_after])
                self._closing.wait(fault.stall)
                begin = fault.stall_after
            self._write(handler, request, content[begin:end])
        if stop < len(content) or fault.length_added:
            handler.close_connection = True

    def _write(self, handler: BaseHTTPRequestHandler, request: Seen, block: bytes) -> None:
        handler.wfile.write(block)
        handler.wfile.flush()
        request.sent += len(block)


def _ranged(request: Seen, answer: Answer, ignore: bool) -> tuple[Answer, dict[str, str]]:
    """The part that was asked for, and the headers that say so."""
    if answer.status != 200 or not answer.ranges:
        return answer, {"ETag": answer.etag} if answer.etag else {}
    etag = f'"{hashlib.md5(answer.body).hexdigest()}"' if answer.etag is None else answer.etag
    headers = {"Accept-Ranges": "bytes", **({"ETag": etag} if etag else {})}
    asked = request.headers.get("range", "")
    if ignore or not asked.startswith("bytes=") or request.headers.get("if-range", etag) not in (etag, answer.headers.get("Last-Modified")):
        return answer, headers
    first, _, last = asked.removeprefix("bytes=").partition("-")
    size = len(answer.body)
    begin, end = int(first), min(int(last) + 1 if last else size, size)
    if begin >= size:
        return replace(answer, status=416, body=b""), headers | {"Content-Range": f"bytes */{size}"}
    return replace(answer, status=206, body=answer.body[begin:end]), headers | {"Content-Range": f"bytes {begin}-{end - 1}/{size}"}


class Files(Server):
    """Serves a mapping of paths to contents, 404 for everything else."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.files = dict(files)

    def respond(self, request: Seen) -> Answer:
        if request.path not in self.files:
            return Answer(b"not found", 404, "text/plain")
        return Answer(self.files[request.path])
