"""PRISM's reader on made files of both formats: axes, units, missing cells, days; and on files that are wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.config.sources import PrismConfig, SourcesConfig
from orbit2.errors import OrbitError
from orbit2.sources import manifest
from orbit2.sources.catalogue import open_source
from orbit2.sources.prism import Prism
from orbit2.sources.source import Need
from tests.data.prism_files import Window, write_bil_zip, write_cog_zip

WINDOW = Window(south=30.0, west=-100.0, rows=30, columns=40)
FIRST, LAST = np.datetime64("2019-12-30"), np.datetime64("2020-01-05")
PPT, TMIN, TMAX = "total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max"


def field(seed: int, window: Window = WINDOW) -> np.ndarray:
    """Values [lat, lon] that differ in every cell, some missing."""
    values = np.random.default_rng(seed).uniform(0, 30, (window.rows, window.columns)).astype(np.float32)
    values[2, 3:6] = np.nan
    return values


def opened(files: list[Path], names: list[str], first: np.datetime64 = FIRST, last: np.datetime64 = LAST) -> xr.Dataset:
    return Prism(PrismConfig()).open(files, names, first, last)


def test_both_formats_give_the_same_cells_axes_and_units(tmp_path: Path) -> None:
    rain, cold = field(1), field(2)
    files = [write_cog_zip(tmp_path / "1.zip", "ppt", "20200102", rain, window=WINDOW),
             write_bil_zip(tmp_path / "2.zip", "ppt", "20200101", rain, window=WINDOW, nodata=-3.4e38),
             write_bil_zip(tmp_path / "3.zip", "tmin", "20200101", cold, window=WINDOW),
             write_cog_zip(tmp_path / "4.zip", "tmin", "20200102", cold, window=WINDOW)]
    data = opened(files, [PPT, TMIN])
    assert data[PPT].dims == ("time", "lat", "lon") and data[PPT].dtype == np.float32 and data[PPT].chunks == ((1, 1), (30,), (40,))
    assert list(data["time"].values) == [np.datetime64("2020-01-01", "ns"), np.datetime64("2020-01-02", "ns")]
    for day in range(2):
        np.testing.assert_array_equal(data[PPT].values[day], rain)
        np.testing.assert_allclose(data[TMIN].values[day], cold + 273.15, atol=2e-5)
    assert data["lat"].values[0] == 30.0 and data["lat"].values[1] == 721 / 24 and data["lon"].values[0] == 260.0
    assert np.array_equal(data["lon"].values * 24, np.rint(data["lon"].values * 24))
    assert (data[PPT].attrs["units"], data[TMIN].attrs["units"]) == ("mm", "K")


@pytest.mark.skipif(shutil.which("gdallocationinfo") is None, reason="GDAL's command line tools are not installed")
@pytest.mark.parametrize("kind", ["bil", "cog"])
def test_the_made_files_say_the_same_to_gdal(tmp_path: Path, kind: str) -> None:
    values = field(3)
    path = (write_bil_zip if kind == "bil" else write_cog_zip)(tmp_path / "x.zip", "tmax", "20200101", values, window=WINDOW)
    member = next(n for n in zipfile.ZipFile(path).namelist() if n.endswith((".bil", ".tif")))
    told = subprocess.run(["gdallocationinfo", "-valonly", "-geoloc", f"/vsizip/{path}/{member}", "-99.0", "30.5"],
                          capture_output=True, text=True, check=True).stdout
    cell = opened([path], [TMAX])[TMAX][0].sel(lat=30.5, lon=261.0)
    assert float(told) == pytest.approx(values[12, 24]) == pytest.approx(float(cell) - 273.15, abs=2e-5)


def test_800_metres_lie_on_their_own_multiples(tmp_path: Path) -> None:
    window = Window(south=30 + 1 / 120, west=-100.0, rows=20, columns=25, per_degree=120)
    path = write_cog_zip(tmp_path / "x.zip", "ppt", "20200101", field(4, window), window=window)
    data = Prism(PrismConfig(resolution="800m")).open([path], [PPT], FIRST, LAST)
    assert data["lat"].values[0] == 3601 / 120 and data["lon"].values[1] == 31201 / 120
    with pytest.raises(OrbitError, match=r"no PRISM file holds"):
        opened([path], [PPT])


def test_how_final_a_day_is(tmp_path: Path) -> None:
    files = [write_bil_zip(tmp_path / "1.zip", "ppt", "20200101", field(1), window=WINDOW, stability="provisional"),
             write_bil_zip(tmp_path / "2.zip", "tmin", "20200101", field(1), window=WINDOW, stability="stable"),
             write_cog_zip(tmp_path / "3.zip", "ppt", "20200102", field(1), window=WINDOW, created="20200104"),
             write_cog_zip(tmp_path / "4.zip", "ppt", "20200103", field(1), window=WINDOW, created="20200704")]
    assert list(opened(files, [PPT, TMIN])["stability"].values) == ["provisional", "early", "stable"]
    assert list(opened(files, [TMIN])["stability"].values) == ["stable"]


def test_days_outside_the_window_and_other_elements_are_left_alone(tmp_path: Path) -> None:
    files = [write_cog_zip(tmp_path / f"{day}.zip", "ppt", f"202001{day:02d}", field(day), window=WINDOW) for day in range(1, 5)]
    files.append(write_cog_zip(tmp_path / "t.zip", "tmax", "20200102", field(1), window=WINDOW))
    data = opened(files, [PPT], np.datetime64("2020-01-02"), np.datetime64("2020-01-03T23:00:00"))
    assert [str(t)[:10] for t in data["time"].values] == ["2020-01-02", "2020-01-03"] and list(data.data_vars) == [PPT]
    np.testing.assert_array_equal(data[PPT].values[1], field(3))


def test_reading_is_lazy_a_day_at_a_time(tmp_path: Path) -> None:
    files = [write_cog_zip(tmp_path / f"{day}.zip", "ppt", f"202001{day:02d}", field(day), window=WINDOW) for day in (1, 2)]
    data = opened(files, [PPT])
    files[1].write_bytes(b"not a zip any more")
    np.testing.assert_array_equal(data[PPT][0].values, field(1))
    with pytest.raises(OrbitError, match=r"2.zip: damaged archive"):
        _ = data[PPT][1].values


def test_a_day_without_values_is_nan_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    big = Window(south=30.0, west=-100.0, rows=240, columns=240)
    files = [write_bil_zip(tmp_path / "1.zip", "ppt", "20200101", field(1, big), window=big),
             write_bil_zip(tmp_path / "2.zip", "ppt", "20200102", np.full((240, 240), np.nan), window=big),
             write_bil_zip(tmp_path / "3.zip", "tmin", "20200102", field(1, big), window=big)]
    data = opened(files, [PPT, TMIN])
    assert data[PPT].attrs["missing_days"] == "2020-01-02" and np.isnan(data[PPT].values[1]).all() and "2.zip: all cells" in caplog.text
    assert data[TMIN].attrs["missing_days"] == "2020-01-01" and np.isnan(data[TMIN].values[0]).all()  # no file


def test_wrong_files_are_named(tmp_path: Path) -> None:
    good = write_bil_zip(tmp_path / "good.zip", "ppt", "20200101", field(1), window=WINDOW)
    twice = write_cog_zip(tmp_path / "twice.zip", "ppt", "20200101", field(1), window=WINDOW)
    with pytest.raises(OrbitError, match=r"twice.zip: day is there twice; got 'ppt 2020-01-01'; allowed: once, as in .*good.zip"):
        opened([good, twice], [PPT])
    moved = write_cog_zip(tmp_path / "moved.zip", "ppt", "20200102", field(1), window=Window(31.0, -100.0, 30, 40))
    with pytest.raises(OrbitError, match=r"moved.zip: wrong grid: not that of the other files; got '30 x 40 cells from 31.0000 N"):
        opened([good, moved], [PPT])[PPT].values  # noqa: B018
    off = write_bil_zip(tmp_path / "off.zip", "ppt", "20200102", field(1), window=WINDOW, header={"XDIM": "0.05"})
    with pytest.raises(OrbitError, match=r"off.zip: wrong grid: x is not every 1/24 degree"):
        opened([off], [PPT])
    short = write_bil_zip(tmp_path / "short.zip", "ppt", "20200103", field(1), window=WINDOW, header={"NROWS": "31"})
    with pytest.raises(OrbitError, match=r"short.zip: corrupt: the raster is not as long as its header.*got '4800 bytes'; allowed: 4960"):
        opened([short], [PPT])
    hot = write_bil_zip(tmp_path / "hot.zip", "tmax", "20200104", field(1) + 300, window=WINDOW)
    with pytest.raises(OrbitError, match=r"hot.zip: 2m_temperature_max: impossible values; got '573.* to 603"):
        opened([hot], [TMAX])[TMAX].values  # noqa: B018
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(OrbitError, match=r"other.zip: not one PRISM day; got \['readme.txt'\]"):
        opened([tmp_path / "other.zip"], [PPT])
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../prism_ppt_us_25m_20200101.tif", "x")
    with pytest.raises(OrbitError, match=r"bad.zip: archive member would be written outside"):
        opened([tmp_path / "bad.zip"], [PPT])
    noise = tmp_path / "noise.zip"
    with zipfile.ZipFile(noise, "w") as archive:
        archive.writestr("prism_ppt_us_25m_20200105.tif", b"II*\x00" + bytes(500))
    with pytest.raises(OrbitError, match=r"noise.zip: corrupt: the raster cannot be read"):
        opened([noise], [PPT])


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    path = write_cog_zip(tmp_path / "x.zip", "ppt", "20200101", field(1), window=WINDOW)
    content = bytearray(path.read_bytes())
    content[1500] ^= 255
    path.write_bytes(content)
    (request,) = Prism(PrismConfig()).plan(Need((PPT,), np.datetime64("2020-01-01"), np.datetime64("2020-01-01")))
    with pytest.raises(OrbitError, match=r"x.zip: damaged archive"):
        Prism(PrismConfig()).check(path, request)


def test_a_plan_has_one_request_for_a_day_and_element() -> None:
    prism = Prism(PrismConfig(url="http://127.0.0.1:9/data/get"))
    requests = prism.plan(Need((PPT, TMAX), np.datetime64("2019-12-31"), np.datetime64("2020-01-01"), (20, 30, 230, 240)))
    assert [r.file for r in requests] == [
        "4km/ppt/2019/prism_ppt_us_4km_20191231.zip", "4km/tmax/2019/prism_tmax_us_4km_20191231.zip",
        "4km/ppt/2020/prism_ppt_us_4km_20200101.zip", "4km/tmax/2020/prism_tmax_us_4km_20200101.zip"]
    assert requests[0].body["url"] == "http://127.0.0.1:9/data/get/us/4km/ppt/20191231" and requests[0].box is None
    assert str(requests[1].first) == str(requests[1].last) == "2019-12-31T00:00:00"
    with pytest.raises(OrbitError, match=r"PRISM does not offer this variable; got '2m_temperature_mi'.*did you mean '2m_temperature_min'"):
        prism.plan(Need(("2m_temperature_mi",), np.datetime64("2020-01-01"), np.datetime64("2020-01-01")))
    with pytest.raises(OrbitError, match=r"begin later; got '1980-12-31'"):
        prism.plan(Need((PPT,), np.datetime64("1980-12-31"), np.datetime64("1981-01-01")))


def test_check_compares_element_day_and_grid_with_the_request(tmp_path: Path) -> None:
    prism = Prism(PrismConfig())
    (request,) = prism.plan(Need((PPT,), np.datetime64("2020-01-01"), np.datetime64("2020-01-01")))
    prism.check(write_cog_zip(tmp_path / "ok.zip", "ppt", "20200101", field(1), window=WINDOW), request)
    with pytest.raises(OrbitError, match=r"another element; got 'tmin'; allowed: ppt"):
        prism.check(write_cog_zip(tmp_path / "a.zip", "tmin", "20200101", field(1), window=WINDOW), request)
    with pytest.raises(OrbitError, match=r"another day; got '2020-01-02'; allowed: 2020-01-01"):
        prism.check(write_bil_zip(tmp_path / "b.zip", "ppt", "20200102", field(1), window=WINDOW), request)
    fine = Window(30.0, -100.0, 30, 40, per_degree=120)
    with pytest.raises(OrbitError, match=r"wrong grid; got '800m'"):
        prism.check(write_cog_zip(tmp_path / "c.zip", "ppt", "20200101", field(1, fine), window=fine), request)


def test_the_catalogue_opens_what_is_retrieved_and_makes_recorded_gaps_nan(tmp_path: Path) -> None:
    prism, folder = Prism(PrismConfig()), tmp_path / "prism" / "v1"
    plan = prism.plan(Need((PPT,), np.datetime64("2020-01-01"), np.datetime64("2020-01-04")))
    with manifest.ledger(folder, "prism") as ledger:
        for number, request in enumerate(plan[:2], start=1):
            path = write_cog_zip(folder / request.file, "ppt", f"202001{number:02d}", field(number), window=WINDOW)
            ledger.add(manifest.entry(path, origin="test", licence="none", doi=None, attribution="", file=request.file,
                                      variables=request.variables, first=request.first, last=request.last))
        ledger.gap(file=plan[2].file, variables=(PPT,), first=plan[2].first, last=plan[2].last, reason="HTTP 404")
    first, last = np.datetime64("2020-01-02"), np.datetime64("2020-01-03T23:59:59")
    data = open_source("prism", tmp_path, SourcesConfig(), dict.fromkeys([PPT], (first, last)))
    assert [str(t)[:10] for t in data["time"].values] == ["2020-01-02", "2020-01-03"] and data.attrs["gaps"] == "2020-01-03"
    np.testing.assert_array_equal(data[PPT].values[0], field(2))
    assert np.isnan(data[PPT].values[1]).all() and list(data["stability"].values) == ["stable", "missing"]
    with pytest.raises(OrbitError, match=r"total_precipitation_24hr is not retrieved for 1 days, the first 2020-01-04"):
        open_source("prism", tmp_path, SourcesConfig(), dict.fromkeys([PPT], (first, np.datetime64("2020-01-04"))))
    with pytest.raises(OrbitError, match=r"no retrieved file holds these variables"):
        open_source("prism", tmp_path, SourcesConfig(), dict.fromkeys([TMAX], (first, last)))
    assert json.loads((folder / "manifest.json").read_text())["gaps"][0]["reason"] == "HTTP 404"


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rasterio

    with rasterio.open(tmp_path / "huge.tif", "w", driver="GTiff", width=60_000, height=60_000, count=1, dtype="float32", SPARSE_OK=True,
                       tiled=True, blockxsize=4096, blockysize=4096):
        pass  # a few kB that claim 14 GB
    with zipfile.ZipFile(tmp_path / "huge.zip", "w") as archive:
        archive.write(tmp_path / "huge.tif", "prism_ppt_us_25m_20200101.tif")
    with pytest.raises(OrbitError, match=r"huge.zip: not one field of PRISM; got '1 x 60000 x 60000'"):
        opened([tmp_path / "huge.zip"], [PPT])
    monkeypatch.setattr("orbit2.sources.prism_zip.MAX_BYTES", 4000)
    path = write_bil_zip(tmp_path / "big.zip", "ppt", "20200101", field(1), window=WINDOW)
    with pytest.raises(OrbitError, match=r"big.zip: archive is too large when unpacked"):
        opened([path], [PPT])
