"""IMERG: the provider's files against numbers that ncdump prints, and files written in its format with values known in closed form."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from orbit2.config.sources import ImergConfig
from orbit2.errors import OrbitError
from orbit2.sources.imerg import Imerg
from orbit2.sources.source import Need
from tests.data import imerg_files

READERS = Path(__file__).resolve().parents[3].parent / "shared/data/readers/imerg"
RAIN = "total_precipitation_24hr"
LAT, LON = imerg_files.window((30.0, 30.4, 250.0, 250.6), margin=0.0)


def provider(pattern: str) -> list[Path]:
    found = sorted(READERS.glob(pattern))
    if not found:
        pytest.skip(f"provider file {pattern} is not on this machine (../shared/data/readers)")
    return found


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def truth(when: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """mm of a day: a plane (in longitudes of the file, -180 to 180) that drifts with the date."""
    return 100.0 + 0.5 * lat + 0.1 * lon + 0.25 * (when.astype("datetime64[D]") - day("2020-01-01")).astype(int)


def daily(folder: Path, when: str, **options: object) -> Path:
    path = folder / f"3B-DAY.MS.MRG.3IMERG.{when.replace('-', '')}-S000000-E235959.V07B.nc4"
    return imerg_files.daily(path, day(when), truth, **{"lat": LAT, "lon": LON, **options})  # type: ignore[arg-type]


def half_hours(folder: Path, slots: list[int], rate: float | None = None, *, version: str = "07", when: str = "2020-05-04",
               holes: dict[int, tuple[int, int]] | None = None) -> list[Path]:
    """Files of these half-hours of a day; the rate in mm/h is the slot's number unless given; `holes`: slot -> missing (row, column)."""
    files = []
    for slot in slots:
        begin = day(when).astype("datetime64[s]") + np.timedelta64(1800 * slot, "s")

        def field(_: np.datetime64, lat: np.ndarray, lon: np.ndarray, slot: int = slot) -> np.ndarray:
            values = np.full(lat.shape, float(slot) if rate is None else rate)
            if holes and slot in holes:
                values[holes[slot]] = np.nan
            return values

        files.append(imerg_files.half_hour(folder / f"hhr_{when}_{slot:02d}.HDF5", begin, field, version=version, lat=LAT, lon=LON))
    return files


def opened(files: list[Path], *, first: str = "1990-01-01", last: str = "2030-12-31", **config: object) -> xr.Dataset:
    return Imerg(ImergConfig(**config)).open(files, (RAIN,), day(first), day(last))  # type: ignore[arg-type]


# --- the provider's own files ---------------------------------------------------------------------------------------------------------


def test_six_half_hours_over_south_brazil_have_the_values_that_ncdump_prints() -> None:
    dataset = opened(provider("3B-HHR-E.*.nc4"), product="half_hourly", version="06", run="early", min_slots=6)
    rain = dataset[RAIN]
    assert rain.dims == ("time", "lat", "lon") and rain.shape == (1, 128, 192) and rain.dtype == np.float32
    assert str(dataset["time"].values[0])[:16] == "2023-11-18T00:00" and dataset["slots"].values.tolist() == [6]
    # ncdump -v lat,lon: -34.35 ... and -62.45 ...; 128 and 192 cells
    np.testing.assert_array_equal(dataset["lat"].values, np.round(-34.35 + 0.1 * np.arange(128), 2))
    np.testing.assert_array_equal(dataset["lon"].values, np.round(297.55 + 0.1 * np.arange(192), 2))
    # ncdump -v precipitationCal of each file at (lon, lat) of the file, mm/h; the day's mean rate times 24
    printed = {(20, 100): [4.1752, 0.8735999, 0, 0, 0, 0], (100, 60): [0, 0, 0, 0, 0.01055403, 3.640474],
               (150, 30): [0.24, 0.29, 0.26, 0.45, 0.6323292, 1.09856]}
    for (column, row), rates in printed.items():
        assert float(rain[0, row, column]) == pytest.approx(24 * sum(rates) / 6, rel=1e-6)
    totals = [25169.4, 26957.2, 20989.5, 21232.8, 25595.1, 27619.1]  # ncdump | awk: sum over the 24576 cells of each file
    assert float(rain.astype(np.float64).mean()) == pytest.approx(24 * sum(totals) / 6 / 24576, rel=1e-5)


def test_six_of_48_are_not_enough_by_default() -> None:
    dataset = opened(provider("3B-HHR-E.*.nc4"), product="half_hourly", version="06", run="early")
    assert dataset["slots"].values.tolist() == [6] and np.isnan(dataset[RAIN].values).all()


@pytest.mark.parametrize(("name", "version", "missing_rows"), [
    ("V06B_3B-HHR_10x10cut.HDF5", "06", 10), ("V07A_3B-HHR_10x10cut.HDF5", "07", 3)])
def test_both_versions_schemas_are_read_with_their_own_epochs(name: str, version: str, missing_rows: int) -> None:
    dataset = opened(provider(name), product="half_hourly", version=version, min_slots=1)
    # FileName in the header: 3B-HHR.MS.MRG.3IMERG.20000601-S000000; ncdump -v Grid/lat,Grid/lon: -89.95 ... and -179.95 ...
    assert str(dataset["time"].values[0])[:10] == "2000-06-01"
    np.testing.assert_array_equal(dataset["lat"].values, np.round(-89.95 + 0.1 * np.arange(10), 2))
    np.testing.assert_array_equal(dataset["lon"].values, np.round(180.05 + 0.1 * np.arange(10), 2))
    rain = dataset[RAIN][0].values  # ncdump: all missing in V06; in V07 the three latitudes next to the pole, elsewhere 0
    assert np.isnan(rain[:missing_rows]).all() and (rain[missing_rows:] == 0).all()


def test_check_knows_the_provider_files() -> None:
    source = Imerg(ImergConfig(product="half_hourly", version="06", run="early"))
    requests = source.plan(Need((RAIN,), day("2023-11-18"), day("2023-11-18")))
    files = provider("3B-HHR-E.*.nc4")
    for file, request in zip(files, requests, strict=False):
        source.check(file, request)
        assert file.name.startswith(Path(request.file).name.split(".V06")[0])
    with pytest.raises(OrbitError, match=r"another time; got '2023-11-18T00:30:00'; allowed: 2023-11-18T00:00:00"):
        source.check(files[1], requests[0])


# --- daily ----------------------------------------------------------------------------------------------------------------------------


def test_daily_files_of_both_versions_give_the_same_rain(tmp_path: Path) -> None:
    (tmp_path / "6").mkdir(), (tmp_path / "7").mkdir()
    old = opened([daily(tmp_path / "6", d, version="06") for d in ("2020-02-28", "2020-02-29")], version="06")
    new = opened([daily(tmp_path / "7", d, version="07") for d in ("2020-02-29", "2020-02-28")])
    xr.testing.assert_identical(old.compute(), new.compute())
    assert list(new["time"].values.astype("datetime64[D]").astype(str)) == ["2020-02-28", "2020-02-29"]
    lon, lat = np.meshgrid(new["lon"].values - 360, new["lat"].values)
    np.testing.assert_allclose(new[RAIN][1].values, truth(day("2020-02-29"), lat, lon), rtol=1e-6)
    assert new[RAIN].attrs["units"] == "mm"


def test_the_whole_globe_runs_from_0_to_360_with_exact_centres(tmp_path: Path) -> None:
    dataset = opened([imerg_files.daily(tmp_path / "globe.nc4", day("2021-06-01"), truth)])
    assert dataset[RAIN].shape == (1, 1800, 3600) and dataset[RAIN].chunks == ((1,), (1800,), (3600,))
    np.testing.assert_array_equal(dataset["lon"].values, np.round(0.05 + 0.1 * np.arange(3600), 2))
    np.testing.assert_array_equal(dataset["lat"].values, np.round(-89.95 + 0.1 * np.arange(1800), 2))
    field = dataset[RAIN][0].values
    for lat, lon, stored in ((10.05, 0.05, 0.05), (10.05, 179.95, 179.95), (-60.45, 180.05, -179.95), (10.05, 359.95, -0.05)):
        row, column = round((lat + 89.95) * 10), round((lon - 0.05) * 10)
        assert field[row, column] == pytest.approx(truth(day("2021-06-01"), np.float64(lat), np.float64(stored)), rel=1e-6)


def test_a_region_across_greenwich_stays_in_one_piece(tmp_path: Path) -> None:
    lat, lon = imerg_files.window((10.0, 10.3, -0.3, 0.3), margin=0.0)
    dataset = opened([daily(tmp_path, "2020-01-01", lat=lat, lon=lon)])
    assert dataset["lon"].values.tolist() == [359.75, 359.85, 359.95, 360.05, 360.15, 360.25]
    np.testing.assert_allclose(np.diff(dataset[RAIN][0, 0].values), 0.01, atol=2e-5)  # the plane rises by 0.1 per degree, also across 0


def test_cells_with_too_few_half_hours_are_missing(tmp_path: Path) -> None:
    counts = np.full((len(LAT), len(LON)), 48, dtype=np.int16)
    counts[0, 0], counts[1, 2], counts[2, 3] = 43, 44, 0
    rain = opened([daily(tmp_path, "2020-01-01", counts=counts)])[RAIN][0].values
    assert np.argwhere(np.isnan(rain)).tolist() == [[0, 0], [2, 3]]
    assert np.isnan(opened([tmp_path / "3B-DAY.MS.MRG.3IMERG.20200101-S000000-E235959.V07B.nc4"], min_slots=45)[RAIN][0, 1, 2])


def test_the_missing_value_is_nan(tmp_path: Path) -> None:
    def holed(when: np.datetime64, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        values = np.zeros_like(lat)
        values[-1, 0] = np.nan
        return values

    counts = np.full((len(LAT), len(LON)), 48, np.int16)
    path = imerg_files.daily(tmp_path / "a.nc4", day("2020-01-01"), holed, lat=LAT, lon=LON, counts=counts)
    rain = opened([path])[RAIN][0].values
    assert np.argwhere(np.isnan(rain)).tolist() == [[len(LAT) - 1, 0]] and np.nanmax(rain) == 0


def test_only_the_days_asked_for_and_no_invented_ones(tmp_path: Path) -> None:
    files = [daily(tmp_path, d) for d in ("2020-01-01", "2020-01-02", "2020-01-05", "2020-01-09")]
    dataset = opened(files, first="2020-01-02", last="2020-01-08")
    assert list(dataset["time"].values.astype("datetime64[D]").astype(str)) == ["2020-01-02", "2020-01-05"]


# --- half-hourly ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["06", "07"])
def test_a_complete_day_is_the_mean_rate_times_24(tmp_path: Path, version: str) -> None:
    dataset = opened(half_hours(tmp_path, list(range(48)), version=version), product="half_hourly", version=version)
    np.testing.assert_allclose(dataset[RAIN].values, 23.5 * 24)  # rates 0, 1, ... 47 mm/h; not `precipitationUncal`, which is 99
    assert dataset["slots"].values.tolist() == [48] and dataset[RAIN].shape == (1, len(LAT), len(LON))


def test_44_half_hours_count_and_43_do_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    enough = opened(half_hours(tmp_path / "a", list(range(4, 48))), product="half_hourly")
    np.testing.assert_allclose(enough[RAIN].values, 24 * np.mean(np.arange(4, 48)))  # the mean of those that exist, not a smaller sum
    few = opened(half_hours(tmp_path / "b", list(range(5, 48))), product="half_hourly")
    assert np.isnan(few[RAIN].values).all() and (enough["slots"].item(), few["slots"].item()) == (44, 43)


def test_completeness_holds_cell_by_cell(tmp_path: Path) -> None:
    holes = dict.fromkeys(range(5), (0, 1)) | dict.fromkeys(range(10, 14), (2, 2))  # five and four half-hours missing
    rain = opened(half_hours(tmp_path, list(range(48)), 2.0, holes=holes), product="half_hourly")[RAIN][0].values
    assert np.argwhere(np.isnan(rain)).tolist() == [[0, 1]]
    np.testing.assert_allclose(rain[np.isfinite(rain)], 48.0)


def test_days_are_utc_days_and_one_block_each(tmp_path: Path) -> None:
    files = half_hours(tmp_path, list(range(48)), 1.0, when="2020-05-04") + half_hours(tmp_path, list(range(46)), 3.0, when="2020-05-05")
    dataset = opened(files[::-1], product="half_hourly")
    assert dataset["slots"].values.tolist() == [48, 46] and dataset[RAIN].chunks[0] == (1, 1)
    assert dataset[RAIN].values[:, 0, 0].tolist() == [24.0, 72.0]


def test_the_same_half_hour_twice_is_an_error_naming_both(tmp_path: Path) -> None:
    files = half_hours(tmp_path, [3])
    shutil.copy(files[0], tmp_path / "again.HDF5")
    words = r"again\.HDF5 and hhr_2020-05-04_03\.HDF5: two files hold the same time; got '2020-05-04T01:30:00'"
    with pytest.raises(OrbitError, match=words):
        opened([*files, tmp_path / "again.HDF5"], product="half_hourly")


# --- bad input ------------------------------------------------------------------------------------------------------------------------


def test_the_same_day_twice_mixed_versions_and_mixed_grids_are_errors(tmp_path: Path) -> None:
    one = daily(tmp_path, "2020-01-01")
    shutil.copy(one, tmp_path / "copy.nc4")
    with pytest.raises(OrbitError, match="two files hold the same time"):
        opened([one, tmp_path / "copy.nc4"])
    (tmp_path / "6").mkdir(), (tmp_path / "w").mkdir()
    with pytest.raises(OrbitError, match="files of different versions are mixed; got 'precipitationCal'"):
        opened([one, daily(tmp_path / "6", "2020-01-02", version="06")])
    with pytest.raises(OrbitError, match="different grids; got 'lon "):
        opened([one, daily(tmp_path / "w", "2020-01-03", lon=LON[1:])])


@pytest.mark.parametrize(("options", "words"), [
    ({"units": None}, "precipitation: field has no units"), ({"units": "mm/hr"}, r"wrong units; got 'mm/hr'.*product is daily"),
    ({"lat": LAT + 0.05}, r"lat: not IMERG's 0.1 degree grid"), ({"lon": LON[::2]}, r"lon: not IMERG's 0.1 degree grid"),
])
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(OrbitError, match=r"3B-DAY.*nc4: .*" + words):
        opened([daily(tmp_path, "2020-01-01", **options)])


def test_daily_files_are_not_taken_for_half_hours_nor_the_reverse(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="wrong units; got 'mm/day'; allowed: mm/hr"):
        opened([daily(tmp_path, "2020-01-01")], product="half_hourly")
    with pytest.raises(OrbitError, match="wrong units; got 'mm/hr'; allowed: mm/day"):
        opened(half_hours(tmp_path, [0]))


def test_a_month_is_no_half_hour_though_its_rates_are_in_the_same_unit(tmp_path: Path) -> None:
    path = daily(tmp_path, "2020-01-01", units="mm/hr")
    with netCDF4.Dataset(path, "a") as raw:
        raw["time_bnds"][0, 1] = raw["time_bnds"][0, 0] + 31
    with pytest.raises(OrbitError, match=r"precipitation: the file covers another length of time; got '744 hours'; allowed: 0.5 hours"):
        opened([path], product="half_hourly")


def test_times_without_units_or_fields_without_name_are_errors(tmp_path: Path) -> None:
    path = daily(tmp_path, "2020-01-01")
    with netCDF4.Dataset(path, "a") as raw:
        raw["time"].delncattr("units")
    with pytest.raises(OrbitError, match="time has no units"):
        opened([path])
    with netCDF4.Dataset(path, "a") as raw:
        raw["time"].units = "fortnights"
        raw.renameVariable("precipitation", "rainfall")
    with pytest.raises(OrbitError, match=r"field not in the file; got 'precipitation or precipitationCal'; the file holds: .*rainfall"):
        opened([path])


@pytest.mark.parametrize("content", [b"", b"<html>Earthdata Login</html>", b"\x89HDF\r\n\x1a\nrubbish"])
def test_what_is_no_hdf5_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.nc4").write_bytes(content)
    with pytest.raises(OrbitError, match=r"bad\.nc4: cannot be read as IMERG"):
        opened([tmp_path / "bad.nc4"])


def test_damage_that_shows_only_when_data_are_read_names_the_file(tmp_path: Path) -> None:
    path = daily(tmp_path, "2020-01-01")
    import h5py

    with h5py.File(path) as raw:
        chunk = raw["precipitation"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x00" * chunk.size
    path.write_bytes(content)
    source = Imerg(ImergConfig())
    [request] = source.plan(Need((RAIN,), day("2020-01-01"), day("2020-01-01")))
    with pytest.raises(OrbitError, match=r"3B-DAY.*: cannot be read as IMERG"):
        source.check(path, request)
    with pytest.raises(OrbitError, match=r"3B-DAY.*: cannot be read as IMERG"):
        opened([path])[RAIN].load()


def test_cut_files_fail_their_check(tmp_path: Path) -> None:
    source = Imerg(ImergConfig())
    [request] = source.plan(Need((RAIN,), day("2020-01-01"), day("2020-01-01")))
    content = daily(tmp_path, "2020-01-01").read_bytes()
    for length in (100, len(content) // 2, len(content) - 10):
        (tmp_path / "cut.nc4").write_bytes(content[:length])
        with pytest.raises(OrbitError, match=r"cut\.nc4"):
            source.check(tmp_path / "cut.nc4", request)


def test_check_refuses_another_day_and_another_version(tmp_path: Path) -> None:
    source = Imerg(ImergConfig())
    first, second = source.plan(Need((RAIN,), day("2020-01-01"), day("2020-01-02")))
    source.check(daily(tmp_path, "2020-01-01"), first)
    with pytest.raises(OrbitError, match="file is of another time; got '2020-01-01T00:00:00'; allowed: 2020-01-02"):
        source.check(daily(tmp_path, "2020-01-01"), second)
    with pytest.raises(OrbitError, match=r"another version; got 'precipitationCal'; allowed: precipitation \(version 07\)"):
        source.check(daily(tmp_path, "2020-01-01", version="06"), first)


def test_no_files_and_unknown_variables_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="no files of this period"):
        opened([daily(tmp_path, "2020-01-01")], first="2021-01-01")
    with pytest.raises(OrbitError, match="file not found"):
        opened([tmp_path / "none.nc4"])
    with pytest.raises(OrbitError, match="does not offer this variable"):
        Imerg(ImergConfig()).open([], ("2m_temperature",), day("2020-01-01"), day("2020-01-02"))


def test_many_threads_may_check_and_read_at_once(tmp_path: Path) -> None:
    """The transfer checks files in its worker threads; the netCDF library would crash there."""
    source = Imerg(ImergConfig())
    requests = source.plan(Need((RAIN,), day("2020-01-01"), day("2020-01-12")))
    files = [daily(tmp_path, str(r.first)[:10]) for r in requests]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: source.check(*pair), list(zip(files, requests, strict=True)) * 8))
    assert opened(files)[RAIN].compute(scheduler="threads", num_workers=8).shape[0] == 12


# --- plan -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "count", "short_name", "file", "pattern"), [
    ({}, 366, "GPM_3IMERGDF", "2020/12/3B-DAY.MS.MRG.3IMERG.20201231-S000000-E235959.V07.nc4",
     "3B-DAY.MS.MRG.3IMERG.20201231-S000000-E235959.V07*.nc4"),
    ({"version": "06", "run": "late"}, 366, "GPM_3IMERGDL", "2020/12/3B-DAY-L.MS.MRG.3IMERG.20201231-S000000-E235959.V06.nc4",
     "3B-DAY-L.MS.MRG.3IMERG.20201231-S000000-E235959.V06*.nc4"),
    ({"product": "half_hourly", "run": "early"}, 366 * 48, "GPM_3IMERGHHE",
     "2020/12/3B-HHR-E.MS.MRG.3IMERG.20201231-S233000-E235959.1410.V07.HDF5",
     "3B-HHR-E.MS.MRG.3IMERG.20201231-S233000-E235959.1410.V07*.HDF5"),
])
def test_the_plan_has_a_file_for_every_day_or_half_hour(
    config: dict[str, object], count: int, short_name: str, file: str, pattern: str
) -> None:
    requests = Imerg(ImergConfig(**config)).plan(Need((RAIN,), day("2020-01-01"), day("2020-12-31")))  # type: ignore[arg-type]
    assert len(requests) == count == len({r.file for r in requests})
    last = requests[-1]
    assert (last.file, last.body["short_name"], last.body["pattern"]) == (file, short_name, pattern)
    assert last.first == last.last == np.datetime64("2020-12-31T00:00:00")  # half-hours too: the stamp is the day's
    assert last.client == "earthdata" and last.bytes > 1e6


def test_versions_begin_when_they_begin() -> None:
    Imerg(ImergConfig()).plan(Need((RAIN,), day("1998-01-01"), day("1998-01-02")))
    with pytest.raises(OrbitError, match=r"version 07: .*1997-12-31.*from 1998-01-01"):
        Imerg(ImergConfig()).plan(Need((RAIN,), day("1997-12-31"), day("1998-01-02")))
    with pytest.raises(OrbitError, match=r"from 2000-06-01"):
        Imerg(ImergConfig(version="06")).plan(Need((RAIN,), day("2000-05-31"), day("2000-06-02")))
    with pytest.raises(OrbitError, match="does not offer"):
        Imerg(ImergConfig()).plan(Need(("2m_temperature",), day("2020-01-01"), day("2020-01-02")))


def test_facts_say_product_version_and_day() -> None:
    facts = Imerg(ImergConfig(product="half_hourly", run="late")).facts
    assert facts.doi == "10.5067/GPM/IMERG/3B-HH-L/07" and "UTC" in facts.day and "44 of 48" in facts.extra["completeness"]
    assert Imerg(ImergConfig()).facts.doi == "10.5067/GPM/IMERGDF/DAY/07"


# --- the writers that other tests rely on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "version"), [("V06B_3B-HHR_10x10cut.HDF5", "06"), ("V07A_3B-HHR_10x10cut.HDF5", "07")])
def test_written_half_hours_are_built_as_the_providers(tmp_path: Path, name: str, version: str) -> None:
    [real] = provider(name)
    [made] = half_hours(tmp_path, [0], version=version)
    with netCDF4.Dataset(real) as one, netCDF4.Dataset(made) as other:
        theirs, ours = one["Grid"], other["Grid"]
        assert set(theirs.groups) == set(ours.groups)
        for variable in ("time", "lat", "lon", imerg_files.FIELD[version]):
            a, b = theirs[variable], ours[variable]
            assert (a.dtype, a.dimensions) == (b.dtype, b.dimensions)
            for attribute in ("DimensionNames", "Units", "units", "_FillValue", "CodeMissingValue", "calendar", "coordinates"):
                assert getattr(a, attribute, None) == getattr(b, attribute, None), (variable, attribute)
