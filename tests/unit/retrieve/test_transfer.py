"""Transfers against a local server: what happens to a file, to the others, and to what is left behind."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orbit2.errors import OrbitError
from orbit2.retrieve import transfer as module
from orbit2.retrieve.transfer import MAX_FAILURES
from orbit2.sources import manifest
from tests.data.servers.base import Files, cut, page, slow, stall, status, wrong_length
from tests.unit.retrieve.fetching import FACTS, check, content, fetch, request, settings


def served(count: int, size: int = 200_000) -> Files:
    return Files({f"/{n:03d}.bin": content(n, size) for n in range(count)})


def planned(server: Files) -> list[module.Request]:
    return [request(server.url + path, f"a/{path[1:]}", day=n + 1) for n, path in enumerate(sorted(server.files))]


def parts(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*.part"))


def test_files_arrive_whole_and_are_recorded_with_what_the_provider_said(tmp_path: Path) -> None:
    with served(5) as server:
        outcome = fetch(tmp_path, planned(server))
    assert (outcome.fetched, outcome.bytes, outcome.gaps) == (5, 1_000_000, 0) and parts(tmp_path) == []
    record = manifest.read(tmp_path)["files"][3]
    assert record["file"] == "a/003.bin" and record["bytes"] == 200_000 and record["origin"] == server.url + "/003.bin"
    assert record["sha256"] == hashlib.sha256(content(3)).hexdigest() and record["variables"] == ["x"]
    assert record["first"] == record["last"] == "2020-01-04T00:00:00" and record["doi"] == "10.1/x"
    assert record["facts"]["etag"] == f'"{hashlib.md5(content(3)).hexdigest()}"'
    assert (tmp_path / "a/003.bin").read_bytes() == content(3)
    assert not (tmp_path / manifest.JOURNAL).exists()


def test_a_cut_connection_is_resumed_where_it_was_cut(tmp_path: Path) -> None:
    with served(1) as server:
        server.script("/000.bin", cut(120_000), cut(50_000))
        fetch(tmp_path, planned(server))
    assert [s.headers.get("range") for s in server.seen] == [None, "bytes=120000-", "bytes=170000-"]
    assert sum(s.sent for s in server.seen) == 200_000  # no byte twice
    assert (tmp_path / "a/000.bin").read_bytes() == content(0)


def test_too_busy_is_retried_no_sooner_than_the_server_asks(tmp_path: Path) -> None:
    with served(1) as server:
        server.script("/000.bin", status(429, retry_after=0.6), status(503))
        fetch(tmp_path, planned(server))
    gaps = [b.at - a.at for a, b in zip(server.seen, server.seen[1:], strict=False)]
    assert [s.status for s in server.seen] == [429, 503, 200] and gaps[0] >= 0.6 and gaps[1] < gaps[0]


def test_attempts_are_bounded_and_grow_apart(tmp_path: Path) -> None:
    with served(1) as server:
        server.script("/000.bin", *[status(503)] * 9)
        with pytest.raises(OrbitError, match=r"1 of 1 files could not be retrieved; the first, a/000.bin: HTTP 503"):
            fetch(tmp_path, planned(server), settings(attempts=4, backoff_seconds=0.05, backoff_limit=1))
    assert len(server.seen) == 4
    waits = [b.at - a.at for a, b in zip(server.seen, server.seen[1:], strict=False)]
    assert waits[0] >= 0.05 and waits[1] >= 0.1 and waits[2] >= 0.2  # 0.05 * 2**n and jitter


def test_progress_is_not_counted_against_the_attempts(tmp_path: Path) -> None:
    with served(1, 5_000_000) as server:
        server.script("/000.bin", *[cut(1_100_000)] * 4)
        fetch(tmp_path, planned(server), settings(attempts=2))
    assert len(server.seen) == 5 and (tmp_path / "a/000.bin").read_bytes() == content(0, 5_000_000)


def test_a_web_page_instead_of_a_file_is_a_final_error_for_that_file_alone(tmp_path: Path) -> None:
    with served(3) as server:
        server.script("/001.bin", page("<html><h1>Down\x1b[31m</h1> for   maintenance</html>"))
        with pytest.raises(OrbitError, match=r"1 of 3 files .*a/001.bin.*web page instead of the file; got 'Down \[31m for maintenance'"):
            fetch(tmp_path, planned(server))
        assert server.paths().count("/001.bin") == 1  # asking again would not mend it
        assert [p.name for p in manifest.files(tmp_path)] == ["000.bin", "002.bin"]
        fetch(tmp_path, planned(server))
    assert server.paths().count("/000.bin") == 1 and len(manifest.files(tmp_path)) == 3


def test_wrong_content_is_removed_and_never_listed(tmp_path: Path) -> None:
    with served(2) as server:
        server.files["/001.bin"] = b"XXXX" * 1000
        with pytest.raises(OrbitError, match=r"a/001.bin: what the server sent is not the file: a/001.bin: not a data file"):
            fetch(tmp_path, planned(server))
    assert [p.name for p in tmp_path.rglob("*.bin*")] == ["000.bin"]


def test_wrong_content_length_never_gives_a_complete_file(tmp_path: Path) -> None:
    with served(1) as server:
        server.script("/000.bin", wrong_length(5000))
        fetch(tmp_path, planned(server))  # the rest cannot be had: the server says the file ends here
    assert [s.status for s in server.seen] == [200, 416] and (tmp_path / "a/000.bin").read_bytes() == content(0)


def test_a_missing_file_is_a_recorded_gap_that_is_asked_for_again(tmp_path: Path) -> None:
    with served(4) as server:
        plan = planned(server)
        hidden = server.files.pop("/002.bin")
        outcome = fetch(tmp_path, plan, settings(max_gaps=0.25))
        assert outcome.gaps == 1 and server.paths().count("/002.bin") == 1  # 404 is not retried
        (gap,) = manifest.gaps(tmp_path)
        assert gap == {"file": "a/002.bin", "variables": ["x"], "first": "2020-01-03T00:00:00", "last": "2020-01-03T00:00:00",
                       "reason": "HTTP 404"}
        server.files["/002.bin"] = hidden
        fetch(tmp_path, plan)
    assert manifest.gaps(tmp_path) == [] and len(manifest.files(tmp_path)) == 4


def test_more_gaps_than_allowed_are_an_error_that_names_the_first(tmp_path: Path) -> None:
    with served(10) as server:
        server.script("/008.bin", slow(0.3))
        plan = planned(server)
        del server.files["/003.bin"], server.files["/007.bin"]
        with pytest.raises(OrbitError, match=r"does not have 2 of 10 files, the first a/003.bin \(HTTP 404\).*max_gaps = 0.1"):
            fetch(tmp_path, plan, settings(max_gaps=0.1, workers=1))
    assert len(manifest.gaps(tmp_path)) == 2 and len(manifest.files(tmp_path)) <= 7  # the last was not begun any more


def test_no_more_downloads_at_once_from_a_host_than_allowed(tmp_path: Path) -> None:
    with served(8, 1000) as one, served(8, 1000) as two:
        for server in (one, two):
            server.script("/", *[slow(0.1)] * 8)
        plan = planned(one) + [request(two.url.replace("127.0.0.1", "localhost") + p, f"b{p}") for p in two.files]
        fetch(tmp_path, plan, settings(workers=5, per_host=2))
    assert one.most_at_once == 2 and two.most_at_once == 2
    assert two.seen[0].at < one.seen[-1].at  # a host that is at its limit does not hold back the other
    with served(6, 1000) as server:
        server.script("/", *[slow(0.05)] * 6)
        fetch(tmp_path / "x", planned(server), settings(workers=3, per_host=16))
    assert server.most_at_once == 3


def test_after_many_failures_in_a_row_nothing_more_is_begun(tmp_path: Path) -> None:
    with served(3 * MAX_FAILURES, 1000) as server:
        server.script("/", *[status(401, text="token expired")] * 99)
        with pytest.raises(OrbitError, match=r"access refused \(HTTP 401\).*token expired.*missing or expired.*were not begun"):
            fetch(tmp_path, planned(server), settings(workers=2))
    assert MAX_FAILURES <= len(server.seen) <= MAX_FAILURES + 2


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with served(3) as server:
        monkeypatch.setattr(module, "_into_place", full)
        with pytest.raises(OrbitError, match=f"{tmp_path}: disk is full; free some space"):
            fetch(tmp_path, planned(server), settings(workers=1))
    assert len(server.seen) == 1 and manifest.read(tmp_path)["files"] == []


def test_a_bug_in_a_client_is_not_disguised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: object) -> None:
        raise TypeError("a bug")

    with served(1) as server:
        monkeypatch.setattr(module, "_checked", wrong)
        with pytest.raises(TypeError, match=r"a bug"):
            fetch(tmp_path, planned(server))


def test_failures_that_libraries_let_through_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *errors: OSError) -> None:
            self.errors = list(errors)

        def host(self, wanted: module.Request) -> str:
            return "h"

        def fetch(self, wanted: module.Request, target: Path, report: object) -> dict[str, str]:
            if self.errors:
                raise self.errors.pop(0)
            target.write_bytes(content(1))
            return {"url": "u"}

    def unreadable(path: Path, wanted: module.Request) -> None:
        raise OSError(-51, "NetCDF: Unknown file format")

    plan = [request("http://h/x", "x.bin")]
    with manifest.ledger(tmp_path, "plain") as ledger:
        client = Failing(ConnectionResetError(104, "reset"), OSError("Max retries exceeded"), TimeoutError())
        with pytest.raises(OrbitError, match=r"1 of 1 files .* x.bin: what the server sent is not the file: .*Unknown file format"):
            module.transfer(plan, planned=1, ledger=ledger, connect=lambda name: client, check=unreadable, facts=FACTS, settings=settings())
        assert client.errors == []  # all three were worth another try
        with pytest.raises(OrbitError, match=r"disk is full"):
            module.transfer(plan, planned=1, ledger=ledger, connect=lambda name: Failing(OSError(28, "full")), check=check, facts=FACTS,
                            settings=settings())


DRIVER = """
import sys
from pathlib import Path
from tests.unit.retrieve.fetching import fetch, request, settings
url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
plan = [request(f"{url}/{n:03d}.bin", f"a/{n:03d}.bin", day=n + 1) for n in range(count)]
print("ready", flush=True)
fetch(folder, plan, settings(workers=1))
"""


def driver(server: Files, folder: Path, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", DRIVER, server.url, str(folder), str(len(server.files))], cwd=root,
                            env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_of_a_file_the_next_run_resumes_it(tmp_path: Path, root: Path, number: signal.Signals) -> None:
    with served(3, 1_000_000) as server:
        server.script("/001.bin", stall(600_000, 30.0))
        process = driver(server, tmp_path, root)
        server.wait_for("/001.bin", sent=600_000)
        target = tmp_path / "a/001.bin.part"
        deadline = time.monotonic() + 5
        while (not target.exists() or target.stat().st_size < 600_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=10)
        assert process.returncode != 0 and target.stat().st_size == 600_000
        assert [p.name for p in manifest.files(tmp_path)] == ["000.bin"]  # known from the journal, though nobody tidied up
        before = len(server.seen)
        fetch(tmp_path, planned(server))
    again = {s.path: s for s in server.seen[before:]}
    assert set(again) == {"/001.bin", "/002.bin"} and again["/001.bin"].headers["range"] == "bytes=600000-"
    assert again["/001.bin"].sent == 400_000 and (tmp_path / "a/001.bin").read_bytes() == content(1, 1_000_000)
    assert len(manifest.files(tmp_path)) == 3 and parts(tmp_path) == []


def test_two_runs_into_one_folder_take_turns(tmp_path: Path, root: Path) -> None:
    with served(4) as server:
        server.script("/000.bin", slow(0.5))
        both = [driver(server, tmp_path, root) for _ in range(2)]
        assert [p.wait(timeout=20) for p in both] == [0, 0]
    assert sorted(server.paths()) == sorted(server.files)  # every file once: the second found all there
    assert len(manifest.files(tmp_path)) == 4


def test_a_stale_partial_of_an_older_version_is_not_continued(tmp_path: Path) -> None:
    with served(1) as server:
        server.script("/000.bin", cut(90_000), *[status(503)] * 9)
        with pytest.raises(OrbitError):
            fetch(tmp_path, planned(server), settings(attempts=2))
        server._scripts.clear()
        server.files["/000.bin"] = new = content(99)
        fetch(tmp_path, planned(server))
    assert server.seen[-1].headers["range"] == "bytes=90000-" and server.seen[-1].status == 200
    assert (tmp_path / "a/000.bin").read_bytes() == new


def test_credentials_reach_neither_log_nor_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from orbit2.config.sources import SourcesConfig
    from orbit2.retrieve.clients.http import HttpClient
    from orbit2.retrieve.transfer import transfer
    from tests.data.servers.base import redirect

    secret = "s3cr3t-token-0123456789"
    caplog.set_level(logging.DEBUG, logger="orbit2")
    with served(2) as server, Files({"/signed": content(1)}) as store:
        server.script("/000.bin", status(503), cut(1000))
        signed = store.url.replace("127.0.0.1", "localhost") + "/signed?X-Signature=" + secret
        server.script("/001.bin", redirect(signed))
        client = HttpClient(SourcesConfig(transfer=settings()).transfer, headers={"Authorization": f"Bearer {secret}", "X-Key": secret})
        with manifest.ledger(tmp_path, "plain") as ledger:
            transfer(planned(server), planned=2, ledger=ledger, connect=lambda name: client, check=check, facts=FACTS, settings=settings())
    assert server.seen[0].headers["authorization"] == f"Bearer {secret}" and store.seen[0].query == {"X-Signature": [secret]}
    assert "authorization" not in store.seen[0].headers and "x-key" not in store.seen[0].headers
    left = caplog.text + "".join(p.read_text("utf-8") for p in tmp_path.rglob("*.json")) + json.dumps(sorted(map(str, tmp_path.rglob("*"))))
    assert secret not in left and "trying again" in caplog.text
