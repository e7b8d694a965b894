"""The Climate Data Store's client against a local store: every fault by doing it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import Era5Config, SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients import cds
from orbit2.retrieve.clients.cds import CdsClient
from orbit2.retrieve.clients.client import Transient
from orbit2.sources.era5 import Era5
from orbit2.sources.source import Need, Request
from tests.data.servers.base import cut, page, status, wrong_length
from tests.data.servers.cds import KEY, CdsServer

ROOT = Path(__file__).resolve().parents[3]


def field(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    hour = (times - np.datetime64("2020-02-01", "s")).astype(float)[:, None, None] / 3600
    return 280 + hour / 100 + np.sin(lat[None, :, None]) + np.cos(lon[None, None])


def request(url: str) -> Request:
    era5 = Era5(Era5Config(url=url))
    (only,) = era5.plan(Need(("2m_temperature",), np.datetime64("2020-02-02"), np.datetime64("2020-02-03"), (40.0, 41.0, 250.0, 251.0)))
    return only


def client(server: CdsServer) -> CdsClient:
    return CdsClient(server.api, server.key, timeout=5.0, poll=(0.01, 0.02))


def quiet(got: int, total: int | None) -> None:
    pass


def fetched(server: CdsServer, target: Path) -> dict[str, object]:
    return client(server).fetch(request(server.api), target, quiet)


def test_one_job_is_submitted_waited_for_and_downloaded_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cds, "SAY_EVERY", 0.0)
    caplog.set_level(logging.INFO, "orbit2")
    reports: list[tuple[int, int | None]] = []
    with CdsServer(field, polls=4) as server:
        asked = request(server.api)
        facts = client(server).fetch(asked, tmp_path / "x.nc.part", lambda got, total: reports.append((got, total)))
        (job,) = server.submitted
    assert job.dataset == "reanalysis-era5-single-levels" and job.request == asked.body["request"] == facts["request"]
    assert job.request["area"] == [41.0, 250.0, 40.0, 251.0] and job.request["download_format"] == "unarchived"
    assert len(job.request["day"]) == 29 and len(job.request["time"]) == 24  # a whole leap February
    size = (tmp_path / "x.nc.part").stat().st_size
    assert reports[-1] == (size, size) and facts["job"] == job.id
    assert [p.name for p in tmp_path.iterdir()] == ["x.nc.part"]  # the note about the job is gone
    Era5(Era5Config()).check(tmp_path / "x.nc.part", asked)
    waits = [r.getMessage() for r in caplog.records if "waiting for 0 min" in r.getMessage()]
    assert any("accepted" in line for line in waits) and any("running" in line for line in waits)


_KILLED = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.retrieve.test_cds import CdsClient, quiet, request
CdsClient({api!r}, {key!r}, poll=(0.01, 0.02)).fetch(request({api!r}), Path({target!r}), quiet)
"""


def test_a_run_killed_in_the_queue_finds_its_job_again(tmp_path: Path) -> None:
    target = tmp_path / "x.nc.part"
    with CdsServer(field, polls=10**9) as server:
        script = _KILLED.format(root=str(ROOT), api=server.api, key=server.key, target=str(target))
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
        deadline = time.monotonic() + 30
        while not (server.submitted and server.submitted[0].looks > 3):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        server.polls = 1
        facts = fetched(server, target)
        assert len(server.submitted) == 1 and facts["job"] == server.submitted[0].id and target.is_file()


def test_a_failed_job_is_an_error_in_the_stores_words_and_the_next_try_submits_anew(tmp_path: Path) -> None:
    bad = "Request too large. Requesting 975024 items, limit is 120000.\nTraceback\x1b[31m " + "line " * 200
    with CdsServer(field, fails=[bad]) as server:
        with pytest.raises(OrbitError) as caught:
            fetched(server, tmp_path / "x.nc.part")
        text = str(caught.value)
        assert "limit is 120000" in text and "\n" not in text and "\x1b" not in text and len(text) < 500
        fetched(server, tmp_path / "x.nc.part")
        assert len(server.submitted) == 2


def test_a_failure_that_may_pass_is_transient_and_submitted_again(tmp_path: Path) -> None:
    with CdsServer(field, fails=["MARS has returned an error, please try again later"]) as server:
        with pytest.raises(Transient, match="try again later"):
            fetched(server, tmp_path / "x.nc.part")
        fetched(server, tmp_path / "x.nc.part")
        assert len(server.submitted) == 2


def test_a_download_cut_half_way_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    target = tmp_path / "x.nc.part"
    with CdsServer(field) as server:
        server.script("GET /asset", cut(70_000))
        with pytest.raises(Transient):
            fetched(server, target)
        have = target.stat().st_size
        assert 0 < have <= 70_000 < len(server.submitted[0].content or b"")
        fetched(server, target)
        assert len(server.submitted) == 1
        downloads = [r for r in server.seen if r.path.startswith("/asset") and r.method == "GET"]
        assert [r.headers.get("range") for r in downloads] == [None, f"bytes={have}-"]
        assert target.read_bytes() == server.submitted[0].content


def test_a_partial_of_another_job_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "x.nc.part"
    target.write_bytes(b"an older job's beginning")
    with CdsServer(field) as server:
        fetched(server, target)
        assert target.read_bytes() == server.submitted[0].content


def test_wrong_lengths_and_checksums_never_pass(tmp_path: Path) -> None:
    target = tmp_path / "x.nc.part"
    with CdsServer(field) as server:
        server.size_error = 5
        with pytest.raises(Transient, match="bytes came"):
            fetched(server, target)
        server.size_error = -5
        with pytest.raises(Transient):
            fetched(server, target)
        server.size_error, server.checksum = 0, "0" * 32
        with pytest.raises(Transient, match="checksum"):
            fetched(server, target)
        assert not target.exists()
        server.checksum = None
        server.script("GET /asset", wrong_length(100))
        for _ in range(2):
            try:
                fetched(server, target)
                break
            except Transient:
                continue
        assert target.read_bytes() == server.submitted[0].content and len(server.submitted) == 1


@pytest.mark.parametrize("what", ["job", "result", "asset"])
def test_what_the_store_has_deleted_is_asked_for_again(tmp_path: Path, what: str) -> None:
    target = tmp_path / "x.nc.part"
    with CdsServer(field) as server:
        server.script("GET /asset", cut(1000))
        with pytest.raises(Transient):
            fetched(server, target)
        server.submitted[0].gone = what
        facts = fetched(server, target)
        assert len(server.submitted) == 2 and facts["job"] == server.submitted[1].id
        assert target.read_bytes() == server.submitted[1].content


def test_an_expired_key_a_missing_licence_and_a_busy_store_are_told_apart(tmp_path: Path) -> None:
    target = tmp_path / "x.nc.part"
    with CdsServer(field, unaccepted=["reanalysis-era5-single-levels"]) as server:
        with pytest.raises(OrbitError, match=r"accept the licences once at http.*/datasets/reanalysis-era5-single-levels.*manage-licences"):
            fetched(server, target)
        with pytest.raises(OrbitError, match=r"does not accept the key.*authentication failed.*/profile"):
            CdsClient(server.api, "expired-token", poll=(0.01, 0.02)).fetch(request(server.api), target, quiet)
        for code, text in ((403, "Your request is too large, please reduce your selection."), (403, "cost limits exceeded"),
                           (400, "Requesting 130000 items, limit is 120000")):
            server.script("/execution", status(code, text=json.dumps({"title": "refused", "detail": text}), type="application/json"))
            with pytest.raises(OrbitError, match=r"too large \(its cost limit\).*fewer variables in a dataset, or a box") as found:
                fetched(server, target)
            assert "licence" not in str(found.value)
        server.script("/execution", status(429, retry_after=17), status(502), page())
        with pytest.raises(Transient) as caught:
            fetched(server, target)
        assert caught.value.wait == 17
        for _ in range(2):  # a bad gateway, and a page with status 200
            with pytest.raises(Transient):
                fetched(server, target)
        assert not server.submitted
    with pytest.raises(Transient, match="connection"):
        CdsClient(server.api, KEY, timeout=2.0).fetch(request(server.api), target, quiet)  # nobody answers any more


def test_the_key_is_found_or_its_absence_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CDSAPI_KEY", raising=False)
    monkeypatch.delenv("CDSAPI_RC", raising=False)
    with pytest.raises(OrbitError, match=r"no key for the Climate Data Store.*https://cds.climate.copernicus.eu/profile"):
        cds.connect(SourcesConfig())
    (tmp_path / ".cdsapirc").write_text("url: https://elsewhere.example/api\nkey: 1234:old-key\n")
    with pytest.raises(OrbitError, match="old kind") as caught:
        cds.connect(SourcesConfig())
    assert "old-key" not in str(caught.value)
    (tmp_path / ".cdsapirc").write_text("url: https://elsewhere.example/api\nkey: from-file\n")
    assert cds.key("https://cds.climate.copernicus.eu/api") == "from-file"
    monkeypatch.setenv("CDSAPI_KEY", "from-environment")
    assert cds.key("https://cds.climate.copernicus.eu/api") == "from-environment"


def test_the_key_reaches_no_log_note_or_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    with CdsServer(field, fails=[f"your token {KEY} is odd", ""], polls=0) as server:
        for _ in range(2):
            server.script("GET /asset", cut(1000), page(f"<html>{KEY}</html>"))
            try:
                facts = fetched(server, tmp_path / "x.nc.part")
                said.append(str(facts))
            except (OrbitError, Transient) as error:
                said.append(str(error))
            said += [p.read_text() for p in tmp_path.glob("*.job.part")]
        out = capfd.readouterr()
    assert len(said) >= 2 and KEY not in "".join(said) + caplog.text + out.out + out.err
    assert any(r.headers.get("private-token") == KEY for r in server.seen)  # it was used
    assert not any(KEY in str(r.headers) for r in server.seen if r.path.startswith("/asset"))
