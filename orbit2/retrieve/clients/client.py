"""What the transfer asks of a client. A client fetches one request; retrying, checking, recording and pacing are the transfer's work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from orbit2.sources.source import Request

Report = Callable[[int, int | None], None]  # bytes of this file so far, bytes in all if known


class Absent(Exception):
    """The provider does not have this file (404 for a day, no granule): recorded as a gap, not retried."""


class Transient(Exception):
    """A failure that may pass (429, 5xx, time-out, cut connection, wrong length): the transfer waits and calls again.

    `wait` is what the server asked for in seconds (Retry-After), if it did. The text carries no credentials.
    """

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


class Client(Protocol):
    """Fetches requests of one kind. Raises OrbitError when built without the credentials that it needs."""

    def host(self, request: Request) -> str:
        """The host that the per-host limit counts."""

    def fetch(self, request: Request, target: Path, report: Report) -> dict[str, Any]:
        """Write the whole file to `target`; return facts for the manifest (URL, server's request id, version).

        `target` is the request's own `*.part` path; what a failed call left there is still there on the next call, so that a
        client may resume (and must tell a stale part from a good one). Raises Absent, Transient, or OrbitError for what no retry mends
        (expired credentials, a licence not accepted, a request the server refuses).
        """
