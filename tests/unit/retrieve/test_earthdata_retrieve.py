"""Daymet and IMERG from a local Earthdata through the retrieve stage into a manifest, and opened again: values, gaps, no secrets."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.retrieve import stage
from orbit2.sources import manifest
from orbit2.sources.catalogue import open_source
from tests.data import daymet_files
from tests.data.servers.base import cut, page, status
from tests.data.servers.earthdata import RAIN, TOKEN, EarthdataServer

BOX = (35.0, 35.2, 260.0, 260.2)


def truth(variable: str, day: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """mm or K: a plane in latitude and longitude east of Greenwich, drifting with the date."""
    return 280.0 + lat + 0.1 * np.mod(lon, 360) + 0.01 * (day - np.datetime64("2020-01-01")).astype(int)


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def slice_of(path: Path, server: EarthdataServer, source: str, names: list[str], first: str, last: str, **settings: object) -> Path:
    """The slice of a run's configuration that the stage is given."""
    configuration = SourcesConfig.model_validate({
        "earthdata": {"cmr": server.url}, **settings,
        "transfer": {"backoff_seconds": 0.01, "backoff_limit": 0.02, "timeout_seconds": 5, "max_gaps": 0.4}})
    path.write_text(json.dumps({"source": source, "needs": [{"variables": names, "first": first, "last": last, "box": list(BOX)}],
                                "settings": configuration.model_dump(mode="json")}))
    return path


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def test_imerg_days_arrive_through_faults_and_a_missing_day_is_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    resources, settings = tmp_path / "resources", SourcesConfig()
    with EarthdataServer(truth, box=BOX, absent=["*20200502*"]) as server:
        config = slice_of(tmp_path / "slice.json", server, "imerg", [RAIN], "2020-04-30", "2020-05-03")
        server.script("20200430", status(503), cut(500), page())
        server.script("/search/", status(429, retry_after=0.01))
        stage.run(source="imerg", out=resources / "imerg" / manifest.VERSION, config=config, receipt=tmp_path / "receipt.json")
        asked = len(server.seen)
        stage.run(source="imerg", out=resources / "imerg" / manifest.VERSION, config=config)
        assert server.paths()[asked:] == ["/search/granules.umm_json"] * 2  # only the absent day is looked for again
    content = manifest.read(resources / "imerg" / manifest.VERSION)
    assert [Path(r["file"]).name.split(".")[4][:8] for r in content["files"]] == ["20200430", "20200501", "20200503"]
    assert [(g["first"], g["last"]) for g in content["gaps"]] == [("2020-05-02T00:00:00", "2020-05-02T00:00:00")]
    record = content["files"][0]
    assert record["doi"] == "10.5067/GPM/IMERGDF/DAY/07" and record["origin"].endswith("20200430-S000000-E235959.V07B.nc4")
    everything = caplog.text + capsys.readouterr().out + "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert TOKEN not in everything and not list(resources.rglob("*.part"))

    data = open_source("imerg", resources, settings, {RAIN: (day("2020-04-30"), day("2020-05-03"))})
    assert np.isnan(data[RAIN].values).all(axis=(1, 2)).tolist() == [False, False, True, False]
    lon, lat = np.meshgrid(data["lon"].values, data["lat"].values)
    np.testing.assert_allclose(data[RAIN].sel(time="2020-05-03").values, truth(RAIN, day("2020-05-03"), lat, lon), rtol=1e-6)


def test_imerg_half_hours_become_days_and_a_few_missing_ones_do_not_matter(tmp_path: Path) -> None:
    resources = tmp_path / "resources"
    imerg = {"product": "half_hourly", "run": "late"}
    with EarthdataServer(truth, box=BOX, absent=["3B-HHR-L*20200503-S0[0-4]0000*"]) as server:  # five of 48
        config = slice_of(tmp_path / "slice.json", server, "imerg", [RAIN], "2020-05-03", "2020-05-04", imerg=imerg)
        stage.run(source="imerg", out=resources / "imerg" / manifest.VERSION, config=config)
    data = open_source("imerg", resources, SourcesConfig.model_validate({"imerg": imerg}), {RAIN: (day("2020-05-03"), day("2020-05-04"))})
    assert data["slots"].values.tolist() == [43, 48]
    assert np.isnan(data[RAIN].values).all(axis=(1, 2)).tolist() == [True, False]  # 43 of 48 are one too few
    lon, lat = np.meshgrid(data["lon"].values, data["lat"].values)
    np.testing.assert_allclose(data[RAIN][1].values, truth(RAIN, day("2020-05-04"), lat, lon), rtol=1e-6)
    relaxed = SourcesConfig.model_validate({"imerg": {**imerg, "min_slots": 43}})
    again = open_source("imerg", resources, relaxed, {RAIN: (day("2020-05-03"), day("2020-05-03"))})
    np.testing.assert_allclose(again[RAIN][0].values, truth(RAIN, day("2020-05-03"), lat, lon), rtol=1e-6)


def test_daymet_years_arrive_and_the_true_calendar_comes_out(tmp_path: Path) -> None:
    resources, names = tmp_path / "resources", [RAIN, "2m_temperature_max"]
    with EarthdataServer(truth, box=BOX, sizes=True) as server:
        config = slice_of(tmp_path / "slice.json", server, "daymet", names, "2020-12-30", "2021-01-02")
        server.script("na_prcp_2020", cut(20_000))
        stage.run(source="daymet", out=resources / "daymet" / manifest.VERSION, config=config)
    data = open_source("daymet", resources, SourcesConfig(), dict.fromkeys(names, (day("2020-12-30"), day("2021-01-02"))))
    lat, lon = daymet_files.lat_lon(data["x"].values, data["y"].values)
    for name in names:
        assert np.isnan(data[name].values).all(axis=(1, 2)).tolist() == [False, True, False, False]
        np.testing.assert_allclose(data[name][3].values, truth(name, day("2021-01-02"), lat, lon), rtol=1e-6)
    assert data.attrs["gaps"] == "2020-12-31" and "Lambert" in data.attrs["crs"]


def test_an_expired_token_ends_the_stage_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "an-0ld-token")
    with EarthdataServer(truth, box=BOX) as server:
        config = slice_of(tmp_path / "slice.json", server, "imerg", [RAIN], "2020-05-01", "2020-05-03")
        with pytest.raises(OrbitError, match=r"expired or invalid: make a new one") as caught:
            stage.run(source="imerg", out=tmp_path / "out", config=config)
    assert "an-0ld-token" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_dry_run_needs_neither_credentials_nor_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN")
    with EarthdataServer(truth, box=BOX) as server:
        config = slice_of(tmp_path / "slice.json", server, "daymet", [RAIN], "1980-01-01", "2019-12-31")
        stage.run(source="daymet", out=tmp_path / "out", config=config, dry_run=True)
        assert not server.seen
    said = capsys.readouterr().out
    assert "40 files" in said and "156" in said  # 40 years of 3.9 GB
