"""`orbit2 retrieve --adopt FOLDER`: provider archives that are on disk already count as fetched, whatever their files are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from orbit2.cli import main
from orbit2.config.load import from_mapping
from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.retrieve.recognise import KINDS, Recognised, adopt, recognise
from orbit2.retrieve.stage import outstanding
from orbit2.sources import catalogue
from orbit2.sources.catalogue import open_source
from tests.data import daymet_files, imerg_files, prism_files
from tests.data.era5_files import cds2024, values

RAIN = "total_precipitation_24hr"
SHARED = Path(__file__).resolve().parents[4] / "shared/data/readers"
LAT, LON = np.arange(48.0, 39.9, -0.25), np.arange(2.0, 14.1, 0.25)


def plane(day: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return 1 + 0 * lat + 0 * lon + (day.astype("datetime64[D]") - np.datetime64("2020-01-01")).astype(int)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two months of hourly ERA5 over a box in one file of another name, two PRISM days, one IMERG day, a Daymet year, and what is none."""
    held = tmp_path / "archive/deep"
    held.mkdir(parents=True)
    cds2024(held / "my era5.nc", ("t2m", "msl"), times=24 * 60, start="2020-01-01", lat=LAT, lon=LON)
    field = np.ones((prism_files.CONUS.rows, prism_files.CONUS.columns), "float32")
    prism_files.write_bil_zip(held / "PRISM_ppt_stable_4kmD2_20200101_bil.zip", "ppt", "20200101", field)
    prism_files.write_bil_zip(held / "renamed.zip", "tmin", "20200102", field)
    imerg_files.daily(held / "rain.nc4", np.datetime64("2020-01-02"), plane)
    x, y = daymet_files.GRID_X[4000:4020], daymet_files.GRID_Y[5000:5015]
    daymet_files.write(held / "prcp.nc", "prcp", daymet_files.days_of(2019), plane, x, y)
    (held / "notes.nc").write_text("no data")
    (held / "readme.txt").write_text("never looked at")
    return tmp_path


def test_files_are_told_by_what_they_hold_and_linked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SourcesConfig(resources=str(folder / "resources"))
    adopt(folder / "archive", settings)
    printed = capsys.readouterr().out
    assert "era5: 1 file recognised (2020-01-01 to 2020-02-29), 1 of them new" in printed and "prism: 2 files recognised" in printed
    assert "imerg: 1 file" in printed and "daymet: 1 file" in printed and "not adopted" in printed and "notes.nc" in printed
    links = [path for path in (folder / "resources").rglob("*") if path.is_symlink()]
    assert len(links) == 5 and all(path.resolve().parent == folder / "archive/deep" for path in links)
    (record,) = read_json(folder / "resources/era5/v1/manifest.json")["files"]
    assert record["variables"] == ["2m_temperature", "mean_sea_level_pressure"] and record["box"] == [40.0, 48.0, 2.0, 14.0]
    adopt(folder / "archive", settings)
    assert "0 of them new" in capsys.readouterr().out


def test_what_was_adopted_is_not_fetched_and_is_read(folder: Path) -> None:
    run = {
        "sources": {"resources": str(folder / "resources")},
        "datasets": {"e": {"source": "era5", "frequency": "hourly", "inputs": ["2m_temperature"], "outputs": ["2m_temperature"],
                           "coarse_grid": "global_1.0@41,47,3,13", "fine_grid": "global_0.25@41,47,3,13", "statics": ["orography"],
                           "split": {"train": {"start": "2020-01-01", "end": "2020-01-20"},
                                     "validation": {"start": "2020-01-28", "end": "2020-02-05"},
                                     "test": {"start": "2020-02-14", "end": "2020-03-05"}}}},
        "models": {"m": {"datasets": ["e"], "architecture": {}}},
    }  # fmt: skip
    config = from_mapping(run)
    before = outstanding(config, "era5")
    adopt(folder / "archive", config.sources, "era5")
    after = outstanding(config, "era5")
    assert before.files == after.files == 3 and before.missing == before.bytes
    assert 0 < after.missing < before.missing, "January and February are there, March is fetched as usual"
    window = np.datetime64("2020-01-01T20", "s"), np.datetime64("2020-01-02T03", "s")
    data = open_source("era5", folder / "resources", config.sources, {"2m_temperature": window}, (41.0, 47.0, 3.0, 13.0))
    assert data.sizes["time"] == 8
    expected = values("t2m", 1, LAT, LON, since=24)[0, ::-1]
    np.testing.assert_allclose(data["2m_temperature"].sel(time="2020-01-02T00").values, expected, rtol=1e-6)


def test_a_link_whose_file_went_is_fetched_again_and_the_archive_is_never_written_to(folder: Path) -> None:
    settings = SourcesConfig(resources=str(folder / "resources"))
    adopt(folder / "archive", settings, "prism")
    (link,) = (path for path in (folder / "resources/prism").rglob("*20200102*") if path.is_symlink())
    (folder / "archive/deep/renamed.zip").unlink()
    with pytest.raises(OrbitError, match="does not match the manifest"):
        day = np.datetime64("2020-01-02", "s")
        open_source("prism", folder / "resources", settings, {"2m_temperature_min": (day, day)})
    assert link.is_symlink() and not (folder / "archive/deep/renamed.zip").exists()


def test_through_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump({"include": "runs/prism_pretrain.yaml", "sources": {"resources": "elsewhere"}}))
    for arguments, code, says in ((("prism", "--adopt", "archive", "-c", "run.yaml"), 0, "prism: 2 files recognised"),
                                  (("--adopt", "empty"), 2, "no provider's file is in this folder"),
                                  (("--adopt", "nowhere"), 2, "not a folder"),
                                  (("static", "--adopt", "archive"), 2, "archives of this source are not recognised"),
                                  (("prism", "--adopt", "archive", "--verify"), 2, "--adopt goes with")):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(("retrieve", *arguments))
        captured = capsys.readouterr()
        assert stop.value.code == code and says in captured.out + captured.err
    assert (folder / "elsewhere/prism/v1/manifest.json").is_file()


@pytest.mark.parametrize(("file", "source", "names"), [
    ("prism/PRISM_ppt_stable_4kmD2_19910101_bil.zip", "prism", (RAIN,)),
    ("prism/PRISM_tmin_stable_4kmD2_20110615_bil.zip", "prism", ("2m_temperature_min",)),
    ("era5_netcdf_cds2024/u10v10_instant_era5t_24h.nc", "era5", ("10m_u_component_of_wind", "10m_v_component_of_wind")),
    ("era5_grib/t2m_uk_201903_hourly.grib", "era5", ("2m_temperature",)),
    ("era5_netcdf_legacy/era5_conus_0.25deg_19950714T12.nc", "era5", None),
    ("prism/CORRUPT_PRISM_ppt_stable_4kmD2_20120101_bil.zip", None, None),
    ("daymet/daymet_v3_prcp_19990913-17_lcc_km.nc", None, None),  # five days of a year
    ("imerg/V07A_3B-HHR_10x10cut.HDF5", None, None),  # half-hours, where days are asked for
])  # fmt: skip
def test_the_providers_own_files(file: str, source: str | None, names: tuple[str, ...] | None, tmp_path: Path) -> None:
    """Small real files: recognised under another name, or not, and then with the reason."""
    if not (SHARED / file).is_file():
        pytest.skip("provider files are not on this machine (../shared/data/readers)")
    path = tmp_path / f"mine{Path(file).suffix}"
    shutil.copy(SHARED / file, path)
    settings = SourcesConfig()
    found = recognise(path, {name: catalogue.source(name, settings) for name in KINDS})
    if source is None:
        assert isinstance(found, str) and len(found) > 10
        return
    assert isinstance(found, Recognised), found
    assert found.source == source and (names is None or found.request.variables == names)
