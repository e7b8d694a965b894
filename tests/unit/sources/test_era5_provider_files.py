"""The ERA5 reader against the provider's own files, compared with netCDF4 and ecCodes reading the same bytes."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from orbit2.errors import OrbitError
from orbit2.sources.era5 import open_era5

READERS = Path(__file__).resolve().parents[4] / "shared" / "data" / "readers"


def real(name: str) -> Path:
    path = READERS / name
    if not path.is_file():
        pytest.skip(f"provider file {name} is not on this machine (../shared/data/readers)")
    return path


def test_legacy_netcdf_scales_int16_and_turns_the_grid_the_right_way() -> None:
    path = real("era5_netcdf_legacy/era5_conus_0.25deg_19950714T12.nc")
    field = open_era5([path], ["2m_temperature"])["2m_temperature"]
    with netCDF4.Dataset(path) as raw:
        raw["t2m"].set_auto_maskandscale(False)
        codes = raw["t2m"][...].astype(np.float64)
        expected = codes * raw["t2m"].scale_factor + raw["t2m"].add_offset
        north, west = float(raw["latitude"][0]), float(raw["longitude"][0])
    assert field.dims == ("time", "lat", "lon") and str(field.time.values[0])[:13] == "1995-07-14T12"
    assert field.lat.values[-1] == north == 50 and field.lon.values[0] == west + 360 == 235
    np.testing.assert_allclose(field.values[0, ::-1], expected, atol=2e-5)


def test_expver_dimension_takes_final_data_first_and_preliminary_where_it_is_missing() -> None:
    path = real("era5_netcdf_legacy/era5_expver_dimension_antarctica.nc")
    field = open_era5([path], ["mean_sea_level_pressure"])["mean_sea_level_pressure"]
    with netCDF4.Dataset(path) as raw:
        both = np.ma.filled(raw["msl"][0].astype(np.float64), np.nan)  # [expver, lat, lon]
        assert list(raw["expver"][:]) == [1, 5]
    expected = np.where(np.isfinite(both[0]), both[0], both[1])
    assert np.isfinite(both[0]).any() or np.isfinite(both[1]).any()
    np.testing.assert_allclose(field.values[0, ::-1], expected, rtol=1e-6)


def test_cds_precipitation_of_an_hour_in_metres_becomes_mm_per_day() -> None:
    path = real("era5_netcdf_cds2024/tp_accum_mixed_expver_germany_6h_2024-2025.nc")
    field = open_era5([path], ["precipitation_rate"])["precipitation_rate"]
    assert field.chunks is not None and field.attrs["units"] == "mm day-1"
    with netCDF4.Dataset(path) as raw:
        assert {"0001", "0005"} == set(raw["expver"][:])  # final and preliminary data share one time axis
        expected = np.asarray(raw["tp"][100], dtype=np.float64)
        stamp = np.datetime64(int(raw["valid_time"][100]), "s")
    assert field.time.values[100] == stamp
    np.testing.assert_allclose(field.values[100, ::-1], np.maximum(expected * 24000, 0), rtol=1e-5, atol=1e-6)


def test_pressure_levels_are_picked_by_value_and_a_region_across_greenwich_stays_whole() -> None:
    path = real("era5_netcdf_cds2024/pressure_levels_tquv_12x5.nc")
    dataset = open_era5([path], ["temperature_850", "specific_humidity_500"])
    with netCDF4.Dataset(path) as raw:
        levels = list(raw["pressure_level"][:])
        warm, humid = raw["t"][3, levels.index(850)], raw["q"][3, levels.index(500)]
    np.testing.assert_array_equal(dataset["temperature_850"].values[3, ::-1], warm)
    np.testing.assert_array_equal(dataset["specific_humidity_500"].values[3, ::-1], humid)
    assert dataset.lon.values[0] == 350 and dataset.lon.values[-1] == 380 and np.all(np.diff(dataset.lon) == 1)
    with pytest.raises(OrbitError, match=r"temperature_200.*200 hPa"):
        open_era5([path], ["temperature_200"])


def test_preliminary_hourly_wind_keeps_its_hours() -> None:
    dataset = open_era5([real("era5_netcdf_cds2024/u10v10_instant_era5t_24h.nc")], ["10m_u_component_of_wind", "10m_v_component_of_wind"])
    assert dataset.sizes["time"] == 24 and np.all(np.diff(dataset.time.values) == np.timedelta64(1, "h"))


def test_grib_hours_equal_what_eccodes_decodes() -> None:
    path = real("era5_grib/t2m_uk_201903_hourly.grib")
    eccodes = pytest.importorskip("eccodes")
    field = open_era5([path], ["2m_temperature"])["2m_temperature"]
    assert field.shape == (744, 33, 49) and (field.lon.values[0], field.lon.values[-1]) == (350, 362)
    with open(path, "rb") as handle:
        for _ in range(30):
            message = eccodes.codes_grib_new_from_file(handle)
    stamp = f"{eccodes.codes_get(message, 'dataDate')} {eccodes.codes_get(message, 'dataTime'):04d}"
    expected = eccodes.codes_get_values(message).reshape(33, 49)
    eccodes.codes_release(message)
    assert stamp == "20190302 0500" and str(field.time.values[29])[:13] == "2019-03-02T05"
    np.testing.assert_allclose(field.values[29, ::-1], expected, atol=1e-4)
    assert not list(path.parent.glob("*.idx"))  # a reader leaves no index beside the provider's file


def test_grib_ensemble_needs_a_member() -> None:
    path = real("era5_grib/zt_levels_members.grib")
    with pytest.raises(OrbitError, match="several ensemble members"):
        open_era5([path], ["temperature_850"])
    with pytest.raises(OrbitError, match="no such ensemble member"):
        open_era5([path], ["temperature_850"], member=99)
    third, fourth = (open_era5([path], ["temperature_850"], member=m)["temperature_850"].values for m in (3, 4))
    assert third.shape == (4, 61, 120) and np.abs(third - fourth).max() > 0.01


def test_an_archive_of_another_provider_is_one_readable_error() -> None:
    with pytest.raises(OrbitError, match="holds no data file"):
        open_era5([real("prism/CORRUPT_PRISM_ppt_stable_4kmD2_20120101_bil.zip")], ["2m_temperature"])


def test_numbers_that_other_programs_print() -> None:
    """`grib_get -p average,max,min` of message 30; `gdallocationinfo -valonly` (packed value) and `cdo infon` of the legacy file."""
    grib = open_era5([real("era5_grib/t2m_uk_201903_hourly.grib")], ["2m_temperature"])["2m_temperature"].sel(time="2019-03-02T05").values
    assert np.round([grib.mean(), grib.max(), grib.min()], 3) == pytest.approx([280.866, 284.107, 276.759])
    legacy = open_era5([real("era5_netcdf_legacy/era5_conus_0.25deg_19950714T12.nc")], ["2m_temperature"])["2m_temperature"][0]
    code = -679  # gdallocationinfo NETCDF:...:t2m 100 40
    expected = code * 0.000841082391218928 + 295.926337271304  # scale_factor and add_offset as ncdump prints them
    assert float(legacy.sel(lat=40.0, lon=260.0)) == pytest.approx(expected, abs=2e-5)
    assert np.round([float(legacy.min()), float(legacy.max())], 2) == pytest.approx([272.12, 302.99])
    levels = open_era5([real("era5_netcdf_cds2024/pressure_levels_tquv_12x5.nc")], ["temperature_850"])["temperature_850"]
    warm = levels.sel(time="2020-07-01T18").values  # cdo info -seltimestep,4 -sellevel,850 -selname,t
    assert np.round([warm.min(), warm.max()], 2) == pytest.approx([277.77, 306.84])


def test_months_of_preliminary_data_are_named() -> None:
    """`ncdump -v expver`: 0001 until September 2025, 0005 afterwards, in the file that mixes both."""
    path = real("era5_netcdf_cds2024/tp_accum_mixed_expver_germany_6h_2024-2025.nc")
    with netCDF4.Dataset(path) as raw:
        months = raw["valid_time"][:].astype("datetime64[s]").astype("datetime64[M]")
        versions = np.asarray(raw["expver"][:])
    wanted = [str(m) for m in np.unique(months) if set(versions[months == m]) == {"0005"}]
    told = open_era5([path], ["precipitation_rate"]).attrs["expver"]
    assert wanted and told == f"preliminary (ERA5T, expver 0005): {', '.join(wanted)}"
    window = open_era5([path], ["precipitation_rate"], first=np.datetime64("2024-03-01", "s"), last=np.datetime64("2024-03-31T23", "s"))
    assert "expver" not in window.attrs and str(window.time.values[0])[:10] == "2024-03-01"
