"""A time's fields as they are read: by several threads where they are large, in float32 where nothing is to be converted."""

import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2 import allowance
from orbit2.door import ingest
from orbit2.door.ingest import Inputs, read_inputs
from orbit2.door.regridding import ends
from orbit2.errors import OrbitError

LAT, LON = np.arange(-40, 41, 10.0), np.arange(0, 360, 20.0)
NAMES = ("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure")


def file(path: Path, **changes: np.ndarray) -> Path:
    """Celsius and hPa are converted, winds are as they are."""
    draw = np.random.default_rng(0)
    shape = (3, len(LAT), len(LON))
    units = {"t2m": ("degC", 10), "u10": ("m s-1", 0), "v10": ("m s-1", 0), "msl": ("hPa", 1010)}
    fields = {name: changes.get(name, draw.normal(middle, 5, shape)).astype(np.float32) for name, (_, middle) in units.items()}
    axes = {"time": np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[ns]"),
            "lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})}  # fmt: skip
    data = {name: (("time", "lat", "lon"), values, {"units": units[name][0]}) for name, values in fields.items()}
    xr.Dataset(data, axes).to_netcdf(path)
    return path


def inputs(path: Path) -> Inputs:
    return read_inputs(xr.open_dataset(path, chunks=None, cache=False), NAMES, path)


@pytest.mark.parametrize("threads", [1, 3])
def test_values_are_those_of_the_file_in_canonical_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    path, used = file(tmp_path / "in.nc"), set[str]()
    plain = Inputs._read

    together = threading.Barrier(2)

    def read(self: Inputs, *given: object) -> None:
        used.add(threading.current_thread().name)
        if threads > 1:
            together.wait(60)  # two are at it at once, else nobody goes on
        plain(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Inputs, "_read", read)
    monkeypatch.setattr(ingest, "LARGE", 1)
    monkeypatch.setattr(allowance, "threads", lambda: threads)
    found, data = inputs(path).frame(1), xr.open_dataset(path)
    expected = [data["t2m"][1].values.astype(np.float64) + 273.15, data["u10"][1].values, data["v10"][1].values,
                data["msl"][1].values.astype(np.float64) * 100]  # fmt: skip
    assert found.dtype == np.float32
    for field, truth in zip(found, expected, strict=True):
        np.testing.assert_array_equal(field, truth.astype(np.float32))
    assert (len(used) > 1) == (threads > 1)
    part = inputs(path).cells(1, np.array([2, 3]), np.array([17, 0, 1]))
    np.testing.assert_array_equal(part, found[:, 2:4][..., [17, 0, 1]])


def test_of_several_faults_the_first_variables_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LARGE", 1)
    monkeypatch.setattr(allowance, "threads", lambda: 4)
    empty = np.full((3, len(LAT), len(LON)), np.nan)
    with pytest.raises(OrbitError, match=r"v10.*(?s:.)*no valid value"):
        inputs(file(tmp_path / "a.nc", v10=empty, msl=empty)).frame(0)
    filled = np.full(empty.shape, 3.0)
    filled[:, :2] = -9999
    with pytest.raises(OrbitError, match="'u10' holds -9999 36 times"):
        inputs(file(tmp_path / "b.nc", u10=filled, msl=empty)).frame(0)
    with pytest.raises(OrbitError, match=r"values of 'msl' are not plausible.*got '1e\+06"):
        inputs(file(tmp_path / "c.nc", msl=np.full(empty.shape, 1e4))).frame(0)


def test_ends_are_of_what_is_finite() -> None:
    assert ends(np.array([])) is None and ends(np.array([np.nan, np.inf])) is None
    assert ends(np.array([1.0, -2.0, 7.0])) == (-2.0, 7.0)
    assert ends(np.array([[np.nan, 3.0], [-np.inf, 4.0]], dtype=np.float32)) == (3.0, 4.0)
