"""The ERA5 reader on made files: every user mistake is one OrbitError that names file and field."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.sources.era5 import open_era5
from tests.data.era5_files import LAT, LON, cds2024, values, zipped


def test_a_zip_of_two_step_types_is_one_dataset_read_lazily(tmp_path: Path) -> None:
    members = {"data_stream-oper_stepType-instant.nc": cds2024(tmp_path / "i.nc", ("t2m", "msl")),
               "data_stream-oper_stepType-accum.nc": cds2024(tmp_path / "a.nc", ("tp",))}
    archive = zipped(tmp_path / "request.zip", members)
    dataset = open_era5([archive], ["2m_temperature", "mean_sea_level_pressure", "precipitation_rate"])
    assert all(dataset[name].chunks is not None and dataset[name].dtype == np.float32 for name in dataset.data_vars)
    np.testing.assert_array_equal(dataset.lat, LAT[::-1])
    np.testing.assert_allclose(dataset["2m_temperature"].values, values("t2m", 3)[:, ::-1])
    np.testing.assert_allclose(dataset["precipitation_rate"].values, values("tp", 3)[:, ::-1] * 24000, rtol=1e-5)


def test_a_zip_that_is_named_nc_is_still_a_zip(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "download.nc", {"x.nc": cds2024(tmp_path / "x.nc")})
    assert open_era5([archive], ["2m_temperature"]).sizes["time"] == 3


def test_files_of_following_days_join_in_order_and_repeated_hours_count_once(tmp_path: Path) -> None:
    late = cds2024(tmp_path / "late.nc", times=3, start="2020-01-01T02", since=2)
    early = cds2024(tmp_path / "early.nc", times=3)
    dataset = open_era5([late, early], ["2m_temperature"])
    np.testing.assert_allclose(dataset["2m_temperature"].values, values("t2m", 5)[:, ::-1])
    hours = dataset.time.values.astype("datetime64[h]")
    np.testing.assert_array_equal(hours, np.arange("2020-01-01T00", "2020-01-01T05", dtype="datetime64[h]"))


def test_a_variable_without_data_at_a_time_is_nan_there_and_never_zero(tmp_path: Path) -> None:
    files = [cds2024(tmp_path / "t.nc", ("t2m",), times=3), cds2024(tmp_path / "p.nc", ("tp",), times=2)]
    dataset = open_era5(files, ["2m_temperature", "precipitation_rate"])
    assert dataset.sizes["time"] == 3 and np.isnan(dataset["precipitation_rate"].values[2]).all()


@pytest.mark.parametrize("shift", [-180.0, 0.0, 90.0])
def test_longitude_convention_does_not_move_the_field(tmp_path: Path, shift: float) -> None:
    lon = np.where(LON + shift >= 180, LON + shift - 360, LON + shift) if shift else LON
    order = np.argsort(lon)
    path = tmp_path / "x.nc"
    field = np.cos(np.radians(lon[order]))[None, None] + np.zeros((1, len(LAT), 1))
    xr.Dataset({"t2m": (("time", "latitude", "longitude"), 280 + field, {"units": "K"})},
               coords={"time": np.array(["2020-01-01"], dtype="datetime64[ns]"), "latitude": LAT, "longitude": lon[order]}).to_netcdf(path)
    dataset = open_era5([path], ["2m_temperature"])
    assert dataset.lon.values[0] == 0 and np.all(np.diff(dataset.lon) > 0) and dataset.lon.values[-1] < 360
    np.testing.assert_allclose(dataset["2m_temperature"].values[0, 0], 280 + np.cos(np.radians(dataset.lon.values)), rtol=1e-6)


def test_integer_date_dimension_and_celsius_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    xr.Dataset({"t2m": (("date", "latitude", "longitude"), values("t2m", 2) - 273.15, {"units": "degC"})},
               coords={"date": [20200131, 20200201], "latitude": LAT, "longitude": LON}).to_netcdf(path)
    field = open_era5([path], ["2m_temperature"])["2m_temperature"]
    assert list(field.time.values.astype("datetime64[D]").astype(str)) == ["2020-01-31", "2020-02-01"] and field.attrs["units"] == "K"
    np.testing.assert_allclose(field.values, values("t2m", 2)[:, ::-1], rtol=1e-6)


def test_tiny_negative_precipitation_of_packing_is_zero_but_a_real_negative_stays(tmp_path: Path) -> None:
    path = cds2024(tmp_path / "x.nc", ("tp",), times=1)
    with netCDF4.Dataset(path, "a") as file:
        file["tp"][0, 0, :3] = [-1e-9, -1e-3, np.nan]
    row = open_era5([path], ["precipitation_rate"])["precipitation_rate"].values[0, -1, :3]
    assert row[0] == 0 and row[1] == pytest.approx(-24) and np.isnan(row[2])


@pytest.mark.parametrize("unit", ["C degrees", None])
def test_wrong_or_missing_units_name_file_field_value_and_choices(tmp_path: Path, unit: str | None) -> None:
    path = cds2024(tmp_path / "odd.nc", units={"t2m": unit})
    with pytest.raises(OrbitError) as caught:
        open_era5([path], ["2m_temperature"])
    message = str(caught.value)
    assert "odd.nc: t2m" in message and "K, degC" in message and (unit or "no units") in message


def test_nan_only_field_is_refused(tmp_path: Path) -> None:
    path = cds2024(tmp_path / "x.nc", ("t2m", "u10"))
    with netCDF4.Dataset(path, "a") as file:
        file["u10"][:] = np.nan
    open_era5([path], ["2m_temperature"])
    dataset = open_era5([path], ["2m_temperature", "10m_u_component_of_wind"])  # reads no field
    assert np.isfinite(dataset["2m_temperature"].values).all()
    with pytest.raises(OrbitError, match=r"x.nc: u10: field is missing everywhere.*3 hours, first 2020-01-01T00"):
        dataset["10m_u_component_of_wind"].load()


def test_misspelt_missing_and_broken_are_told_apart(tmp_path: Path) -> None:
    path = cds2024(tmp_path / "x.nc")
    with pytest.raises(OrbitError, match="did you mean '2m_temperature'"):
        open_era5([path], ["2m_temperatur"])
    with pytest.raises(OrbitError, match=r"not in the files.*the files hold: t2m"):
        open_era5([path], ["precipitation_rate"])
    with pytest.raises(OrbitError, match="file not found"):
        open_era5([tmp_path / "none.nc"], ["2m_temperature"])
    (tmp_path / "page.nc").write_text("<html>queue is full</html>")
    with pytest.raises(OrbitError, match=r"page.nc: cannot be read as ERA5"):
        open_era5([tmp_path / "page.nc"], ["2m_temperature"])
    (tmp_path / "cut.nc").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OrbitError, match=r"cut.nc"):
        open_era5([tmp_path / "cut.nc"], ["2m_temperature"])


def test_fields_on_different_grids_are_refused(tmp_path: Path) -> None:
    other = cds2024(tmp_path / "b.nc", ("msl",), lon=LON[:4])
    with pytest.raises(OrbitError, match="different grids"):
        open_era5([cds2024(tmp_path / "a.nc"), other], ["2m_temperature", "mean_sea_level_pressure"])
