"""The Earthdata client against a local server that speaks as NASA's do: search, download, and everything that goes wrong there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import DaymetConfig, EarthdataConfig, ImergConfig
from orbit2.errors import OrbitError
from orbit2.retrieve.clients import earthdata
from orbit2.retrieve.clients.client import Absent, Transient
from orbit2.retrieve.clients.earthdata import EarthdataClient
from orbit2.sources.daymet import Daymet
from orbit2.sources.imerg import Imerg
from orbit2.sources.source import Need
from tests.data import daymet_files
from tests.data.earthdata_client import connect, fetch, rain_on, truth
from tests.data.servers.base import Answer, Fault, cut, page, redirect, slow, stall, status
from tests.data.servers.earthdata import RAIN, TOKEN, EarthdataServer

pytestmark = pytest.mark.usefixtures("nobody")


# --- what works -----------------------------------------------------------------------------------------------------------------------


def test_a_granule_is_found_fetched_and_described(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    [request] = rain_on("2020-05-04")
    seen: list[tuple[int, int | None]] = []
    facts = connect(server).fetch(request, tmp_path / "a.part", lambda got, total: seen.append((got, total)))
    name = "3B-DAY.MS.MRG.3IMERG.20200504-S000000-E235959.V07B.nc4"
    assert (tmp_path / "a.part").read_bytes() == server.content(name)
    assert facts["granule"] == name and str(facts["url"]).endswith(f"/data/GPM_3IMERGDF/{name}")
    assert seen[-1] == (len(server.content(name)), len(server.content(name)))
    Imerg(ImergConfig()).check(tmp_path / "a.part", request)
    assert [p.name for p in tmp_path.iterdir()] == ["a.part"]  # no notes left behind


def test_daymet_years_are_found_among_the_other_variables_and_regions(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    source = Daymet(DaymetConfig())
    [request] = source.plan(Need(("2m_temperature_min",), np.datetime64("2020-06-01"), np.datetime64("2020-06-02")))
    facts = fetch(connect(server), request, tmp_path / "a.part")
    assert facts["granule"] == "daymet_v4_daily_na_tmin_2020.nc"
    source.check(tmp_path / "a.part", request)
    data = source.open([tmp_path / "a.part"], ("2m_temperature_min",), np.datetime64("2020-02-29"), np.datetime64("2020-02-29"))
    lat, lon = daymet_files.lat_lon(data["x"].values, data["y"].values)
    np.testing.assert_allclose(data["2m_temperature_min"][0].values, truth("", np.datetime64("2020-02-29"), lat, lon), rtol=1e-6)


def test_a_year_of_days_is_a_dozen_searches_also_from_many_threads(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    connected = connect(server)
    requests = rain_on("2020-01-01", "2020-12-31")
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda r: connected._find(r).name, requests))
    assert len(set(names)) == 366
    searches = [r for r in server.seen if r.path == "/search/granules.umm_json"]
    assert len(searches) == 24  # each asks first how many there are, as earthaccess does
    assert len(connected._searches) == 12
    assert {r.query["short_name"][0] for r in searches} == {"GPM_3IMERGDF"} and {r.query["version"][0] for r in searches} == {"07"}


def test_long_answers_come_in_pages(server: EarthdataServer, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from earthaccess.utils import _search

    monkeypatch.setattr(_search, "min", lambda limit, _: min(limit, 500), raising=False)  # pages of 500 instead of 2000
    connected = connect(server)
    names = {connected._find(r).name for r in rain_on("2020-05-01", "2020-05-31", product="half_hourly")}
    assert len(names) == 31 * 48
    assert [r.headers.get("cmr-search-after") for r in server.seen] == [None, None, "[500]", "[1000]"]


def test_the_newest_of_several_versions_is_taken(token: str, tmp_path: Path) -> None:
    class Both(EarthdataServer):
        def _names(self, *args: object) -> list[str]:
            found = super()._names(*args)  # type: ignore[arg-type]
            return [n.replace("V07B", letter) for n in found for letter in ("V07B", "V07A", "V08A")]

    with Both(truth, box=(35.0, 35.1, 260.0, 260.1)) as server:
        assert connect(server)._find(rain_on("2020-05-04")[0]).name.endswith("V07B.nc4")


def test_sizes_and_checksums_of_the_catalogue_are_held_against_the_file(token: str, tmp_path: Path) -> None:
    [daymet] = Daymet(DaymetConfig()).plan(Need((RAIN,), np.datetime64("2020-06-01"), np.datetime64("2020-06-02")))
    with EarthdataServer(truth, box=(35.0, 35.1, 260.0, 260.1), sizes=True) as server:
        connected = connect(server)
        facts = fetch(connected, daymet, tmp_path / "a.part")
        assert str(facts["provider_checksum"]).startswith("SHA-256 ")
        content = server.content("daymet_v4_daily_na_prcp_2020.nc")
        for wrong, words in ((content[:-1] + b"?", "another SHA-256 checksum"), (content[:-1], f"{len(content) - 1} bytes instead of")):
            server._made["daymet_v4_daily_na_prcp_2020.nc"] = wrong
            with pytest.raises(Transient, match=words):
                fetch(connected, daymet, tmp_path / "b.part")
            assert not (tmp_path / "b.part").exists()
        [imerg] = rain_on("2020-05-04")
        connected._find(imerg)
        server._made["3B-DAY.MS.MRG.3IMERG.20200504-S000000-E235959.V07B.nc4"] = b"short"
        with pytest.raises(Transient, match="5 bytes, less than the catalogue says"):
            fetch(connected, imerg, tmp_path / "c.part")


# --- the catalogue's faults -----------------------------------------------------------------------------------------------------------


def test_a_day_that_the_catalogue_does_not_list_is_absent(token: str, tmp_path: Path) -> None:
    with EarthdataServer(truth, box=(35.0, 35.1, 260.0, 260.1), absent=["*20200504*"]) as server:
        connected = connect(server)
        with pytest.raises(Absent, match=r"no granule 3B-DAY.*20200504"):
            fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")
        fetch(connected, rain_on("2020-05-05")[0], tmp_path / "b.part")
        unknown = replace(rain_on("2020-05-05")[0], body={**rain_on("2020-05-05")[0].body, "short_name": "NOTHING"})
        with pytest.raises(Absent):
            fetch(connected, unknown, tmp_path / "c.part")


@pytest.mark.parametrize(("fault", "error", "words"), [
    (status(503, retry_after=7), Transient, "HTTP 503 from 127.0.0.1"), (status(429), Transient, "HTTP 429"),
    (page(), Transient, "did not answer"), (status(400, text='{"errors":["Parameter [x] unknown."]}'), OrbitError, "Parameter .x. unknown"),
    (cut(10), Transient, "connection to 127.0.0.1 failed|did not answer"),
    (Fault(answer=Answer(b'{"hits": 31}', 200, "application/json")), Transient, "did not answer as NASA's catalogue does"),
])
def test_faults_of_the_search(
    server: EarthdataServer, token: str, tmp_path: Path, fault: Fault, error: type[Exception], words: str
) -> None:
    server.script("/search/", fault, fault)
    connected = connect(server)
    with pytest.raises(error, match=words) as caught:
        fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")
    if "503" in words:
        assert isinstance(caught.value, Transient) and caught.value.wait == 7
    server._scripts.clear()
    fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")  # a failed search is not remembered


def test_a_silent_catalogue_counts_as_lost(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    server.script("/search/", slow(3.0))
    with pytest.raises(Transient, match=r"no answer from 127.0.0.1 in time"):
        fetch(connect(server, seconds=0.2), rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_only_secure_addresses_are_followed_when_the_catalogue_is_secure(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    [request] = rain_on("2020-05-04")
    connected = connect(server)
    found = connected._find(request)
    connected.config = EarthdataConfig(cmr="https://cmr.example.invalid")
    with pytest.raises(OrbitError, match="no secure address; got 'http'; allowed: https"):
        connected._find(request)
    assert found.url.startswith("http://127.0.0.1")


def test_links_that_are_no_downloads_are_not_taken(token: str, tmp_path: Path) -> None:
    class Odd(EarthdataServer):
        def _record(self, short: str, name: str) -> dict[str, object]:
            record = super()._record(short, name)
            record["umm"]["RelatedUrls"][:0] = [{"URL": f"ftp://old.example/{name}", "Type": "GET DATA"},
                                                {"URL": f"http://x.example/opendap/{name}", "Type": "GET DATA"}]
            return record

    with Odd(truth, box=(35.0, 35.1, 260.0, 260.1)) as server:
        assert connect(server)._find(rain_on("2020-05-04")[0]).url.startswith(server.url)


# --- the data server's faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "error", "words"), [
    (status(404), Absent, "HTTP 404"), (status(410), Absent, "HTTP 410"),
    (status(403, text="<p>You must accept the EULA</p>"), OrbitError, r"HTTP 403\); got 'You must accept the EULA'.*/profile"),
    (status(401), OrbitError, "expired or invalid"), (status(500), Transient, "HTTP 500"),
    (status(503, retry_after=3), Transient, "HTTP 503"), (status(429, retry_after=60), Transient, "HTTP 429"),
    (status(418, text="tea\x1b[31m only"), OrbitError, r"HTTP 418\); got 'tea \[31m only'"),
    (page(), Transient, "sent a web page instead of the file: Service unavailable"),
    (page("<html><title>Earthdata Login</title><form>"), OrbitError, "asks for a login.*EARTHDATA_TOKEN"),
])
def test_answers_that_are_not_the_file(
    server: EarthdataServer, token: str, tmp_path: Path, fault: Fault, error: type[Exception], words: str
) -> None:
    server.script("/data/", fault)
    connected = connect(server)
    with pytest.raises(error, match=words) as caught:
        fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")
    assert not (tmp_path / "a.part").exists() and TOKEN not in str(caught.value)
    if isinstance(caught.value, Transient):
        assert fault.answer is not None
        asked = fault.answer.headers.get("Retry-After")
        assert caught.value.wait == (None if asked is None else float(asked))
        fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")


def big(server: EarthdataServer, size: int = 3_000_000) -> bytes:
    content = np.random.default_rng(1).bytes(size)
    server._made["3B-DAY.MS.MRG.3IMERG.20200504-S000000-E235959.V07B.nc4"] = content
    return content


@pytest.mark.parametrize("fault", [cut(1_500_000), stall(1_500_000, 3.0)])
def test_a_cut_or_silent_download_goes_on_where_it_stopped(server: EarthdataServer, token: str, tmp_path: Path, fault: Fault) -> None:
    content, [request] = big(server), rain_on("2020-05-04")
    server.script("/data/", fault)
    connected = connect(server, seconds=0.5)
    with pytest.raises(Transient, match=r"connection to 127.0.0.1 failed|no answer"):
        fetch(connected, request, tmp_path / "a.part")
    have = (tmp_path / "a.part").stat().st_size
    assert 1_000_000 < have <= 1_500_000
    fetch(connect(server), request, tmp_path / "a.part")  # another process may do it
    assert (tmp_path / "a.part").read_bytes() == content
    last = server.seen[-1]
    assert last.headers["range"] == f"bytes={have}-" and last.status == 206 and last.sent == len(content) - have


def test_a_file_that_changed_meanwhile_is_begun_anew(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    big(server)
    [request] = rain_on("2020-05-04")
    server.script("/data/", cut(1_500_000))
    connected = connect(server)
    with pytest.raises(Transient):
        fetch(connected, request, tmp_path / "a.part")
    new = np.random.default_rng(2).bytes(2_000_000)
    server._made["3B-DAY.MS.MRG.3IMERG.20200504-S000000-E235959.V07B.nc4"] = new
    fetch(connected, request, tmp_path / "a.part")
    assert (tmp_path / "a.part").read_bytes() == new


def test_a_file_without_end_is_refused(server: EarthdataServer, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big(server)
    monkeypatch.setattr(earthdata, "LEAST_LIMIT", 1_000_000)
    with pytest.raises(OrbitError, match="larger than it can be; got 'more than 1000000 bytes'"):
        fetch(connect(server), replace(rain_on("2020-05-04")[0], bytes=1000), tmp_path / "a.part")
    assert not (tmp_path / "a.part").exists()


def test_a_partial_that_was_complete_is_not_fetched_again(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    content, [request] = big(server), rain_on("2020-05-04")
    server.script("/data/", cut(len(content) - 1))
    with pytest.raises(Transient):
        fetch(connect(server), request, tmp_path / "a.part")
    (tmp_path / "a.part").write_bytes(content)  # as if the process had died after the last byte
    fetch(connect(server), request, tmp_path / "a.part")
    assert (tmp_path / "a.part").read_bytes() == content and (server.seen[-1].status, server.seen[-1].sent) == (416, 0)


def test_the_rest_of_another_version_is_not_appended(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    """Stores that do not know If-Range answer 206 whatever became of the file."""
    content, [request] = big(server), rain_on("2020-05-04")
    span = f"bytes 1500000-{len(content) - 1}/{len(content)}"
    rest = Answer(content[1_500_000:], 206, headers={"Content-Range": span, "ETag": '"other"'})
    server.script("/data/", cut(1_500_000), Fault(answer=rest))
    connected = connect(server)
    with pytest.raises(Transient):
        fetch(connected, request, tmp_path / "a.part")
    (tmp_path / "a.part").write_bytes(content[:1_500_000])
    with pytest.raises(Transient, match="did not continue the file") as caught:
        fetch(connected, request, tmp_path / "a.part")
    assert caught.value.wait == 0 and not (tmp_path / "a.part").exists()


def test_a_partial_of_unknown_origin_is_not_continued(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    content, [request] = big(server), rain_on("2020-05-04")
    (tmp_path / "a.part").write_bytes(b"something else" * 1000)
    fetch(connect(server), request, tmp_path / "a.part")
    assert (tmp_path / "a.part").read_bytes() == content and "range" not in server.seen[-1].headers


def test_a_silent_data_server_counts_as_lost(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    server.script("/data/", slow(3.0))
    with pytest.raises(Transient, match=r"no answer from 127.0.0.1 in time"):
        fetch(connect(server, seconds=0.2), rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_nobody_listening_is_transient(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    connected = EarthdataClient(EarthdataConfig(cmr="http://127.0.0.1:9"), 1.0)
    with pytest.raises(Transient, match=r"connection to 127.0.0.1 failed"):
        fetch(connected, rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_the_token_does_not_follow_a_redirect_to_another_host(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    with EarthdataServer(truth, box=(35.0, 35.1, 260.0, 260.1)) as bucket:
        elsewhere = bucket.url.replace("127.0.0.1", "localhost")
        server.script("/data/", redirect(f"{elsewhere}/signed/object?X-Amz-Signature=s3cret"))
        bucket.script("/signed/", Fault(answer=Answer(b"content", 200)))
        facts = fetch(connect(server), rain_on("2020-05-04")[0], tmp_path / "a.part")
        assert (tmp_path / "a.part").read_bytes() == b"content"
        assert "authorization" not in bucket.seen[0].headers and "s3cret" not in json.dumps(facts)


def test_a_circle_of_redirects_ends_with_a_hint(server: EarthdataServer, token: str, tmp_path: Path) -> None:
    server.script("/data/", *[redirect(f"{server.url}/data/x/y") for _ in range(40)])
    with pytest.raises(OrbitError, match="redirects in a circle"):
        fetch(connect(server), rain_on("2020-05-04")[0], tmp_path / "a.part")


def test_requests_of_one_collection_share_a_host_for_the_limit(server: EarthdataServer, token: str) -> None:
    connected = connect(server)
    one, other = rain_on("2020-05-04", "2020-05-05")
    assert connected.host(one) == connected.host(other)
