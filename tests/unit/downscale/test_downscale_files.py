"""`orbit2 downscale FILE`: other names, units, axis orders; clear refusals; resumable output."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import orbit2.downscale.predictor as predictor
from orbit2.data.pairs import PairStore
from orbit2.downscale import downscale_file, load_model
from orbit2.errors import OrbitError
from tests.data.tiny_training import Tiny


@pytest.fixture
def user(tiny: Tiny) -> xr.Dataset:
    """Two frames of the coarse fields as somebody else would write them."""
    data = PairStore(tiny.store).dataset("coarse").isel(time=[10, 11]).load()
    return data


def foreign(data: xr.Dataset) -> xr.Dataset:
    """CMIP names, degrees Celsius, kg m-2 s-1, north to south, -180..180."""
    tas = (data["2m_temperature"] - 273.15).rename("tas").assign_attrs(units="degC")
    pr = (data["precipitation_rate"] / 86400).rename("pr").assign_attrs(units="kg m-2 s-1")
    other = xr.merge([tas, pr]).rename(lat="latitude", lon="longitude", time="valid_time")
    other = other.assign_coords(longitude=(other["longitude"] + 180) % 360 - 180).sortby("longitude")
    return other.sortby("latitude", ascending=False).drop_encoding()


def test_foreign_names_units_and_order_give_the_same_answer(user: xr.Dataset, model: Path, tmp_path: Path) -> None:
    user.drop_encoding().to_netcdf(tmp_path / "mine.nc")
    foreign(user).to_netcdf(tmp_path / "theirs.nc")
    downscale_file(input=tmp_path / "mine.nc", model=model, out=tmp_path / "a.zarr")
    downscale_file(input=tmp_path / "theirs.nc", model=model, out=tmp_path / "b.nc")
    first = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    second = xr.open_dataset(tmp_path / "b.nc", engine="netcdf4")
    assert first["2m_temperature"].shape == (2, 48, 96) and first.attrs["finalised"]
    assert np.abs(first["2m_temperature"].values - second["2m_temperature"].values).max() < 1e-2
    assert np.abs(first["precipitation_rate"].values - second["precipitation_rate"].values).max() < 1e-3
    assert first["precipitation_rate"].attrs["units"] == "mm day-1" and float(first["precipitation_rate"].min()) >= 0
    assert first["lat"].values[0] < 0 < first["lat"].values[-1] and first["lat"].attrs["bounds"] == "lat_bnds"


def test_zarr_input_and_python_interface_agree(user: xr.Dataset, model: Path, tmp_path: Path) -> None:
    user.drop_encoding().to_zarr(tmp_path / "in.zarr", zarr_format=3, consolidated=False)
    downscale_file(input=tmp_path / "in.zarr", model=model, out=tmp_path / "out.zarr")
    direct = load_model(model).downscale(user)
    stored = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    assert np.array_equal(direct["2m_temperature"].values, stored["2m_temperature"].values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("precipitation_rate"), "needed variable 'precipitation_rate'.*is not in the input"),
        (lambda d: d.assign(precipitation_rate=d["precipitation_rate"].assign_attrs(units="furlongs")), "furlongs"),
        (lambda d: d.assign(precipitation_rate=d["precipitation_rate"].drop_attrs()), "has no units"),
        (lambda d: d.assign({"2m_temperature": d["2m_temperature"] * np.nan}), "missing \\(NaN\\) everywhere"),
        (lambda d: d.assign({"2m_temperature": d["2m_temperature"] - 273.15}), "not plausible"),
        (lambda d: d.rename(lat="north"), "no latitude coordinate"),
        (lambda d: d.isel(lat=[0, 1, 3, 5]), "spacing is not uniform"),
    ],
)
def test_unusable_input_is_refused_in_one_line(user: xr.Dataset, model: Path, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with xr.set_options(keep_attrs=True):
        changed = change(user)
    for name in changed.data_vars:
        changed[name].attrs.setdefault("standard_name", "")
    if "furlongs" not in message:
        changed["lat" if "lat" in changed.coords else "north"].attrs.clear()
    changed.drop_encoding().to_netcdf(tmp_path / "bad.nc")
    with pytest.raises(OrbitError, match=message) as caught:
        downscale_file(input=tmp_path / "bad.nc", model=model, out=tmp_path / "out.nc")
    assert "\n" not in str(caught.value) and not (tmp_path / "out.nc").exists()


def test_not_a_data_file_and_not_a_model(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_text("hello")
    with pytest.raises(OrbitError, match="cannot be read"):
        downscale_file(input=tmp_path / "x.nc", model=model, out=tmp_path / "o.nc")
    with pytest.raises(OrbitError, match="not a model folder"):
        downscale_file(input=tmp_path / "x.nc", model=tmp_path, out=tmp_path / "o.nc")
    with pytest.raises(OrbitError, match=r"\.zarr or \.nc"):
        downscale_file(input=tmp_path / "x.nc", model=model, out=tmp_path / "o.txt")


def test_damaged_weights_are_refused(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in model.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    data = bytearray((copy / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(bytes(data))
    with pytest.raises(OrbitError, match="damaged"):
        load_model(copy)


def test_interrupted_run_resumes_item_by_item(user: xr.Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.drop_encoding().to_netcdf(tmp_path / "in.nc")
    whole = load_model(model).downscale(user)
    original = predictor.Downscaler.submit
    calls: list[int] = []

    def fails_on_the_second(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(predictor.Downscaler, "submit", fails_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "out.zarr")
    assert zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["finalised"] is False
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "out.zarr")
    assert len(calls) == 3
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "out.zarr")
    assert len(calls) == 3, "a finished store is left as it is"
    result = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    assert np.array_equal(result["2m_temperature"].values, whole["2m_temperature"].values)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.nc", "out.zarr"]
