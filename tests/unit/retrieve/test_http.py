"""The HTTP client alone: what it makes of each answer, and what it leaves on disk."""

from __future__ import annotations

import gzip
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from orbit2.errors import OrbitError
from orbit2.retrieve.clients.client import Absent, Transient
from orbit2.retrieve.clients.http import HttpClient, retry_after, shown
from tests.data.servers.base import Answer, Fault, Files, cut, no_range, page, redirect, stall, status
from tests.unit.retrieve.fetching import content, request, settings


def get(server: Files, target: Path, path: str = "/x", *, size: int = 100_000, timeout: float = 5, **body: object) -> dict[str, object]:
    seen: list[tuple[int, int | None]] = []
    facts = HttpClient(settings(timeout_seconds=timeout)).fetch(request(server.url + path, "x", size=size, **body), target,
                                                                lambda got, total: seen.append((got, total)))
    return {**facts, "reported": seen}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "x.part"


def test_reports_bytes_and_total_as_they_come(target: Path) -> None:
    with Files({"/x": content(1, 300_000)}) as server:
        facts = get(server, target)
    assert facts["reported"][-1] == (300_000, 300_000) and len(facts["reported"]) > 2 and facts["url"] == server.url + "/x"
    assert target.read_bytes() == content(1, 300_000) and [p.name for p in target.parent.iterdir()] == ["x.part"]


@pytest.mark.parametrize(("code", "wait"), [(429, 7.0), (500, None), (502, None), (503, 7.0), (504, None), (408, None)])
def test_busy_or_broken_servers_are_transient(target: Path, code: int, wait: float | None) -> None:
    with Files({"/x": b"DATA"}) as server:
        server.script("/x", status(code, retry_after=wait))
        with pytest.raises(Transient, match=f"HTTP {code}") as caught:
            get(server, target)
    assert caught.value.wait == wait and not target.exists()


def test_refused_and_absent_are_final(target: Path) -> None:
    with Files({"/x": b"DATA"}) as server:
        for code in (401, 403):
            server.script("/x", status(code, text="<h1>Login\nrequired</h1> token=" + "A" * 60))
            with pytest.raises(OrbitError, match=rf"x: access refused \(HTTP {code}\); got 'Login required \[...\]'; the credentials"):
                get(server, target)
        server.script("/x", status(404), status(410), status(400, text="bad date"))
        for _ in range(2):
            with pytest.raises(Absent, match="HTTP 4"):
                get(server, target)
        with pytest.raises(OrbitError, match=r"refuses the request \(HTTP 400\); got 'bad date'"):
            get(server, target)


def test_silence_and_refused_connections_are_transient(target: Path) -> None:
    with Files({"/x": content(1, 300_000)}) as server:
        server.script("/x", stall(100_000, 5))
        begin = time.monotonic()
        with pytest.raises(Transient, match=r"no answer from 127.0.0.1 in time"):
            get(server, target, timeout=0.3)
        assert time.monotonic() - begin < 2 and target.stat().st_size == 100_000
        get(server, target)
        assert server.seen[-1].headers["range"] == "bytes=100000-" and target.read_bytes() == content(1, 300_000)
    with pytest.raises(Transient, match=r"connection to 127.0.0.1 failed \(ConnectError\)"):
        get(server, target, "/y")


def test_a_server_that_ignores_range_starts_anew(target: Path) -> None:
    with Files({"/x": content(1)}) as server:
        server.script("/x", cut(50_000), no_range())
        with pytest.raises(Transient, match=r"ConnectionError|RemoteProtocolError|cut after"):
            get(server, target)
        get(server, target)
    assert [s.status for s in server.seen] == [200, 200] and target.read_bytes() == content(1)


def test_without_a_version_to_compare_nothing_is_continued(target: Path) -> None:
    class Nameless(Files):
        def respond(self, request: object) -> Answer:
            return Answer(self.files["/x"], etag="")

    class Weak(Files):
        def respond(self, request: object) -> Answer:
            return Answer(self.files["/x"], etag='W/"1"')

    class Dated(Files):
        def respond(self, request: object) -> Answer:
            return Answer(self.files["/x"], etag="", headers={"Last-Modified": "Sat, 21 Nov 2020 07:00:00 GMT"})

    for kind, resumed in ((Nameless, None), (Weak, None), (Dated, "bytes=50000-")):
        target.unlink(missing_ok=True)
        with kind({"/x": content(1)}) as server:
            server.script("/x", cut(50_000))
            with pytest.raises(Transient):
                get(server, target)
            get(server, target)
        assert server.seen[1].headers.get("range") == resumed and target.read_bytes() == content(1)


def test_a_part_from_another_address_or_of_unknown_origin_is_not_continued(target: Path) -> None:
    with Files({"/x": content(1), "/y": content(2)}) as server:
        server.script("/x", cut(50_000))
        with pytest.raises(Transient):
            get(server, target)
        get(server, target, "/y")
        assert "range" not in server.seen[-1].headers and target.read_bytes() == content(2)
        target.write_bytes(b"something else")
        get(server, target)
        assert "range" not in server.seen[-1].headers and target.read_bytes() == content(1)


def test_a_part_that_is_whole_already_costs_no_download(target: Path) -> None:
    with Files({"/x": content(1)}) as server:
        server.script("/x", cut(199_999))
        with pytest.raises(Transient):
            get(server, target)
        target.write_bytes(content(1))  # the last byte came, and the process died
        get(server, target)
    assert server.seen[-1].status == 416 and server.seen[-1].sent == 0 and target.read_bytes() == content(1)


def test_a_different_range_than_asked_for_is_not_appended(target: Path) -> None:
    with Files({"/x": content(1)}) as server:
        server.script("/x", cut(50_000),
                      Fault(answer=Answer(b"zzz", 206, headers={"Content-Range": "bytes 10-12/200000"})))
        for _ in range(2):
            with pytest.raises(Transient):
                get(server, target)
        get(server, target)
    assert target.read_bytes() == content(1)


def test_pages_and_short_answers_do_not_touch_the_partial(target: Path) -> None:
    with Files({"/x": content(1)}) as server:
        server.script("/x", cut(50_000), page("<p>Sorry</p>"))
        with pytest.raises(Transient):
            get(server, target)
        with pytest.raises(OrbitError, match=r"x: the server sent a web page instead of the file; got 'Sorry'"):
            get(server, target)
        assert target.stat().st_size == 50_000
        server.script("/x", page("quota", type="text/plain"))
        with pytest.raises(OrbitError, match=r"sent a message instead of the file; got 'quota'"):
            get(server, target, minimum_bytes=100)
        server.script("/x", page("quota exceeded", type="application/zip"))
        with pytest.raises(OrbitError, match=r"sent a message instead of the file; got 'quota exceeded'"):
            get(server, target, begins="DATA")
        server.script("/x", page("no data for this day", type="text/plain"))
        with pytest.raises(Absent, match="no data for this day"):
            get(server, target, begins="DATA", absent="No Data")


def test_size_limits(target: Path) -> None:
    class Chunked(Files):
        def respond(self, request: object) -> Answer:
            return Answer(gzip.compress(bytes(5_000_000)), headers={"Content-Encoding": "gzip"})

    with Files({"/x": content(1)}) as server:
        with pytest.raises(OrbitError, match=r"x: file is larger than it can be; got '200000 bytes'; allowed: 150000 bytes"):
            get(server, target, maximum_bytes=150_000)
        assert not target.exists()
    with Chunked({}) as server, pytest.raises(OrbitError, match="file is larger than it can be; got 'more than 1000000 bytes'"):
        get(server, target, maximum_bytes=1_000_000)  # a few kB on the wire, 5 MB decoded
    assert not target.exists()


def test_redirects_go_to_the_web_only(target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("DATA")
    with Files({"/x": content(1)}) as server:
        server.script("/a", redirect("/b"))
        server.script("/b", redirect(server.url + "/x", 307))
        get(server, target, "/a")
        assert target.read_bytes() == content(1)
        for place in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/x"):
            server.script("/c", redirect(place))
            with pytest.raises(OrbitError, match=r"server redirects to a place that is not followed; got '(file|ftp)'"):
                get(server, target, "/c")
        server.script("/d", *[redirect("/d")] * 20)
        with pytest.raises(OrbitError, match="redirects in a circle"):
            get(server, target, "/d")
    with pytest.raises(OrbitError, match=r"not a web address; got 'file'"):
        HttpClient(settings()).fetch(request("file:///etc/passwd", "x"), target, lambda got, total: None)
    with pytest.raises(OrbitError, match="must not carry a user or password"):
        HttpClient(settings()).fetch(request("http://me:pass@127.0.0.1/x", "x"), target, lambda got, total: None)


def test_what_a_server_says_is_one_harmless_line() -> None:
    assert shown("<script>alert(1)</script><b>Too&nbsp;many\x1b[2J\r\nrequests</b>\x00") == "Too many [2J requests"
    assert shown("x " * 200).endswith("...") and len(shown("x " * 200)) == 160
    assert shown("key=" + "Ab1_" * 20) == "[...]"


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("2.5") == 2.5 and retry_after("-1") == 0 and retry_after(None) is None and retry_after("soon") is None
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(0, usegmt=True)) == 0
