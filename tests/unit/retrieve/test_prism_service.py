"""`retrieve prism` against a server that behaves like PRISM's: everything between a slice and files that can be opened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orbit2 import retrieve
from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.sources import manifest
from orbit2.sources.catalogue import open_source
from tests.data.prism_files import Window, write_bil_zip, write_cog_zip
from tests.data.servers.base import cut, page, status
from tests.data.servers.prism import LIMIT, PrismServer

WINDOW = Window(south=35.0, west=-110.0, rows=60, columns=80)
PPT, TMIN = "total_precipitation_24hr", "2m_temperature_min"


def values(element: str, day: str) -> np.ndarray:
    field = np.random.default_rng([int(day), len(element)]).gamma(2, 3, (WINDOW.rows, WINDOW.columns)).astype(np.float32)
    return field - 5 * (element == "tmin")


@pytest.fixture
def zips(tmp_path: Path) -> dict[tuple[str, str], bytes]:
    """Four days of two elements, the old and the new format in turn."""
    made = {}
    for element in ("ppt", "tmin"):
        for number in range(1, 5):
            day = f"2020030{number}"
            write = write_cog_zip if number % 2 else write_bil_zip
            made[element, day] = write(tmp_path / "made.zip", element, day, values(element, day), window=WINDOW).read_bytes()
    return made


def server_of(zips: dict[tuple[str, str], bytes], **how: object) -> PrismServer:
    return PrismServer(lambda element, day: zips.get((element, day)), **how)  # type: ignore[arg-type]


def slice_for(server: PrismServer, path: Path, **transfer: float) -> Path:
    write_json(path, {"source": "prism", "needs": [
        {"variables": [PPT], "first": "2020-03-01", "last": "2020-03-03", "box": None},
        {"variables": [PPT, TMIN], "first": "2020-03-02", "last": "2020-03-04", "box": [30, 40, 240, 250]}],
        "settings": {"prism": {"url": server.url + "/prism/data/get"},
                     "transfer": {"backoff_seconds": 0.01, "backoff_limit": 0.05, "timeout_seconds": 5, **transfer}}})
    return path


def test_from_slice_to_open_files_through_every_fault_that_passes(tmp_path: Path, zips: dict[tuple[str, str], bytes]) -> None:
    out = tmp_path / "resources" / "prism" / "v1"
    with server_of(zips) as server:
        server.script("/ppt/20200301", cut(3000))
        server.script("/ppt/20200302", status(429, retry_after=0.05))
        server.script("/tmin/20200304", status(503), cut(10))
        config = slice_for(server, tmp_path / "slice.json")
        retrieve.run(source="prism", out=out, config=config, receipt=tmp_path / "done.json")
        # days 1-4 of ppt and 2-4 of tmin, each downloaded once although both needs want some of them
        assert sorted(server.downloads.values()) == [1] * 7
        before = len(server.seen)
        retrieve.run(source="prism", out=out, config=config)
        assert len(server.seen) == before
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["source"], done["files"], done["gaps"]) == ("prism", 7, [])
    assert done["bytes"] == sum(len(zips[key]) for key in zips if key != ("tmin", "20200301"))
    first, last = np.datetime64("2020-03-02"), np.datetime64("2020-03-04")
    data = open_source("prism", tmp_path / "resources", SourcesConfig(), dict.fromkeys([PPT, TMIN], (first, last)))
    for number in range(3):
        day = f"2020030{number + 2}"
        np.testing.assert_allclose(data[PPT].values[number], values("ppt", day), atol=1e-6)
        np.testing.assert_allclose(data[TMIN].values[number], values("tmin", day) + 273.15, atol=3e-5)
    record = next(r for r in manifest.read(out)["files"] if r["file"].endswith("prism_ppt_us_4km_20200301.zip"))
    assert record["file"] == "4km/ppt/2020/prism_ppt_us_4km_20200301.zip" and record["origin"].endswith("/us/4km/ppt/20200301")
    assert record["attribution"].startswith("PRISM Group") and record["variables"] == [PPT]


def test_the_daily_limit_is_a_final_error_with_the_service_s_own_words(tmp_path: Path, zips: dict[tuple[str, str], bytes]) -> None:
    with server_of(zips) as server:
        server.downloads["prism_ppt_us_4km_20200302.zip"] = 2
        config = slice_for(server, tmp_path / "slice.json")
        with pytest.raises(OrbitError, match=r"1 of 7 files.*20200302.zip.*You have tried to download.*more than twice in one day"):
            retrieve.run(source="prism", out=tmp_path / "out", config=config, receipt=tmp_path / "done.json")
        assert sum("/ppt/20200302" in path for path in server.paths()) == 1  # the service blocks those who insist
        assert len(manifest.files(tmp_path / "out")) == 6 and not (tmp_path / "done.json").exists()
        server.downloads.clear()  # the next day
        retrieve.run(source="prism", out=tmp_path / "out", config=config, receipt=tmp_path / "done.json")
        assert sum(server.downloads.values()) == 1 and (tmp_path / "done.json").exists()
    assert "Pacific local time" in LIMIT


@pytest.mark.parametrize("says", [False, True])
def test_a_day_that_the_service_does_not_have_is_a_gap(tmp_path: Path, zips: dict[tuple[str, str], bytes], says: bool) -> None:
    del zips["ppt", "20200303"]
    with server_of(zips, invalid_date_says=says) as server:
        config = slice_for(server, tmp_path / "slice.json", max_gaps=0.2)
        retrieve.run(source="prism", out=tmp_path / "r/prism/v1", config=config, receipt=tmp_path / "done.json")
        assert json.loads((tmp_path / "done.json").read_text())["gaps"] == ["4km/ppt/2020/prism_ppt_us_4km_20200303.zip"]
        with pytest.raises(OrbitError, match=r"does not have 1 of 7 files, the first 4km/ppt/2020/prism_ppt_us_4km_20200303.zip"):
            retrieve.run(source="prism", out=tmp_path / "r/prism/v1", config=slice_for(server, tmp_path / "slice.json"))
    first, last = np.datetime64("2020-03-02"), np.datetime64("2020-03-04")
    data = open_source("prism", tmp_path / "r", SourcesConfig(), dict.fromkeys([PPT, TMIN], (first, last)))
    assert [bool(np.isnan(day).all()) for day in data[PPT].values] == [False, True, False] and np.isfinite(data[TMIN].values).all()


def test_wrong_and_broken_answers_are_refused(tmp_path: Path, zips: dict[tuple[str, str], bytes]) -> None:
    zips["ppt", "20200301"] = zips["ppt", "20200302"]  # the wrong day
    zips["ppt", "20200302"] = zips["tmin", "20200302"]  # the wrong element
    zips["ppt", "20200303"] = zips["ppt", "20200303"][:-300]  # cut by the provider itself
    with server_of(zips) as server:
        server.script("/ppt/20200304", page("PK is not <b>here</b>", type="text/html"))
        with pytest.raises(OrbitError, match=r"4 of 7 files could not be retrieved"):
            retrieve.run(source="prism", out=tmp_path / "out", config=slice_for(server, tmp_path / "slice.json"))
    assert len(manifest.files(tmp_path / "out")) == 3
    assert sorted(p.name for p in (tmp_path / "out").rglob("*ppt*")) == ["ppt"]  # no file, no partial


def test_dry_run_prints_what_it_would_cost(tmp_path: Path, zips: dict[tuple[str, str], bytes], capsys: pytest.CaptureFixture[str]) -> None:
    with server_of(zips) as server:
        config = slice_for(server, tmp_path / "slice.json")
        retrieve.run(source="prism", out=tmp_path / "out", config=config, dry_run=True)
        assert server.seen == [] and not (tmp_path / "out").exists()
        text = capsys.readouterr().out
        assert "prism: 7 files, about 6.5 MB (estimate), 2020-03-01 to 2020-03-04, by http" in text
        assert text.count("downloaded twice a day") == 1
        retrieve.run(source="prism", out=tmp_path / "out", config=config)
        capsys.readouterr()
        retrieve.run(source="prism", out=tmp_path / "out", config=config, dry_run=True)
        assert "complete: 7 of them" in capsys.readouterr().out


def test_verify_finds_what_changed_without_changing_its_time(tmp_path: Path, zips: dict[tuple[str, str], bytes]) -> None:
    import os

    with server_of(zips) as server:
        config = slice_for(server, tmp_path / "slice.json")
        retrieve.run(source="prism", out=tmp_path / "out", config=config)
        path = manifest.files(tmp_path / "out")[2]
        good, times = path.read_bytes(), path.stat()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        retrieve.run(source="prism", out=tmp_path / "out", config=config)
        assert path.read_bytes() != good and len(server.seen) == 7  # nothing tells it from the good one
        retrieve.run(source="prism", out=tmp_path / "out", config=config, verify=True)
        assert path.read_bytes() == good and len(server.seen) == 8
