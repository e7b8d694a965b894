"""Copying hours out of the ARCO store: values, regions, and every way in which an hour may not be there."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from orbit2.config.sources import Era5Config
from orbit2.errors import OrbitError
from orbit2.retrieve.clients.arco import ArcoClient
from orbit2.retrieve.clients.client import Transient
from orbit2.sources.era5 import Era5
from orbit2.sources.source import Need, Request
from tests.data.servers.arco import ArcoServer, store
from tests.data.servers.base import cut, status

DAY = np.datetime64("2020-01-01")


def field(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Different for each name, hour and cell."""
    hour = (times - np.datetime64("2020-01-01", "s")).astype(float)[:, None, None] / 3600
    values = (len(name) + hour / 100 + lat[None, :, None] / 1000 + lon[None, None] / 1e5) / (1e4 if "precipitation" in name else 1)
    return values + int(name.rsplit("_", 1)[1]) / 7 if name.rsplit("_", 1)[-1].isdigit() else values


def client() -> ArcoClient:
    return ArcoClient(timeout=5.0, backoff=0.02)


def planned(url: str, names: tuple[str, ...], *, day: np.datetime64 = DAY, box: tuple[float, ...] | None = None) -> list[Request]:
    return Era5(Era5Config(backend="arco", arco=url)).plan(Need(names, day, day, box))  # type: ignore[arg-type]


def test_a_day_of_surface_and_pressure_fields_has_the_stores_values(tmp_path: Path) -> None:
    names = ("2m_temperature", "precipitation_rate", "temperature_500", "temperature_850")
    with ArcoServer(field, "2020-01-01", 30) as server:
        requests = planned(server.store_url, names)
        assert sorted(len(r.variables) for r in requests) == [2, 2]
        reports: list[int] = []
        files = []
        for number, request in enumerate(requests):
            files.append(tmp_path / f"{number}.nc")
            facts = client().fetch(request, files[-1], lambda got, total: reports.append(got))
            assert facts["expver"] == "0001" and facts["url"] == server.store_url
            Era5(Era5Config()).check(files[-1], request)
        assert reports[-1] == requests[-1].bytes
    era5 = Era5(Era5Config())
    data = era5.open(files, names, np.datetime64("2020-01-01T00", "s"), np.datetime64("2020-01-01T23", "s"))
    times, lat, lon = data.time.values.astype("datetime64[s]"), data.lat.values, data.lon.values
    assert data.sizes == {"time": 24, "lat": 7, "lon": 12} and "expver" not in data.attrs
    np.testing.assert_allclose(data["2m_temperature"], field("2m_temperature", times, lat, lon), rtol=1e-6)
    np.testing.assert_allclose(data["precipitation_rate"], 24000 * field("total_precipitation", times, lat, lon), rtol=1e-6)
    np.testing.assert_allclose(data["temperature_850"], field("temperature_850", times, lat, lon), rtol=1e-6)


def test_a_region_across_greenwich_is_cut_out_and_the_file_has_one_hour_to_a_chunk(tmp_path: Path) -> None:
    url = f"file://{store(tmp_path / 'store', field, '2020-01-01', 24)}"
    (request,) = planned(url, ("2m_temperature",), box=(-30.0, 60.0, -60.0, 30.0))
    assert "m30to60N_m60to30E" in request.file
    client().fetch(request, tmp_path / "x.nc", lambda got, total: None)
    Era5(Era5Config()).check(tmp_path / "x.nc", request)
    with netCDF4.Dataset(tmp_path / "x.nc") as file:
        assert list(file["longitude"][:]) == [-60, -30, 0, 30] and list(file["latitude"][:]) == [60, 30, 0, -30]
        assert file["t2m"].chunking() == [1, 4, 4] and file["t2m"].filters()["zlib"]
        np.testing.assert_allclose(file["t2m"][3, 0, 0], field("2m_temperature", np.array(["2020-01-01T03"], "datetime64[s]"),
                                                                  np.array([60.0]), np.array([300.0]))[0, 0, 0], rtol=1e-6)


def test_preliminary_days_say_so(tmp_path: Path) -> None:
    url = f"file://{store(tmp_path / 'store', field, '2020-01-01', 48)}"
    (request,) = planned(url, ("2m_temperature",), day=DAY + 1)
    assert client().fetch(request, tmp_path / "x.nc", lambda got, total: None)["expver"] == "0005"
    data = Era5(Era5Config()).open([tmp_path / "x.nc"], ["2m_temperature"], request.first, request.last)
    assert "2020-01" in data.attrs["expver"]


@pytest.mark.parametrize("day", ["2019-12-31", "2020-01-03", "2020-01-04"])
def test_days_beyond_what_the_store_holds_are_refused_though_its_time_axis_has_them(tmp_path: Path, day: str) -> None:
    url = f"file://{store(tmp_path / 'store', field, '2020-01-01', 96)}"
    (request,) = planned(url, ("2m_temperature",), day=np.datetime64(day))
    with pytest.raises(OrbitError, match=r"does not hold this period.*allowed: 2020-01-01T00:00:00 to 2020-01-02T23:00:00"):
        client().fetch(request, tmp_path / "x.nc", lambda got, total: None)


def test_a_missing_chunk_is_an_error_and_not_a_field_of_nan_or_zero(tmp_path: Path) -> None:
    with ArcoServer(field, "2020-01-01", 24, missing=[("2m_temperature", 7), ("temperature", 9)]) as server:
        for request, hour in zip(planned(server.store_url, ("2m_temperature", "temperature_500")), ("T09", "T07"), strict=True):
            with pytest.raises(OrbitError, match=rf"lacks hours.*2020-01-01{hour}"):
                client().fetch(request, tmp_path / "x.nc", lambda got, total: None)


def test_reads_are_tried_again_and_give_up_as_transient(tmp_path: Path) -> None:
    with ArcoServer(field, "2020-01-01", 24) as server:
        (request,) = planned(server.store_url, ("2m_temperature",))
        server.script("2m_temperature/c/5", status(503), cut(20))
        client().fetch(request, tmp_path / "x.nc", lambda got, total: None)
        assert sum("2m_temperature/c/5/" in path for path in server.paths()) == 3
        server.script("2m_temperature/c/5", *[status(503)] * 9)
        with pytest.raises(Transient, match="failed"):
            client().fetch(request, tmp_path / "y.nc", lambda got, total: None)


def test_wrong_addresses_and_variables_are_named(tmp_path: Path) -> None:
    with ArcoServer(field, "2020-01-01", 24) as server:
        (request,) = planned(f"{server.url}/nothing", ("2m_temperature",))
        with pytest.raises(OrbitError, match="no Zarr store there"):
            client().fetch(request, tmp_path / "x.nc", lambda got, total: None)
        (request,) = planned(server.store_url, ("volumetric_soil_water_layer_1",))
        with pytest.raises(OrbitError, match="does not hold this variable"):
            client().fetch(request, tmp_path / "x.nc", lambda got, total: None)
