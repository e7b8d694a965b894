"""`retrieve`: the packaged week arrives in the provider's own format, once, with a manifest that can be trusted."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from orbit2 import retrieve
from orbit2.errors import OrbitError
from orbit2.sources import manifest
from orbit2.sources.era5 import LEXICON, open_era5
from orbit2.sources.sample import STATIC, WEEK

FIVE = ["2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "precipitation_rate"]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    retrieve.run(source="sample", out=folder)
    return folder


def test_the_zip_is_what_the_climate_data_store_sends_since_2024(week: Path, tmp_path: Path) -> None:
    (archive,) = manifest.files(week)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["data_stream-oper_stepType-accum.nc", "data_stream-oper_stepType-instant.nc"]
        opened.extractall(tmp_path)
    with netCDF4.Dataset(tmp_path / "data_stream-oper_stepType-instant.nc") as file:
        assert {"valid_time", "number", "expver", "latitude", "longitude", "t2m", "u10", "v10", "msl"} == set(file.variables)
        assert file["valid_time"].units == "seconds since 1970-01-01" and file["expver"].dtype is str and set(file["expver"][:]) == {"0001"}
        assert (file["latitude"][0], file["latitude"][-1], file["longitude"][-1]) == (90, -90, 359)
        assert file["t2m"].dimensions == ("valid_time", "latitude", "longitude") and file["u10"].units == "m s**-1"
        assert file["t2m"].GRIB_paramId == 167 and file["t2m"].dtype == np.float32
    with netCDF4.Dataset(tmp_path / "data_stream-oper_stepType-accum.nc") as file, netCDF4.Dataset(WEEK) as packed:
        assert file["tp"].units == "m" and file["tp"].GRIB_stepType == "accum"
        np.testing.assert_allclose(file["tp"][5], packed["tp"][5], atol=1e-9)


def test_the_era5_reader_gives_the_week_in_canonical_form(week: Path) -> None:
    dataset = open_era5(manifest.files(week), FIVE)
    assert dict(dataset.sizes) == {"time": 24, "lat": 181, "lon": 360} and set(FIVE) <= set(LEXICON)
    weights = np.cos(np.radians(dataset.lat))
    assert float(dataset["2m_temperature"].weighted(weights).mean()) == pytest.approx(287.55, abs=0.005)
    assert float(dataset["precipitation_rate"].weighted(weights).mean()) == pytest.approx(2.85, abs=0.005)
    assert dataset.lat.values[0] == -90 and dataset["2m_temperature"].attrs["units"] == "K"


def test_manifest_holds_length_checksum_licence_and_doi(week: Path) -> None:
    (record,) = json.loads((week / "manifest.json").read_text())["files"]
    content = (week / record["file"]).read_bytes()
    assert record["bytes"] == len(content) and record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["doi"] == "10.24381/cds.adbb2d47" and record["licence"] == "CC BY 4.0" and record["fetched"].endswith("Z")
    assert "Copernicus Climate Change Service information 2026" in record["attribution"]


def test_a_second_run_changes_nothing_and_a_damaged_file_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrieve.run(source="static", out=tmp_path)
    file = tmp_path / "static_0.25deg.nc"
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    retrieve.run(source="static", out=tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before and "nothing to do" in capsys.readouterr().out
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    retrieve.run(source="static", out=tmp_path)
    assert file.read_bytes() == STATIC.read_bytes()


def test_a_file_that_is_not_in_the_manifest_does_not_exist(tmp_path: Path) -> None:
    retrieve.run(source="static", out=tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(OrbitError, match="run the retrieve stage first"):
        manifest.files(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    retrieve.run(source="static", out=tmp_path)
    assert len(manifest.files(tmp_path)) == 1
    (tmp_path / "static_0.25deg.nc").write_bytes(b"cut")
    with pytest.raises(OrbitError, match="does not match the manifest"):
        manifest.files(tmp_path)


def test_dry_run_writes_nothing_and_unknown_sources_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrieve.run(source="sample", out=tmp_path / "x", dry_run=True)
    assert not (tmp_path / "x").exists() and "would be written" in capsys.readouterr().out
    with pytest.raises(OrbitError, match="did you mean 'sample'"):
        retrieve.run(source="sampel", out=tmp_path / "x")
