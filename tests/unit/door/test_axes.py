"""Which coordinates are latitude, longitude and time: files of many makers, and grids that are not of that kind at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.door.axes import horizontal, time_name
from orbit2.door.stamps import dates
from orbit2.errors import OrbitError

LAT, LON = np.linspace(40, 50, 5), np.linspace(-10, 10, 6)


def data(lat: tuple[str, dict[str, Any]], lon: tuple[str, dict[str, Any]], field: dict[str, Any] | None = None, **extra: Any) -> xr.Dataset:
    (y, about_y), (x, about_x) = lat, lon
    return xr.Dataset({"t2m": ((y, x), np.zeros((5, 6), np.float32), field or {}), **extra},
                      coords={y: (y, LAT, about_y), x: (x, LON, about_x)})


@pytest.mark.parametrize(("lat", "lon"), [
    (("lat", {}), ("lon", {})), (("latitude", {"standard_name": "unknown"}), ("longitude", {})), (("Lat", {}), ("Lon", {})),
    (("north", {"standard_name": "latitude", "units": "degrees_north"}), ("east", {"standard_name": "longitude", "units": "degrees_east"})),
    (("rows", {"units": "degrees_N"}), ("columns", {"units": "degreeE"})), (("y", {"units": "degrees"}), ("x", {"units": "degree"})),
    (("nav_lat", {"units": "degrees_north"}), ("nav_lon", {"units": "degrees_east"})), (("y", {"standard_name": "latitude"}), ("lon", {})),
])
def test_latitude_and_longitude_of_many_makers(lat: tuple[str, dict[str, Any]], lon: tuple[str, dict[str, Any]]) -> None:
    assert horizontal(data(lat, lon), "a.nc") == (lat[0], lon[0])


KM = {"units": "km", "standard_name": "projection_y_coordinate"}


@pytest.mark.parametrize(("given", "words"), [
    (data(("y", KM), ("x", {"units": "km", "standard_name": "projection_x_coordinate"})), r"projected.*got 'y \(km\), x \(km\)'"),
    (data(("y", {"units": "km"}), ("x", {"units": "km"})), r"no latitude and no longitude coordinate found.*y \(km\)"),
    (data(("lat", {"units": "km"}), ("lon", {"units": "km"})), "no latitude and no longitude"),
    (data(("y", {}), ("x", {})), r"no latitude.*y \(no units\)"),
    (data(("lat", {"units": "degrees_north"}), ("x", {"units": "m"})), "no longitude coordinate found"),
    (data(("rlat", {"units": "degrees", "standard_name": "grid_latitude"}),
          ("rlon", {"units": "degrees", "standard_name": "grid_longitude"})), "rotated: grid_latitude"),
    (data(("lat", {"units": "degrees"}), ("lon", {"units": "degrees"}), {"grid_mapping": "pole"},
          pole=((), 0, {"grid_mapping_name": "rotated_latitude_longitude"})), "the grid is rotated"),
    (data(("lat", {}), ("lon", {})).assign_coords(lat=np.arange(5), lon=np.arange(6)), "no latitude and no longitude"),
    (data(("y", {}), ("x", {})).drop_vars(["y", "x"]).assign_coords(
        lat=(("y", "x"), np.zeros((5, 6))), lon=(("y", "x"), np.zeros((5, 6)))), "curvilinear: lat and lon are 2-D"),
    (xr.Dataset({"t2m": ("cell", np.zeros(5))}, coords={"clat": ("cell", LAT, {"units": "degrees_north"}),
                                                        "clon": ("cell", LAT, {"units": "degrees_east"})}), "list of points"),
])
def test_other_grids_are_refused_and_named(given: xr.Dataset, words: str) -> None:
    with pytest.raises(OrbitError, match=words) as caught:
        horizontal(given, "a.nc")
    assert "a.nc" in str(caught.value) and "rlat" not in str(caught.value).replace("rlat (degrees)", "")


def test_a_latitude_longitude_mapping_is_no_projection() -> None:
    crs = ((), 0, {"grid_mapping_name": "latitude_longitude"})
    given = data(("y", {"units": "degrees_north"}), ("x", {"units": "degrees_east"}), {"grid_mapping": "crs"}, crs=crs)
    assert horizontal(given, "a.nc") == ("y", "x")


def test_the_axes_of_one_field_of_a_file_with_two_grids() -> None:
    two = data(("lat", {}), ("lon", {})).assign_coords(latitude=("rows", LAT, {"units": "degrees_north"}),
                                                       longitude=("cols", LON, {"units": "degrees_east"}))
    assert horizontal(two, "", along=("lat", "lon")) == ("lat", "lon") and horizontal(two, "", along=("rows", "cols")).lat == "latitude"


def test_times_are_those_that_the_fields_are_valid_for() -> None:
    steps = xr.Dataset({"t": ("step", [1.0, 2.0])}, coords={
        "time": ((), np.datetime64("2020-01-01", "ns"), {"standard_name": "forecast_reference_time"}),
        "valid_time": ("step", np.array(["2020-01-01T06", "2020-01-01T12"], "M8[ns]"), {"standard_name": "time"})})
    assert time_name(steps) == "valid_time"
    assert time_name(xr.Dataset({"t": ("time", [1.0])})) is None, "a dimension without a coordinate"
    assert time_name(xr.Dataset(coords={"date": ("date", [20200131])})) == "date"


def test_days_as_numbers_are_days_and_other_numbers_and_calendars_are_refused() -> None:
    def along(values: Any, **attributes: str) -> xr.DataArray:
        return xr.DataArray(np.asarray(values), dims="date", name="date", attrs=attributes)

    for values in ([20200228, 20200229], np.array([20200228.0, 20200229.0])):
        assert dates(along(values), "a.nc").astype(str).tolist() == ["2020-02-28T00:00:00", "2020-02-29T00:00:00"]
    for wrong in ([20200230], [2020], [0, 6], [20200101.5]):
        with pytest.raises(OrbitError, match=r"a\.nc: date: time is not a date.*YYYYMMDD"):
            dates(along(wrong), "a.nc")
    noleap = xr.date_range("2001-02-27", periods=3, calendar="noleap", use_cftime=True)
    with pytest.raises(OrbitError, match=r"calendar is not the real one; got 'noleap'.*convert_calendar"):
        dates(xr.DataArray(noleap, dims="date", name="date"), "a.nc")
