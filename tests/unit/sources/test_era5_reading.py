"""The ERA5 reader over many files: what it reads, how often, and what it refuses. Values from analytic fields."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import dask
import netCDF4
import numpy as np
import pytest
import xarray as xr

from orbit2 import allowance
from orbit2.config.sources import Era5Config
from orbit2.errors import OrbitError
from orbit2.sources import slabs
from orbit2.sources.era5 import Era5, open_era5
from orbit2.sources.sample import WEEK
from tests.data.era5_cds import axes, hours, result, write

START = np.datetime64("2020-02-01", "s")
HOUR = np.timedelta64(3600, "s")


def field(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """A different smooth wave for each variable; rain in metres."""
    hour = (times - START).astype(float)[:, None, None] / 3600
    wave = np.sin(0.1 * hour + np.radians(lat)[None, :, None]) * np.cos(np.radians(lon))[None, None] + len(name) / 10
    return wave * 1e-4 + 1e-3 if "precipitation" in name else 280 + wave


def month(path: Path, names: tuple[str, ...] = ("2m_temperature",), *, days: int = 3, spacing: float = 10.0, start: np.datetime64 = START,
          expver: str = "0001", levels: tuple[int, ...] = (), chunks: tuple[int, ...] | None = None, shift: float = 0.0) -> Path:
    times = start + np.arange(24 * days) * HOUR
    write(path, names, times, *axes(None, spacing), levels, lambda *a: field(*a) + shift, expver, chunks)
    return path


def opened(paths: list[Path], first: int, last: int, names: tuple[str, ...] = ("2m_temperature",), **config: object):
    """Hours `first` to `last` after START."""
    return Era5(Era5Config(**config)).open(paths, names, START + first * HOUR, START + last * HOUR)  # type: ignore[arg-type]


def expected(name: str, data, factor: float = 1.0) -> np.ndarray:
    return factor * field(name, data.time.values.astype("datetime64[s]"), data.lat.values, data.lon.values)


_READ = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
import numpy as np
import dask
from orbit2.sources.era5 import open_era5
files = [Path(p) for p in {files!r}]
names = {names!r}
def rchar():
    return int(Path('/proc/self/io').read_text().split()[1])
open_era5(files, names)['2m_temperature'][:1].values  # libraries are loaded
before = rchar()
data = open_era5(files, names, first=np.datetime64({first!r}, 's'), last=np.datetime64({last!r}, 's'), cache_bytes={cache})
at_open = rchar() - before
for begin in range(0, data.sizes['time'], {block}):
    dask.compute(*[data[n][begin : begin + {block}].sum() for n in names], scheduler='threads', num_workers=2)
print(at_open, rchar() - before)
"""


def bytes_read(files: list[Path], names: list[str], first: str, last: str, block: int, cache: int = 2**28) -> tuple[int, int]:
    """At open, and in all, by another process that goes through time in order."""
    root = str(Path(__file__).resolve().parents[3])
    code = _READ.format(root=root, files=[str(f) for f in files], names=names, first=first, last=last, block=block, cache=cache)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    at_open, whole = map(int, done.stdout.split()[-2:])
    return at_open, whole


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="needs /proc/self/io")
@pytest.mark.parametrize("kind", ["netcdf", "zip"])
def test_a_month_is_read_once_by_a_consumer_of_odd_blocks(tmp_path: Path, kind: str) -> None:
    names = ["2m_temperature", "precipitation_rate"]
    if kind == "zip":
        body = {"variable": ["2m_temperature", "total_precipitation"], "year": ["2020"], "month": ["02"],
                "day": [f"{d:02d}" for d in range(1, 30)], "time": [f"{h:02d}:00" for h in range(24)]}
        content, kind_sent = result(body, field, tmp_path, spacing=5.0)
        assert kind_sent == "application/zip"
        files = [tmp_path / "feb.zip"]
        files[0].write_bytes(content)
    else:  # chunks as in a month of the whole globe: a sixth of each axis
        files = [month(tmp_path / "feb.nc", ("2m_temperature", "total_precipitation"), days=29, spacing=5.0, chunks=(116, 7, 12))]
    size = sum(f.stat().st_size for f in files)
    at_open, whole = bytes_read(files, names, "2020-02-01T00", "2020-02-29T23", block=17)
    assert whole <= 1.1 * size and whole >= 0.95 * size, (whole, size)
    assert at_open <= 0.05 * size
    assert not list(tmp_path.glob(".feb*"))  # nothing was unpacked


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="needs /proc/self/io")
def test_a_window_reads_only_its_chunks_and_only_the_wanted_variable(tmp_path: Path) -> None:
    path = month(tmp_path / "feb.nc", ("2m_temperature", "mean_sea_level_pressure"), days=24, spacing=3.0, chunks=(24, 61, 120))
    _, whole = bytes_read([path], ["2m_temperature"], "2020-02-05T00", "2020-02-06T23", block=7)
    assert whole < 1.1 * path.stat().st_size / 2 * 2 / 24 + 0.05 * path.stat().st_size  # two of 24 days of one of two variables


def test_slabs_that_do_not_fit_are_read_again_and_still_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = month(tmp_path / "x.nc", ("2m_temperature", "mean_sea_level_pressure"), chunks=(72, 19, 36))
    data = open_era5([path], ["2m_temperature", "mean_sea_level_pressure"], cache_bytes=1)
    for begin in range(0, 72, 10):
        part = data.isel(time=slice(begin, begin + 10)).compute()
        np.testing.assert_allclose(part["2m_temperature"], expected("2m_temperature", part), rtol=1e-6)
    assert sum("read more than once" in r.getMessage() for r in caplog.records) == 1


def test_threads_share_slabs_and_get_the_right_values(tmp_path: Path) -> None:
    paths = [month(tmp_path / f"{i}.nc", ("2m_temperature", "total_precipitation"), start=START + 72 * i * HOUR) for i in range(4)]
    data = opened(paths, 0, 287, ("2m_temperature", "precipitation_rate"))
    parts = [data[name][a : a + 9] for a in range(0, 288, 9) for name in ("2m_temperature", "precipitation_rate")]
    values = dask.compute(*parts, scheduler="threads", num_workers=8)
    for part in values:
        name, factor = ("2m_temperature", 1.0) if part.name == "2m_temperature" else ("total_precipitation", 24000.0)
        np.testing.assert_allclose(part, expected(name, part, factor), rtol=1e-5)


def test_many_files_do_not_hold_as_many_handles(tmp_path: Path) -> None:
    first = month(tmp_path / "0.nc", days=1, spacing=45.0)
    paths = [first]
    for i in range(1, 60):
        paths.append(tmp_path / f"{i}.nc")
        paths[-1].write_bytes(first.read_bytes())
        with netCDF4.Dataset(paths[-1], "a") as file:
            file["valid_time"][:] = file["valid_time"][:] + 86400 * i
    usual = xr.get_options()["file_cache_maxsize"]
    assert usual <= 128
    with xr.set_options(file_cache_maxsize=16):
        before = len(os.listdir("/proc/self/fd"))
        data = opened(paths, 0, 24 * 60 - 1)
        assert data.sizes["time"] == 1440
        data["2m_temperature"].load(scheduler="threads")
        assert len(os.listdir("/proc/self/fd")) <= before + 18
    np.testing.assert_array_equal(data["2m_temperature"][24 * 59].values, data["2m_temperature"][0].values)


def test_the_packaged_week_is_opened_like_a_download_though_its_hours_lie_apart() -> None:
    data = Era5(Era5Config()).open([WEEK], ["2m_temperature"], np.datetime64("2026-03-26T00", "s"), np.datetime64("2026-03-27T23", "s"))
    assert 5 <= data.sizes["time"] <= 8 and np.isfinite(data["2m_temperature"].values).all()


def test_pressure_levels_in_common_chunks_have_the_right_values(tmp_path: Path) -> None:
    path = month(tmp_path / "p.nc", ("temperature", "specific_humidity"), levels=(850, 500, 200), chunks=(24, 3, 10, 18))
    data = opened([path], 5, 40, ("temperature_200", "temperature_850", "specific_humidity_500"))
    for name in data.data_vars:
        np.testing.assert_allclose(data[name], expected(str(name), data), rtol=1e-6)


def test_missing_hours_inside_the_window_are_listed(tmp_path: Path) -> None:
    early, late = month(tmp_path / "a.nc", days=1), month(tmp_path / "b.nc", days=1, start=START + 26 * HOUR)
    with pytest.raises(OrbitError, match=r"2 of 50 hours are missing.*2020-02-02T00, 2020-02-02T01"):
        opened([early, late], 0, 49)
    assert opened([early, late], 26, 49).sizes["time"] == 24  # outside the window they do not matter
    with pytest.raises(OrbitError, match=r"hours are missing.*2020-02-03T02"):
        opened([early, late], 26, 60)


def test_files_that_say_the_same_twice_count_once_and_contradictions_are_named(tmp_path: Path) -> None:
    one, two = month(tmp_path / "a.nc"), month(tmp_path / "b.nc", ("2m_temperature", "mean_sea_level_pressure"))
    data = opened([one, two], 0, 71)
    assert data.sizes["time"] == 72
    np.testing.assert_allclose(data["2m_temperature"], expected("2m_temperature", data), rtol=1e-6)
    other = month(tmp_path / "c.nc", days=1, start=START + 48 * HOUR, shift=1.0)
    with pytest.raises(OrbitError, match=r"a.nc: t2m and .*c.nc: t2m: two files contradict each other.*2020-02-0"):
        opened([one, other], 0, 71)


def test_final_data_replace_preliminary_ones_whatever_the_order_of_files(tmp_path: Path) -> None:
    preliminary, final = month(tmp_path / "a.nc", expver="0005", shift=2.0), month(tmp_path / "b.nc", days=1)
    for paths in ([preliminary, final], [final, preliminary]):
        data = opened(paths, 0, 71)
        shift = (data["2m_temperature"] - expected("2m_temperature", data)).values
        np.testing.assert_allclose(shift[:24], 0, atol=1e-4)
        np.testing.assert_allclose(shift[24:], 2, atol=1e-4)
        assert "expver" not in data.attrs  # the month is not all preliminary
    assert opened([preliminary], 0, 71).attrs["expver"] == "preliminary (ERA5T, expver 0005): 2020-02"


def test_a_calendar_that_is_not_the_real_one_is_refused(tmp_path: Path) -> None:
    path = month(tmp_path / "x.nc", days=1)
    with netCDF4.Dataset(path, "a") as file:
        file["valid_time"].calendar = "noleap"
    with pytest.raises(OrbitError, match=r"x.nc: valid_time: calendar is not the real one; got 'noleap'"):
        opened([path], 0, 23)


def test_sea_surface_temperature_over_sea_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"

    def wet(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        values = field(name, times, lat, lon)
        return np.where(lon[None, None] < 180, np.nan, 300.0) + 0 * values if name == "sea_surface_temperature" else values

    write(path, ("2m_temperature", "sea_surface_temperature"), START + np.arange(24) * HOUR, *axes(None, 10.0), (), wet)
    plain = opened([path], 0, 23)["2m_temperature"].values
    mixed = opened([path], 0, 23, sst_over_sea=True)
    east = mixed.lon.values >= 180
    assert set(mixed.data_vars) == {"2m_temperature"} and "sst_over_sea" in mixed.attrs
    assert (mixed["2m_temperature"].values[..., east] == 300).all()
    np.testing.assert_array_equal(mixed["2m_temperature"].values[..., ~east], plain[..., ~east])
    assert opened([path], 0, 23, ("sea_surface_temperature",))["sea_surface_temperature"].isnull().any()


def test_a_compressed_zip_and_a_zip_cut_short(tmp_path: Path) -> None:
    inner = month(tmp_path / "i.nc", days=1)
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "data_stream-oper_stepType-instant.nc")
    data = opened([tmp_path / "d.zip"], 0, 23)
    np.testing.assert_allclose(data["2m_temperature"], expected("2m_temperature", data), rtol=1e-6)
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.write(inner, "data_stream-oper_stepType-instant.nc")
    whole = (tmp_path / "s.zip").read_bytes()
    (tmp_path / "s.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OrbitError, match="damaged archive"):
        opened([tmp_path / "s.zip"], 0, 23)


def test_bytes_damaged_inside_a_file_are_an_error_when_they_are_reached(tmp_path: Path) -> None:
    path = month(tmp_path / "x.nc", chunks=(24, 19, 36))
    content = bytearray(path.read_bytes())
    with netCDF4.Dataset(path) as file:
        assert file["t2m"].chunking() == [24, 19, 36]
    middle = len(content) * 2 // 3
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    data = opened([path], 0, 71)
    with pytest.raises(OrbitError, match=r"x.nc: t2m: cannot be read as ERA5"):
        data["2m_temperature"].load()


def test_check_wants_every_hour_variable_and_the_area(tmp_path: Path) -> None:
    from orbit2.sources.source import Need

    era5 = Era5(Era5Config())
    day = np.datetime64("2020-02-01")
    (request,) = era5.plan(Need(("2m_temperature",), day, day, (40.0, 41.0, 250.0, 252.0)))
    path = tmp_path / "x.nc.part"
    body = request.body["request"]
    path.write_bytes(result(body, field, tmp_path)[0])
    era5.check(path, request)
    path.write_bytes(result({**body, "area": [41.0, 250.0, 40.0, 251.0]}, field, tmp_path)[0])
    with pytest.raises(OrbitError, match="does not cover the area"):
        era5.check(path, request)
    path.write_bytes(result({**body, "day": body["day"][:-1]}, field, tmp_path)[0])
    with pytest.raises(OrbitError, match=r"24 of 696 hours are missing.*2020-02-29T00"):
        era5.check(path, request)
    path.write_bytes(result({**body, "variable": ["mean_sea_level_pressure"]}, field, tmp_path)[0])
    with pytest.raises(OrbitError, match=r"field not in the files.*the files hold: msl"):
        era5.check(path, request)
    assert len(hours(body)) == 696


def test_slabs_are_kept_within_what_the_job_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "CGROUPS", Path("/nowhere"))
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    monkeypatch.setenv(allowance.MEMORY, "3000")
    assert slabs.budget() <= 1000 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "30")
    assert slabs.budget() == slabs.LEAST_BUDGET
    monkeypatch.setenv(allowance.MEMORY, "0")  # says nothing
    assert slabs.budget() > slabs.LEAST_BUDGET
