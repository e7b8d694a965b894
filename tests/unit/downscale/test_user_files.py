"""What people's files say, and do not say: nothing is guessed, what cannot be is refused, what differs from the training is told."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.data.pairs import PairStore
from orbit2.downscale import Downscaler, Settings, downscale_file, load_model
from orbit2.errors import OrbitError
from orbit2.provenance import code_version
from tests.data.grib import message
from tests.data.small_downscaling import random_model
from tests.data.tiny_training import Tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says what it was trained on: the globe, 15 degrees, hourly."""
    return random_model(tmp_path_factory.mktemp("model") / "m", about={
        "statics_from": {"tiny": {"source": "packaged", "relief": None, "fields": ["orography"], "carried": False}},
        "coarse_km": 15 * np.pi / 180 * 6371, "step_hours": 1,
        "datasets": {"tiny": {"source": "sample", "coarse_grid": "global_15.0", "fine_grid": "global_3.75"}},
    })  # fmt: skip


@pytest.fixture(scope="module")
def model(folder: Path) -> Downscaler:
    return load_model(folder)


@pytest.fixture(scope="module")
def fields(tiny: Tiny) -> xr.Dataset:
    data = PairStore(tiny.store).dataset("coarse").isel(time=[3, 4]).load().drop_encoding()
    return data.drop_attrs(deep=False)


def changed(data: xr.Dataset, **attributes: Any) -> xr.Dataset:
    """`data` with other attributes of a variable or coordinate; None drops one."""
    data = data.copy(deep=True)
    for name, new in attributes.items():
        kept = {key: value for key, value in {**data[name].attrs, **new}.items() if value is not None}
        data[name].attrs = kept
    return data


BARE = {"standard_name": None, "axis": None, "bounds": None, "long_name": None}


@pytest.mark.parametrize(("units", "axes"), [
    ({"lat": {"units": "km", **BARE}, "lon": {"units": "km", **BARE}}, {"lat": "y", "lon": "x"}),
    ({"lat": {"units": None, **BARE}, "lon": {"units": None, **BARE}}, {"lat": "y", "lon": "x"}),
    ({"lat": {"units": "m", **BARE, "standard_name": "projection_y_coordinate"},
      "lon": {"units": "m", **BARE, "standard_name": "projection_x_coordinate"}}, {"lat": "y", "lon": "x"}),
    ({"lat": {"units": "degrees", **BARE, "standard_name": "grid_latitude"},
      "lon": {"units": "degrees", **BARE, "standard_name": "grid_longitude"}}, {"lat": "rlat", "lon": "rlon"}),
    ({"lat": {"units": "degrees", **BARE}, "lon": {"units": "degrees", **BARE}}, {"lat": "rlat", "lon": "rlon"}),
])  # fmt: skip
def test_axes_that_are_no_latitude_and_longitude_are_refused(
    model: Downscaler, fields: xr.Dataset, units: dict[str, Any], axes: dict[str, str]
) -> None:
    with pytest.raises(OrbitError, match=r"regular latitude-longitude|latitude and") as caught:
        model.downscale(changed(fields, **units).rename(axes))
    assert "\n" not in str(caught.value) and axes["lat"] in str(caught.value)


@pytest.mark.parametrize("first", [-30.0, 330.0])
def test_a_box_across_greenwich_is_one_piece(model: Downscaler, fields: xr.Dataset, first: float) -> None:
    """In either convention the same prediction, where it lies; like the globe's inside the rim."""
    whole = model.downscale(fields)
    box = fields.isel(lat=slice(4, 11), lon=[20, 21, 22, 23, 0, 1, 2, 3])
    if first < 0:
        box = box.assign_coords(lon=(box["lon"] + 180) % 360 - 180).sortby("lon")
    else:
        box = box.sortby("lon")
    made = model.downscale(box)
    assert made.sizes["lon"] == 32 and (np.diff(made["lon"]) > 0).all() and float(made["lon"][-1] - made["lon"][0]) < 120
    assert float(made["lon"][0]) % 360 == pytest.approx(301.875)
    inside = made["2m_temperature"].isel(lat=slice(8, -8), lon=slice(8, -8))
    there = whole["2m_temperature"].sel(lat=inside["lat"].values, lon=inside["lon"].values % 360, method="nearest")
    assert np.abs(inside.values - there.values).mean() < 0.05 * float(there.std())


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d.isel(time=0, drop=True), "no time is given.*--time"),
    (lambda d: d.drop_vars("time"), "no time is given.*2 fields along 'time'.*--time"),
    (lambda d: d.assign_coords(time=d["time"].values.astype("int64") // 10**9), "time is not a date.*YYYYMMDD"),
    (lambda d: d.assign_coords(time=d["time"].values[[0, 0]]), "a time is there twice"),
])  # fmt: skip
def test_times_are_never_invented(model: Downscaler, fields: xr.Dataset, change: Any, message: str) -> None:
    with pytest.raises(OrbitError, match=message):
        model.downscale(change(fields))


def test_the_user_says_the_times(model: Downscaler, fields: xr.Dataset) -> None:
    bare = fields.drop_vars("time")
    made = model.downscale(bare, time="2020-01-31T12:00,6h")
    assert list(made["time"].values.astype("datetime64[h]").astype(str)) == ["2020-01-31T12", "2020-01-31T18"]
    assert model.downscale(bare.isel(time=0), time="2020-01-31")["time"].values.astype("datetime64[D]").astype(str) == ["2020-01-31"]
    for wrong, says in (("2020-01-31", "step between them"), ("yesterday,1h", "not a time"), ("2020-01-31,x", "not a period")):
        with pytest.raises(OrbitError, match=says):
            model.downscale(bare, time=wrong)
    with pytest.raises(OrbitError, match="has its own times"):
        model.downscale(fields, time="2020-01-31,1h")


def test_rain_that_is_not_in_its_units_is_refused(model: Downscaler, fields: xr.Dataset) -> None:
    per_second = fields.assign(precipitation_rate=fields["precipitation_rate"].copy(data=fields["precipitation_rate"] / 86400))
    with pytest.raises(OrbitError, match=r"look like kg m-2 s-1.*mm day-1.*--trust-units"):
        model.downscale(per_second)
    model.downscale(per_second, trust_units=True)
    dry = fields.assign(precipitation_rate=fields["precipitation_rate"] * 0).pipe(changed, precipitation_rate={"units": "mm day-1"})
    model.downscale(dry)  # no rain at all is weather


@pytest.mark.parametrize(("name", "fill"), [("precipitation_rate", -99.9), ("2m_temperature", -9999.0), ("2m_temperature", 1e20)])
def test_a_fill_value_that_is_not_declared_is_refused(model: Downscaler, fields: xr.Dataset, name: str, fill: float) -> None:
    bad = fields.copy(deep=True)
    bad[name][0, 3, 4:7] = fill
    with pytest.raises(OrbitError, match=r"fill value that the file does not declare.*where"):
        model.downscale(bad)
    declared = bad.assign({name: bad[name].where(bad[name] != np.float32(fill))}).pipe(changed, **{name: fields[name].attrs})
    assert np.isnan(model.downscale(declared)[name][0, 12:16, 16:28]).all()


def test_what_differs_from_training_is_said_and_kept_with_the_result(
    folder: Path, fields: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = fields.isel(lat=slice(4, 10), lon=slice(4, 10))
    finer = box.assign_coords(lat=box["lat"] / 10, lon=box["lon"] / 10)
    finer = changed(finer, lat=dict(box["lat"].attrs), lon=dict(box["lon"].attrs))
    with xr.set_options(keep_attrs=True):
        finer = finer.assign(time=np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"))
        finer["2m_temperature"] = finer["2m_temperature"] - 80
    finer["2m_temperature"].attrs.update(units="K", cell_methods="time: mean")
    finer.to_netcdf(tmp_path / "in.nc")
    downscale_file(input=tmp_path / "in.nc", model=folder, out=tmp_path / "out.zarr")
    stored = xr.open_zarr(tmp_path / "out.zarr")
    for text in (caplog.text, stored.attrs["warnings"]):
        assert "trained on cells of 1.67e+03 km, given 167 km" in text
        assert "looks like daily fields (a step of 24 h), the model was trained on hourly ones" in text
        assert "climate: 2m_temperature is" in text and "in training 270 with a standard deviation of 20" in text
        assert "near the rim of a box" in text and "--trim 2" in text
    assert stored["2m_temperature"].attrs["cell_methods"] == "time: mean"
    caplog.clear()
    load_model(folder).downscale(fields)
    assert not caplog.records, "what is like the training needs no warning"


def test_the_rim_is_cut_where_the_box_is_open(folder: Path, model: Downscaler, fields: xr.Dataset, tmp_path: Path) -> None:
    box = fields.isel(lat=slice(4, 12), lon=slice(4, 12))
    full, trimmed = model.downscale(box), model.downscale(box, trim=2)
    assert trimmed["2m_temperature"].shape == (2, 24, 16), "two cells off south, west and east; the pole stays"
    np.testing.assert_allclose(trimmed["2m_temperature"].values, full["2m_temperature"].values[:, 8:, 8:-8], rtol=1e-6)
    assert trimmed["lat"].values[0] == full["lat"].values[8] and trimmed["lon"].values[-1] == full["lon"].values[-9]
    box.to_netcdf(tmp_path / "in.nc")
    downscale_file(input=tmp_path / "in.nc", model=folder, out=tmp_path / "out.nc", settings=Settings(trim=2))
    np.testing.assert_allclose(xr.open_dataset(tmp_path / "out.nc")["2m_temperature"].values, trimmed["2m_temperature"].values, rtol=1e-6)
    assert model.downscale(fields, trim=3).sizes == model.downscale(fields).sizes, "a globe has no rim"
    with pytest.raises(OrbitError, match=r"nothing is left.*less than half of 8x8"):
        model.downscale(box, trim=4)


def test_a_gap_is_delivered_as_a_gap_whole_cells_and_no_rim(model: Downscaler, fields: xr.Dataset) -> None:
    holed = fields.copy(deep=True)
    holed["2m_temperature"][0, 4:7, 8:12] = np.nan
    made = model.downscale(holed)
    expected = np.zeros((48, 96), dtype=bool)
    expected[16:28, 32:48] = True
    assert np.isnan(made["2m_temperature"].values[0, 16:28, 32:48]).all()
    assert not np.isnan(made["2m_temperature"].values[1]).any() and not np.isnan(made["precipitation_rate"].values).any()
    assert (np.isnan(made["2m_temperature"].values[0]) == expected).all()


def test_a_prediction_keeps_the_days_of_the_file_s_calendar(model: Downscaler, fields: xr.Dataset) -> None:
    stamps = xr.date_range("2020-02-29", periods=2, calendar="360_day", use_cftime=True)
    made = model.downscale(fields.assign_coords(time=stamps))
    assert list(made["time"].values) == list(stamps) and str(made["time"].values[1])[:10] == "2020-02-30"
    plain = model.downscale(fields)
    np.testing.assert_array_equal(made["2m_temperature"].values, plain["2m_temperature"].values)  # no season in this model


@pytest.mark.parametrize(("attributes", "value", "said", "expected"), [
    ({"units": "m", "GRIB_stepType": "accum"}, 1 / 24000, {}, 1.0),
    ({"units": "mm"}, 1 / 4, {"accumulated": "6h"}, 1.0),
    ({"units": "mm", "cell_methods": "time: sum (interval: 1 day)"}, 1.0, {}, 1.0),
    ({"units": "m", "GRIB_stepType": "avgad"}, 1e-3, {}, 1.0),
    ({"units": "kg m^-2 s^-1"}, 1 / 86400, {}, 1.0),
    ({"units": "mm"}, 1.0, {}, "over which time is not said.*--accumulated"),
    ({"units": "m", "GRIB_stepType": "instant"}, 1.0, {}, "over which time is not said"),
])  # fmt: skip
def test_amounts_of_rain_need_their_period(
    model: Downscaler, fields: xr.Dataset, attributes: dict[str, str], value: float, said: dict[str, str], expected: float | str
) -> None:
    from orbit2.door.ingest import Reading, read_inputs

    rain = xr.full_like(fields["precipitation_rate"], value).drop_attrs().assign_attrs(attributes)
    data = fields.drop_vars("precipitation_rate").assign(tp=rain).assign_coords(number=0)
    if isinstance(expected, str):
        with pytest.raises(OrbitError, match=expected):
            read_inputs(data, model.inputs, "x.nc", Reading(**said))
        return
    inputs = read_inputs(data, model.inputs, "x.nc", Reading(**said))
    np.testing.assert_allclose(inputs.frame(0)[inputs.names.index("precipitation_rate")], expected, rtol=1e-5)
    assert any("amount of the hour" in line for line in inputs.warnings) == (attributes.get("GRIB_stepType") == "accum")


def test_sums_on_era5_lands_grid_are_not_taken_for_hours(model: Downscaler, fields: xr.Dataset) -> None:
    rain = xr.full_like(fields["precipitation_rate"], 1e-4).drop_attrs().assign_attrs(units="m", GRIB_stepType="accum")
    data = fields.drop_vars("precipitation_rate").assign(tp=rain).isel(lon=slice(0, 12)).assign_coords(number=0)
    land = data.assign_coords(lat=("lat", 40 + 0.1 * np.arange(12), {"units": "degrees_north"}),
                              lon=("lon", 5 + 0.1 * np.arange(12), {"units": "degrees_east"}))  # fmt: skip
    with pytest.raises(OrbitError, match="looks like ERA5-Land"):
        model.downscale(land)


@pytest.mark.parametrize(
    ("height", "good"), [({"height": (2.0, "m")}, True), ({"height": (10.0, "m")}, False), ({"lev": (85000.0, "Pa")}, False)]
)
def test_a_field_of_another_height_is_not_taken(model: Downscaler, fields: xr.Dataset, height: dict[str, Any], good: bool) -> None:
    ((name, (value, units)),) = height.items()
    tas = fields["2m_temperature"].assign_coords({name: ((), value, {"units": units})})
    data = fields.drop_vars("2m_temperature").assign(tas=tas)
    if good:
        model.downscale(data)
    else:
        with pytest.raises(OrbitError, match=f"lies at a vertical level.*{name} {value:g} {units}"):
            model.downscale(data)


def test_the_users_words_are_kept(folder: Path, fields: xr.Dataset, tmp_path: Path) -> None:
    with xr.set_options(keep_attrs=True):
        theirs = fields.rename({"2m_temperature": "temp"}).assign_attrs(title="My run", history="2020: made", source="ERA5")
    theirs["temp"].attrs.update(comment="checked by hand", long_name="Air temperature", valid_range=[0.0, 1.0])
    theirs.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(SystemExit) as stop:
        main(["downscale", str(tmp_path / "in.nc"), "--model", str(folder), "-o", str(tmp_path / "out.zarr"),
              "--rename", "temp=2m_temperature"])  # fmt: skip
    assert stop.value.code == 0
    downscale_file(input=tmp_path / "in.nc", model=folder, out=tmp_path / "out.nc", said=_renamed())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = xr.open_zarr(tmp_path / "out.zarr")
    direct = load_model(folder).downscale(tmp_path / "in.nc", rename={"temp": "2m_temperature"})
    for made in (stored, direct, xr.open_dataset(tmp_path / "out.nc")):
        assert set(made.data_vars) == {"2m_temperature", "precipitation_rate"}, "bounds are coordinates"
        assert {"lat_bnds", "lon_bnds"} <= set(made.coords)
        about = made["2m_temperature"].attrs
        assert about["original_name"] == "temp" and about["comment"] == "checked by hand" and about["units"] == "K"
        assert about["long_name"] == "Air temperature" and "valid_range" not in about and about["standard_name"] == "air_temperature"
        assert made.attrs["title"] == "My run" and "of: ERA5" in made.attrs["source"]
        lines = made.attrs["history"].splitlines()
        assert lines[-1] == "2020: made" and "orbit2" in lines[0] and "random-00000000" in lines[0]
    assert json.loads(stored.attrs["provenance"])["stage"] == "downscale"


def test_of_a_prediction_downscaled_again_is_said_what_made_it_last(folder: Path, fields: xr.Dataset, tmp_path: Path) -> None:
    """Model, precision and version are those of the second prediction, in Python as in a file; what was warned of before still holds."""
    before = {"precision": "bf16", "model": "other", "model_hash": "11111111", "code_version": "0.0.1", "input_file": "old.nc",
              "refinement": 9, "weights": "their sum", "warnings": "units guessed", "title": "kept"}  # fmt: skip
    theirs = fields.assign_attrs(before)
    theirs.to_netcdf(tmp_path / "in.nc")
    model = load_model(folder)
    ours = {"precision": "fp32", "model": "random", "model_hash": "00000000", "refinement": model.refinement,
            "weights": model.about["sha256"]["weights.safetensors"], "code_version": code_version(), "title": "kept"}  # fmt: skip
    downscale_file(input=tmp_path / "in.nc", model=folder, out=tmp_path / "out.zarr")
    stored = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    for made in (model.downscale(theirs), stored):
        assert {key: made.attrs[key] for key in ours} == ours
        assert made.attrs["warnings"].splitlines()[0] == "units guessed"
    assert stored.attrs["input_file"] == "in.nc"
    assert load_model(folder, precision="bf16").downscale(theirs).attrs["precision"] == "bf16"


def _renamed() -> Any:
    from orbit2.downscale import Reading

    return Reading(rename={"temp": "2m_temperature"})


def test_rename_is_checked(model: Downscaler, fields: xr.Dataset) -> None:
    data = fields.rename({"2m_temperature": "temp"})
    with pytest.raises(OrbitError, match=r"is not in the input.*temp.*--rename NAME=2m_temperature"):
        model.downscale(data)
    with pytest.raises(OrbitError, match=r"not there.*did you mean 'temp'"):
        model.downscale(data, rename={"tempp": "2m_temperature"})
    with pytest.raises(OrbitError, match="unknown variable"):
        model.downscale(data, rename={"temp": "2m_temperatur"})


def test_two_variables_that_could_be_one_are_named(model: Downscaler, fields: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with xr.set_options(keep_attrs=True):
        both = fields.assign(tas=fields["2m_temperature"] + 1)
    assert "but tas could be it too; --rename says which" in model.downscale(both).attrs["warnings"]
    other = model.downscale(both, rename={"tas": "2m_temperature"})
    assert "warnings" not in other.attrs and other["2m_temperature"].attrs["original_name"] == "tas"


def test_an_hours_maximum_is_not_a_days(fields: xr.Dataset) -> None:
    from orbit2.door.naming import find

    hourly = fields.rename({"2m_temperature": "mx2t"})
    assert find(hourly, "2m_temperature_max_1hr", {}, "x").name == "mx2t"
    with pytest.raises(OrbitError, match=r"needed variable '2m_temperature_max'"):
        find(hourly, "2m_temperature_max", {}, "x")


def test_python_takes_paths_and_says_what_it_takes(model: Downscaler, fields: xr.Dataset, tmp_path: Path) -> None:
    fields.to_netcdf(tmp_path / "in.nc")
    assert np.array_equal(model.downscale(tmp_path / "in.nc")["2m_temperature"], model.downscale(str(tmp_path / "in.nc"))["2m_temperature"])
    with pytest.raises(OrbitError, match=r"one DataArray.*several variables.*give a Dataset"):
        model.downscale(fields["2m_temperature"])
    with pytest.raises(OrbitError, match=r"not data that can be downscaled.*ndarray"):
        model.downscale(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(OrbitError, match=r"s3://bucket/x\.zarr"):
        model.downscale("s3://bucket/x.zarr")
    assert len(repr(model)) < 250 and "random-00000000" in repr(model)


def test_the_folder_above_a_model_is_recognised(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model").symlink_to(folder)
    for config in (None, '{"label": "a slice"}'):
        if config:
            (tmp_path / "x" / "config.json").write_text(config)
        with pytest.raises(OrbitError, match=r"did you mean .*x/model"):
            load_model(tmp_path / "x")


def write_user_grib(file: Path, data: xr.Dataset) -> None:
    """Temperature as an analysis, precipitation as metres of the hour before."""
    north_first = data.sortby("lat", ascending=False)
    lat, lon = north_first["lat"].values, north_first["lon"].values
    with open(file, "wb") as out:
        for i, time in enumerate(north_first["time"].values):
            out.write(message(167, None, time, lat, lon, north_first["2m_temperature"].values[i]))
            out.write(message(228, None, time, lat, lon, north_first["precipitation_rate"].values[i] / 24000))


def test_grib_with_one_time_or_several(folder: Path, fields: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for times in (1, 2):
        part = fields.isel(time=slice(0, times))
        file = tmp_path / f"in{times}.grib"
        write_user_grib(file, part)
        before = sorted(tmp_path.iterdir())
        made = load_model(folder).downscale(file)
        assert sorted(tmp_path.iterdir()) == before, "no index is left beside it"
        expected = load_model(folder).downscale(part)
        assert (made["time"].values == expected["time"].values).all()
        assert np.abs(made["2m_temperature"].values - expected["2m_temperature"].values).max() < 0.05
        assert np.abs(made["precipitation_rate"].values - expected["precipitation_rate"].values).max() < 0.2
