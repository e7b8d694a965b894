"""Several files as one: variables side by side, times one after another, from patterns, folders, zips and addresses."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest
import xarray as xr

from orbit2.door.ingest import NOTES, Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import address, places
from orbit2.errors import OrbitError

WANTED = ("2m_temperature", "precipitation_rate")
LAT, LON = np.arange(40.0, 46.0), np.arange(-2.0, 6.0)


def field(days: int, first: str = "2000-01-01", seed: int = 0) -> xr.DataArray:
    """A field whose value says day and cell: 250 + day of the epoch mod 50 + cell / 100."""
    times = np.datetime64(first) + np.arange(days)
    day = times.astype("datetime64[D]").astype(int)[:, None, None] % 50
    cells = np.arange(len(LAT) * len(LON)).reshape(1, len(LAT), len(LON)) / 100
    return xr.DataArray((250 + day + cells + seed).astype("float32"), dims=("time", "lat", "lon"),
                        coords={"time": times.astype("datetime64[ns]"), "lat": LAT, "lon": LON})  # fmt: skip


def warm(days: int, first: str = "2000-01-01", seed: int = 0) -> xr.Dataset:
    return field(days, first, seed).to_dataset(name="tas").assign_attrs(title="t").pipe(_with_units, tas="K")


def rain(days: int, first: str = "2000-01-01") -> xr.Dataset:
    return (field(days, first) - 249).to_dataset(name="pr").pipe(_with_units, pr="mm day-1")


def _with_units(data: xr.Dataset, **units: str) -> xr.Dataset:
    for name, unit in units.items():
        data[name].attrs["units"] = unit
    data["lat"].attrs, data["lon"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    return data


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two variables, a file for each of them and ten days; days out of order by name; one file that nobody wants."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for name, first in (("c", "2000-01-01"), ("a", "2000-01-11"), ("b", "2000-01-21")):
        warm(10, first).to_netcdf(folder / f"tas_{name}.nc", engine="h5netcdf")
        rain(10, first).to_netcdf(folder / f"pr_{name}.nc", engine="netcdf4", format="NETCDF3_64BIT")
    warm(10).isel(lat=[0, 1]).rename(tas="tos").to_netcdf(folder / "tos.nc")
    return folder


def check(source: str | Path | list[str | Path], days: int = 30, first: str = "2000-01-01", names: tuple[str, ...] = WANTED) -> list[str]:
    """The right value at every time and cell; returns what was said."""
    with opened(source, names) as data:
        inputs = read_inputs(data, names, "input", Reading())
        assert list(inputs.times.astype("datetime64[D]")) == list(np.datetime64(first) + np.arange(days))
        for i in (0, days // 2, days - 1):
            for k, name in enumerate(names):
                expected = field(days, first).isel(time=i).values - (249 if name == "precipitation_rate" else 0)
                np.testing.assert_allclose(inputs.frame(i)[k], expected, rtol=1e-6)
                np.testing.assert_allclose(inputs.cells(i, np.array([2, 3]), np.array([5, 1]))[k], expected[2:4][:, [5, 1]], rtol=1e-6)
        return list(data.encoding.get(NOTES, []))


def test_a_folder_a_pattern_and_a_list_are_the_same(archive: Path) -> None:
    """In any order of names; files of other variables, on whatever grid, are left out and that is said."""
    assert any("hold none of the needed variables" in line and "tos.nc" in line for line in check(archive))
    check(str(archive / "*.nc"))
    check([str(archive / "tas_?.nc"), archive / "pr_a.nc", archive / "pr_b.nc", archive / "pr_c.nc"])
    check(str(archive / "**/tas_*.nc"), names=("2m_temperature",))


def test_nothing_but_coordinates_is_read_before_it_is_asked_for(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = xr.backends.h5netcdf_.H5NetCDFArrayWrapper._getitem

    def watched(self: object, key: object) -> object:
        read.append(str(getattr(self, "variable_name", "")))
        return real(self, key)  # type: ignore[arg-type]

    monkeypatch.setattr(xr.backends.h5netcdf_.H5NetCDFArrayWrapper, "_getitem", watched)
    with opened([str(archive / "tas_*.nc")], WANTED[:1]) as data:
        inputs = read_inputs(data, WANTED[:1], "input", Reading())
        assert "tas" not in read
        inputs.frame(12)
        assert read.count("tas") == 1


def test_times_that_two_files_have_count_once_where_they_say_the_same(archive: Path) -> None:
    warm(15, "2000-01-26").to_netcdf(archive / "tas_d.nc")
    rain(15, "2000-01-26").to_netcdf(archive / "pr_d.nc")
    notes = check(archive, days=40)
    assert any("5 of 'tas' are in several files, with the same values" in line for line in notes)
    warm(3, "2000-02-09", seed=1).to_netcdf(archive / "tas_e.nc")
    with pytest.raises(OrbitError, match=r"tas_d.nc and .*tas_e.nc: two files .* values of 'tas' for one time; got '2000-02-09"):
        check(archive, days=40)


def test_variables_of_different_times_keep_those_that_all_have(archive: Path) -> None:
    (archive / "pr_c.nc").unlink()
    assert any("10 of 30 of 'tas' are left out" in line for line in check(archive, days=20, first="2000-01-11"))
    for name in "ab":
        (archive / f"pr_{name}.nc").unlink()
    rain(3, "2010-01-01").to_netcdf(archive / "pr_z.nc")
    with pytest.raises(OrbitError, match=r"no time in common; got 'pr 2010-01-01.*tas 2000-01-01"):
        check(archive)


def test_rows_that_run_the_other_way_and_a_time_that_is_a_scalar(tmp_path: Path) -> None:
    warm(2).to_netcdf(tmp_path / "a.nc")
    warm(2, "2000-01-03").isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / "b.nc")
    warm(1, "2000-01-05").isel(time=0).to_netcdf(tmp_path / "c.nc")
    warm(1, "2000-01-06").transpose("lon", "time", "lat").to_netcdf(tmp_path / "d.nc")
    warm(1, "2000-01-07").rename(time="valid_time", lat="latitude", lon="longitude").to_netcdf(tmp_path / "e.nc")
    check(tmp_path, days=7, names=WANTED[:1])


@pytest.mark.parametrize(("other", "message"), [
    (warm(2, "2000-01-03").isel(lat=slice(0, 4)), "'tas' lies on different grids .lat."),
    (warm(2, "2000-01-03").assign_coords(lon=LON + 0.5), "'tas' lies on different grids .lon."),
    (_with_units(warm(2, "2000-01-03"), tas="degC"), "'tas' has other units in other files; got 'degC'; allowed: K as in a.nc"),
    (warm(2, "2000-01-03").convert_calendar("noleap"), "times of 'tas' are in several calendars"),
    (warm(2).isel(time=0, drop=True), "'tas' has times in other files, but none here"),
])  # fmt: skip
def test_files_that_do_not_go_together_are_named(tmp_path: Path, other: xr.Dataset, message: str) -> None:
    warm(2).to_netcdf(tmp_path / "a.nc")
    other.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(OrbitError, match=rf"b\.nc: {message}") as caught, opened(tmp_path, WANTED[:1]):
        pass
    assert "\n" not in str(caught.value)


def test_the_damaged_one_of_many_is_named(archive: Path) -> None:
    whole = (archive / "tas_b.nc").read_bytes()
    (archive / "tas_b.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OrbitError, match=r"tas_b.nc: cannot be read"):
        check(archive)


def test_what_is_not_there(tmp_path: Path) -> None:
    for source, message in ((tmp_path / "x.nc", "input not found"), (tmp_path / "*.nc", "no file matches"), (tmp_path, "no data file"),
                            ([], "no input is named")):  # fmt: skip
        with pytest.raises(OrbitError, match=message):
            places(source)


def test_zips_and_stores_among_the_files(archive: Path) -> None:
    with zipfile.ZipFile(archive / "tas_b.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(archive / "tas_b.nc", "inside.nc")
    (archive / "tas_b.nc").unlink()
    for name, version in (("tas_a", 2), ("tas_c", 3)):
        with xr.open_dataset(archive / f"{name}.nc", engine="h5netcdf") as data:
            data.load().drop_encoding().to_zarr(archive / f"{name}.zarr", zarr_format=version)  # type: ignore[call-overload]
        (archive / f"{name}.nc").unlink()
    check(archive)


def test_addresses_in_memory(archive: Path) -> None:
    memory = fsspec.filesystem("memory")
    for file in archive.iterdir():
        memory.pipe(f"/orbit2_several/{file.name}", file.read_bytes())
    try:
        check("memory://orbit2_several/*.nc")
        check("memory://orbit2_several/")
        with xr.open_dataset(archive / "tas_a.nc", engine="h5netcdf") as data:
            data.load().drop_encoding().to_zarr(fsspec.get_mapper("memory://orbit2_several/x.zarr"), zarr_format=3)
        check("memory://orbit2_several/x.zarr", days=10, first="2000-01-11", names=WANTED[:1])
        with pytest.raises(OrbitError, match="nothing matches"):
            places("memory://orbit2_several/*.grib")
    finally:
        memory.rm("/orbit2_several", recursive=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, also by ranges of bytes, and remembers how much it sent."""

    sent: ClassVar[list[int]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, asked = path.read_bytes(), self.headers.get("Range")
        first, last = 0, len(content) - 1
        if asked:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        part = content[first : last + 1]
        self.sent.append(len(part))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    Quiet.sent.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(archive))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_addresses_of_a_web_server(archive: Path, server: str) -> None:
    """HDF5 and Zarr (2 and 3) piece by piece, others as a copy that goes; what is not there is one line with the address."""
    check([f"{server}/{name}_{part}.nc" for name in ("tas", "pr") for part in "cab"])
    for version in (2, 3):
        with xr.open_dataset(archive / "tas_c.nc", engine="h5netcdf") as data:
            data.load().drop_encoding().to_zarr(archive / f"v{version}.zarr", zarr_format=version, consolidated=True)  # type: ignore[call-overload]
        check(f"{server}/v{version}.zarr", days=10, names=WANTED[:1])
    with pytest.raises(OrbitError, match=rf"{server}/none\.nc") as caught, opened(f"{server}/none.nc", WANTED):
        pass
    assert "\n" not in str(caught.value)


def test_a_large_file_behind_an_address_is_read_in_part(archive: Path, server: str) -> None:
    times = np.datetime64("2000-01-01", "ns") + np.arange(400) * np.timedelta64(1, "D")
    big = xr.DataArray(np.random.default_rng(0).random((400, 60, 120), "float32") + 280, dims=("time", "lat", "lon"), name="tas",
                       coords={"time": times, "lat": np.arange(-29.5, 30), "lon": np.arange(0.5, 120)}, attrs={"units": "K"})  # fmt: skip
    data = big.to_dataset().pipe(_with_units)
    data.to_netcdf(archive / "big.nc", engine="h5netcdf", encoding={"tas": {"chunksizes": (1, 60, 120)}})
    with opened(f"{server}/big.nc", WANTED[:1]) as found:
        inputs = read_inputs(found, WANTED[:1], "input", Reading())
        np.testing.assert_array_equal(inputs.frame(7)[0], big.values[7])
    assert sum(Quiet.sent) < (archive / "big.nc").stat().st_size


def test_an_address_that_went_through_a_path_is_whole_again() -> None:
    assert address(Path("s3://bucket/x.zarr")) == "s3://bucket/x.zarr" and address("https://a.b/c.nc") == "https://a.b/c.nc"
    assert address("C/x.nc") is None and address("data/x.nc") is None
    with pytest.raises(OrbitError, match=r"nosuch://x/y\.nc"):
        places("nosuch://x/y.nc")
