"""Daymet: the provider's files against numbers that other tools print, and files written in its format with values known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from orbit2.config.sources import DaymetConfig
from orbit2.errors import OrbitError
from orbit2.sources import daymet
from orbit2.sources.daymet import Daymet, crs_wkt
from orbit2.sources.source import Need
from tests.data import daymet_files

READERS = Path(__file__).resolve().parents[3].parent / "shared/data/readers/daymet"
FLOYD = "daymet_v3_prcp_19990913-17_lcc_km.nc"
RAIN, TMIN, TMAX = "total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max"
X, Y = daymet_files.GRID_X[4000:4007], daymet_files.GRID_Y[5000:5005]  # north to south, as in the archive


def provider(name: str) -> Path:
    path = READERS / name
    if not path.is_file():
        pytest.skip(f"provider file {name} is not on this machine (../shared/data/readers)")
    return path


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def truth(when: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """A plane that drifts with the date; around 285, so that it serves as kelvin too."""
    return 280.0 + 0.1 * lat - 0.05 * lon + 0.01 * (when - day("2000-01-01")).astype(int)


def expected(when: str) -> np.ndarray:
    lat, lon = daymet_files.lat_lon(X, Y[::-1])
    return truth(day(when), lat, lon)


def year(folder: Path, number: int, name: str = "prcp", **options: object) -> Path:
    path = folder / f"daymet_v4_daily_na_{name}_{number}.nc"
    return daymet_files.write(path, name, daymet_files.days_of(number), truth, X, Y, **options)  # type: ignore[arg-type]


def days(folder: Path, begin: str, end: str, name: str = "prcp", file: str = "some.nc", **options: object) -> Path:
    return daymet_files.write(folder / file, name, np.arange(day(begin), day(end) + 1), truth, X, Y, **options)  # type: ignore[arg-type]


def opened(*files: Path, names: tuple[str, ...] = (RAIN,), first: str = "1990-01-01", last: str = "2030-12-31") -> xr.Dataset:
    return Daymet(DaymetConfig()).open(files, names, day(first), day(last))


# --- the provider's own files ---------------------------------------------------------------------------------------------------------


def test_hurricane_floyd_has_the_values_that_gdal_and_ncdump_print() -> None:
    dataset = opened(provider(FLOYD))
    rain = dataset[RAIN]
    assert rain.dims == ("time", "y", "x") and rain.dtype == np.float32 and rain.shape == (5, 424, 397)
    assert list(dataset["time"].values.astype("datetime64[h]").astype(str)) == [f"1999-09-{d}T00" for d in range(13, 18)]  # ncdump -t
    values = rain.values.astype(np.float64)
    # gdalinfo -stats NETCDF:<file>:prcp, STATISTICS_MEAN and STATISTICS_MAXIMUM of each band
    means = [0, 8.8983869776666, 55.170754607505, 143.27232543174, 6.9243388085367]
    np.testing.assert_allclose(np.nanmean(values, axis=(1, 2)), means, rtol=1e-6)
    assert np.nanmax(values, axis=(1, 2)).tolist() == [0, 108, 200, 200, 200]
    assert np.isfinite(values).mean() == pytest.approx(0.5631, abs=5e-5)  # STATISTICS_VALID_PERCENT
    # ncdump -v prcp: (day, row from the north, column) -> mm; x = 1782.75 km + column, y = -287 km - row
    for (at, row, column), mm in {(3, 100, 300): 16, (3, 300, 100): 200, (2, 250, 60): 46, (3, 10, 5): 44, (2, 400, 30): 84}.items():
        assert float(rain[at].sel(x=1782750.0 + 1000 * column, y=-287000.0 - 1000 * row)) == mm
    assert np.isnan(float(rain[2].sel(x=1782750.0 + 210e3, y=-287000.0 - 120e3)))


def test_kilometres_of_the_subset_service_become_ascending_metres() -> None:
    dataset = opened(provider(FLOYD))
    # ncdump -v x,y: 1782.75 ... 2178.75 and -287 ... -710
    assert (dataset["x"].values[0], dataset["x"].values[-1]) == (1782750.0, 2178750.0)
    assert (dataset["y"].values[0], dataset["y"].values[-1]) == (-710000.0, -287000.0)
    assert np.all(np.diff(dataset["y"]) == 1000) and np.all(np.diff(dataset["x"]) == 1000)
    assert dataset["x"].attrs["units"] == "m"


def test_the_projection_puts_cells_where_the_provider_says() -> None:
    with xr.open_dataset(provider("daymet_v4_ncss_header_values_zero.nc"), engine="netcdf4", decode_times=False) as raw:
        x, y = np.meshgrid(raw["x"].values * 1000.0, raw["y"].values * 1000.0)
        bounds = [raw.attrs[f"geospatial_{axis}_{end}"] for axis in ("lat", "lon") for end in ("min", "max")]
    lon, lat = Transformer.from_crs(crs_wkt(), "EPSG:4326", always_xy=True).transform(x, y)
    np.testing.assert_allclose([lat.min(), lat.max(), lon.min(), lon.max()], bounds, atol=0.01)  # bounds of cells: half a cell further out
    # gdaltransform -s_srs '+proj=lcc ...' -t_srs EPSG:4326
    assert (lon[0, 0], lat[0, 0]) == pytest.approx((-109.705992666272, 40.9394730916786), abs=1e-9)


def test_an_annual_summary_is_not_taken_for_days() -> None:
    with pytest.raises(OrbitError, match=r"prcp: field has wrong units; got 'mm'; allowed: mm/day.*annual"):
        opened(provider("daymet_v4_ncss_header_values_zero.nc"), first="1980-01-01", last="1980-12-31")


# --- calendar -------------------------------------------------------------------------------------------------------------------------


def test_leap_years_have_29_february_and_a_missing_31_december_and_years_join_without_holes(tmp_path: Path) -> None:
    dataset = opened(year(tmp_path, 2001), year(tmp_path, 2000))
    times = dataset["time"].values.astype("datetime64[D]")
    np.testing.assert_array_equal(times, np.arange(day("2000-01-01"), day("2002-01-01")))
    rain = dataset[RAIN].compute()
    missing = np.isnan(rain.values).all(axis=(1, 2))
    assert [str(t) for t in times[missing]] == ["2000-12-31"] and np.isfinite(rain.values[~missing]).all()
    assert dataset.attrs["gaps"] == "2000-12-31"
    for when in ("2000-02-28", "2000-02-29", "2000-03-01", "2000-12-30", "2001-01-01", "2001-12-31"):
        np.testing.assert_allclose(rain.sel(time=when).values, expected(when), rtol=1e-6)


@pytest.mark.parametrize(("first", "last", "count", "gaps"), [
    ("2000-12-31", "2000-12-31", 1, ["2000-12-31"]), ("2000-12-30", "2000-12-30", 1, []), ("2000-12-30", "2000-12-31", 2, ["2000-12-31"]),
    ("2000-02-27", "2000-03-02", 5, [])])
def test_any_period_around_the_missing_day_is_complete(tmp_path: Path, first: str, last: str, count: int, gaps: list[str]) -> None:
    dataset = opened(year(tmp_path, 2000), first=first, last=last)
    assert dataset.sizes["time"] == count and dataset.attrs["gaps"] == ", ".join(gaps)
    assert int(np.isnan(dataset[RAIN].values).all(axis=(1, 2)).sum()) == len(gaps)


def test_a_cut_out_over_new_year_has_the_missing_day_in_its_middle(tmp_path: Path) -> None:
    held = np.array([day("2000-12-29"), day("2000-12-30"), day("2001-01-01"), day("2001-01-02")])
    path = daymet_files.write(tmp_path / "cut.nc", "prcp", held, truth, X, Y, units="km")
    rain = opened(path)[RAIN].compute()
    assert np.isnan(rain.values).all(axis=(1, 2)).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(rain[3].values, expected("2001-01-01"), rtol=1e-6)


def test_noon_stamps_become_the_day_itself(tmp_path: Path) -> None:
    with xr.open_dataset(year(tmp_path, 2001), engine="netcdf4") as raw:
        assert raw["time"].values[0] == np.datetime64("2001-01-01T12:00")  # as the archive's
    assert opened(tmp_path / "daymet_v4_daily_na_prcp_2001.nc")["time"].values[0] == np.datetime64("2001-01-01T00:00")


# --- values, units, laziness ----------------------------------------------------------------------------------------------------------


def test_metres_and_kilometres_give_identical_data(tmp_path: Path) -> None:
    archive = opened(days(tmp_path, "2001-05-01", "2001-05-03", file="m.nc"))
    subset = opened(days(tmp_path, "2001-05-01", "2001-05-03", file="km.nc", units="km", with_lat_lon=False))
    xr.testing.assert_identical(archive.compute(), subset.compute())


def test_temperatures_are_kelvin_and_missing_values_nan(tmp_path: Path) -> None:
    def holed(when: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        values = truth(when, lat, lon)
        values[0, -1] = np.nan  # the north-east corner
        return values

    files = [daymet_files.write(tmp_path / f"{name}.nc", name, np.arange(day("2001-05-01"), day("2001-05-03")), holed, X, Y)
             for name in ("tmin", "tmax")]
    dataset = opened(*files, names=(TMIN, TMAX)).compute()
    for name in (TMIN, TMAX):
        assert dataset[name].attrs["units"] == "K" and dataset[name].dtype == np.float32
        wanted = expected("2001-05-02")
        wanted[-1, -1] = np.nan
        np.testing.assert_allclose(dataset[name][1].values, wanted, rtol=1e-6)


def test_blocks_follow_the_files_own_chunks_wherever_the_period_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daymet, "BLOCK_BYTES", 1)  # as for the whole continent: a field is more than one block
    path = days(tmp_path, "2001-01-01", "2001-01-31", chunks=(10, 3, 4))
    rain = opened(path, first="2001-01-08", last="2001-01-25")[RAIN]
    assert rain.chunks == ((3, 10, 5), (2, 3), (4, 3))  # time from day 7 on; y was turned round: 3 + 2 from the north
    np.testing.assert_allclose(rain.sel(time="2001-01-20").values, expected("2001-01-20"), rtol=1e-6)


def test_opening_reads_no_field_and_a_window_reads_only_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daymet, "BLOCK_BYTES", 1)
    path = days(tmp_path, "2001-01-01", "2001-01-04", chunks=(1, 2, 4))
    reads: list[tuple[object, ...]] = []
    from xarray.backends.h5netcdf_ import H5NetCDFArrayWrapper

    original = H5NetCDFArrayWrapper._getitem

    def counted(self: H5NetCDFArrayWrapper, key: tuple[object, ...]) -> object:
        if self.variable_name == "prcp":
            reads.append(key)
        return original(self, key)

    monkeypatch.setattr(H5NetCDFArrayWrapper, "_getitem", counted)
    rain = opened(path)[RAIN]
    assert not reads
    rain.isel(time=slice(1, 2), y=slice(0, 1), x=slice(0, 2)).load()
    assert len(reads) == 1


# --- bad input ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "words"), [
    ({"units": None}, r"some\.nc: [xy]: coordinate has no units; allowed: m or km"),
    ({"units": "kelvin"}, r"coordinate has unknown units; got 'kelvin'"), ({"units": "miles"}, "not a 1 km axis"),
    ({"field_units": None}, r"some\.nc: prcp: field has no units"),
    ({"field_units": "inch"}, r"field has wrong units; got 'inch'; allowed: mm/day"),
    ({"calendar_name": "noleap"}, r"another calendar; got 'noleap'; allowed: standard"),
    ({"mapping": {**daymet_files.MAPPING, "standard_parallel": np.array([25.0, 45.0])}}, r"not Daymet's projection.*standard_parallel"),
    ({"mapping": {**daymet_files.MAPPING, "longitude_of_central_meridian": -96.0}}, r"longitude_of_central_meridian=-96"),
    ({"mapping": {"grid_mapping_name": "albers_conical_equal_area"}}, r"grid_mapping_name=albers"),
])
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(OrbitError, match=words):
        opened(days(tmp_path, "2001-01-01", "2001-01-02", **options))


def test_kilometres_labelled_metres_are_found_out(tmp_path: Path) -> None:
    path = days(tmp_path, "2001-01-01", "2001-01-02", units="km")
    import netCDF4

    with netCDF4.Dataset(path, "a") as raw:
        raw["x"].units = "m"
    with pytest.raises(OrbitError, match=r"x: coordinate is not a 1 km axis; got 'steps of 1 m'.*units attribute and the values"):
        opened(path)


@pytest.mark.parametrize(("held", "words"), [
    (["2001-01-01", "2001-01-02", "2001-01-02"], r"repeated or out of order; got '2001-01-02 after 2001-01-02'"),
    (["2001-01-02", "2001-01-01"], "repeated or out of order"),
    (["2001-01-01", "2001-01-03"], "days are missing inside the file; got '2001-01-01 is followed by 2001-01-03'"),
    (["2001-12-30", "2002-01-01"], "days are missing"),  # 2001 is no leap year: its 31 December exists
    (["2000-02-28", "2000-03-01"], "days are missing"),  # 29 February exists
])
def test_days_twice_or_missing_are_an_error(tmp_path: Path, held: list[str], words: str) -> None:
    path = daymet_files.write(tmp_path / "bad.nc", "prcp", np.array([day(t) for t in held]), truth, X, Y)
    with pytest.raises(OrbitError, match=words):
        opened(path)


def test_a_day_in_two_files_is_an_error_naming_both(tmp_path: Path) -> None:
    one = days(tmp_path, "2001-01-01", "2001-01-05", file="one.nc")
    other = days(tmp_path, "2001-01-05", "2001-01-06", file="other.nc")
    with pytest.raises(OrbitError, match=r"one\.nc and other\.nc: two files hold the same day; got '.*2001-01-05'"):
        opened(other, one)


def test_files_on_different_windows_do_not_mix(tmp_path: Path) -> None:
    one = days(tmp_path, "2001-01-01", "2001-01-02", file="one.nc")
    other = daymet_files.write(tmp_path / "other.nc", "prcp", np.array([day("2001-01-03")]), truth, X + 1000, Y)
    with pytest.raises(OrbitError, match="different grids"):
        opened(one, other)


@pytest.mark.parametrize("content", [b"", b"<html>not a file</html>", b"\x89HDF\r\n\x1a\nrubbish", b"CDF\x01rubbish"])
def test_what_is_no_netcdf_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.nc").write_bytes(content)
    with pytest.raises(OrbitError, match=r"bad\.nc: cannot be read as Daymet"):
        opened(tmp_path / "bad.nc")


def test_a_classic_file_that_was_cut_is_found_when_it_is_opened(tmp_path: Path) -> None:
    content = provider(FLOYD).read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(OrbitError, match=r"cut\.nc: cannot be read as Daymet"):
        opened(tmp_path / "cut.nc")


def test_absent_files_fields_and_periods_are_errors(tmp_path: Path) -> None:
    path = days(tmp_path, "2001-01-01", "2001-01-02")
    with pytest.raises(OrbitError, match="file not found"):
        opened(tmp_path / "none.nc")
    with pytest.raises(OrbitError, match=r"field not in the files at these times; got '2m_temperature_min \(tmin\)"):
        opened(path, names=(TMIN,))
    with pytest.raises(OrbitError, match="field not in the files at these times"):
        opened(path, first="2005-01-01", last="2005-12-31")
    with pytest.raises(OrbitError, match=r"does not offer this variable; got '2m_temperature_mix'.*did you mean"):
        opened(path, names=("2m_temperature_mix",))


# --- plan and check -------------------------------------------------------------------------------------------------------------------


def test_the_plan_is_one_file_per_variable_and_year() -> None:
    requests = Daymet(DaymetConfig()).plan(Need((RAIN, TMAX), day("1999-12-31"), day("2001-01-01"), (24, 50, 235, 295)))
    assert [r.file for r in requests] == [f"daymet_v4_daily_na_{v}_{y}.nc" for y in (1999, 2000, 2001) for v in ("prcp", "tmax")]
    first = requests[0]
    assert (first.client, first.variables) == ("earthdata", (RAIN,))
    assert (str(first.first), str(first.last)) == ("1999-01-01T00:00:00", "1999-12-31T00:00:00")
    assert first.body["short_name"] == "Daymet_Daily_V4R1_2129" and first.body["pattern"] == first.file
    # The real daymet_v4_daily_na_prcp_2024.nc is 4,471,051,114 bytes.
    assert 0.7 < first.bytes / 4_471_051_114 < 1.3
    assert requests == Daymet(DaymetConfig()).plan(Need((RAIN, TMAX), day("1999-05-05"), day("2001-12-31")))


def test_the_regions_begin_in_their_own_year() -> None:
    with pytest.raises(OrbitError, match=r"region na: .*1979-12-31.*from 1980-01-01"):
        Daymet(DaymetConfig()).plan(Need((RAIN,), day("1979-12-31"), day("1980-01-02")))
    islands = Daymet(DaymetConfig(region="pr")).plan(Need((RAIN,), day("1950-01-01"), day("1950-01-02")))
    assert [r.file for r in islands] == ["daymet_v4_daily_pr_prcp_1950.nc"] and islands[0].bytes < 20e6
    with pytest.raises(OrbitError, match="does not offer this variable"):
        Daymet(DaymetConfig()).plan(Need(("orography",), day("2000-01-01"), day("2000-01-02")))


def test_check_accepts_the_year_and_refuses_everything_else(tmp_path: Path) -> None:
    source = Daymet(DaymetConfig())
    [request] = source.plan(Need((RAIN,), day("2000-01-01"), day("2000-01-01")))
    good = year(tmp_path, 2000, with_lat_lon=False)
    source.check(good, request)
    with pytest.raises(OrbitError, match="does not hold the days asked for; got '365 days, 2001-01-01 to 2001-12-31'"):
        source.check(year(tmp_path, 2001), request)
    with pytest.raises(OrbitError, match="does not hold the days asked for; got '3 days"):
        source.check(days(tmp_path, "2000-01-01", "2000-01-03"), request)
    with pytest.raises(OrbitError, match="field not in the file; got 'prcp'"):
        source.check(year(tmp_path, 2000, name="tmin"), request)
    content = good.read_bytes()
    for length in (len(content) // 2, len(content) - 2000, 600):
        (tmp_path / "cut.nc").write_bytes(content[:length])
        with pytest.raises(OrbitError, match=r"cut\.nc"):
            source.check(tmp_path / "cut.nc", request)


def test_check_reads_data_so_that_damage_inside_the_file_is_found(tmp_path: Path) -> None:
    source = Daymet(DaymetConfig())
    [request] = source.plan(Need((RAIN,), day("2001-01-01"), day("2001-01-01")))
    path = year(tmp_path, 2001)
    content = bytearray(path.read_bytes())
    import h5py

    with h5py.File(path) as raw:
        chunk = raw["prcp"].id.get_chunk_info_by_coord((364, 0, 0))
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x00" * chunk.size
    path.write_bytes(content)
    with pytest.raises(OrbitError, match="cannot be read as Daymet"):
        source.check(path, request)


def test_facts_and_projection_are_what_a_store_needs() -> None:
    facts = Daymet(DaymetConfig()).facts
    assert facts.doi == "10.3334/ORNLDAAC/2129" and "observation day" in facts.day and "31 December" in facts.extra["calendar"]
    crs = CRS.from_wkt(crs_wkt())
    assert crs.is_projected and crs.axis_info[0].unit_name == "metre"


# --- the writer that other tests rely on -------------------------------------------------------------------------------------------------


def test_the_written_files_are_built_as_the_providers(tmp_path: Path) -> None:
    import netCDF4

    made = days(tmp_path, "1999-09-13", "1999-09-14", units="km", with_lat_lon=False)
    for name, time_too in (("daymet_v4_ncss_header_values_zero.nc", True), (FLOYD, False)):  # version 3 counted from 1980
        with netCDF4.Dataset(provider(name)) as theirs, netCDF4.Dataset(made) as ours:
            assert theirs["prcp"].dimensions == ours["prcp"].dimensions and theirs["prcp"].dtype == ours["prcp"].dtype
            for variable, attributes in {
                "x": ("units", "long_name"), "y": ("units", "long_name"), "prcp": ("_FillValue", "missing_value", "grid_mapping"),
                "time": ("units", "calendar", "long_name", "bounds") if time_too else ("calendar",),
            }.items():
                for attribute in attributes:
                    assert theirs[variable].getncattr(attribute) == ours[variable].getncattr(attribute), (variable, attribute)
            one, other = (dict(raw["lambert_conformal_conic"].__dict__) for raw in (theirs, ours))
            assert all(np.array_equal(one[key], other[key]) for key in set(one) & set(other)) and len(set(one) & set(other)) >= 8
