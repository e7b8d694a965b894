"""Own files beside a provider's, and what else the table of docs/own_data.md promises: each row's keys, built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.data.pairs import PairStore
from orbit2.sources import manifest
from tests.data import own_archive, prism_files
from tests.data.era5_dataset import relist
from tests.data.own_archive import FINE_LAT, FINE_LON, build, product, warmth
from tests.data.servers.prism import PrismServer

SPLIT = {"train": {"start": "2001-01-01", "end": "2001-01-08"}, "validation": {"start": "2001-01-10", "end": "2001-01-11"},
         "test": {"start": "2001-01-13", "end": "2001-01-14"}, "gap_days": 0}  # fmt: skip
WARM = ["2m_temperature"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    product(FINE_LAT, FINE_LON, "2001-01-01", "2001-01-14").to_netcdf("fine.nc", engine="h5netcdf")
    return tmp_path


def raw(names: list[str] = WARM, **changes: Any) -> dict[str, Any]:
    run = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    run["datasets"]["mine"] |= {"inputs": names, "outputs": names, "files": {"fine": "fine.nc"}, "split": SPLIT, "coarse_grid": "coarsen_4",
                                "fine_grid": "from_files", "samples_per_part": 64, "samples_per_shard": 64, **changes}  # fmt: skip
    return dict(run)


def right(pairs: PairStore, side: Any, formula: Any = warmth, atol: float = 0.02) -> None:
    grid = pairs.grid(side)
    for index in (0, len(pairs.times) - 1):
        day = (pairs.times[index].astype("datetime64[D]") - np.datetime64("2001-01-01")).astype(int)
        np.testing.assert_allclose(pairs.read(side, index)[0], formula(day, grid.lat2d, grid.lon2d), atol=atol)


def test_observations_with_era5_as_their_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`input_sources: {era5: [...]}`: the hours of the provider's files become days, in blocks of the observations' cells."""
    folder = Path("resources/era5") / manifest.VERSION
    folder.mkdir(parents=True)
    lat, lon = np.arange(48.0, 37.9, -0.25), np.arange(3.0, 15.1, 0.25)
    hours = np.datetime64("2001-01-01", "ns") + np.arange(14 * 24) * np.timedelta64(1, "h")
    daily = warmth(np.arange(14)[:, None, None], lat[None, :, None], lon[None, None])
    t2m = np.repeat(daily, 24, axis=0) + 3 * np.sin(2 * np.pi * np.arange(14 * 24) / 24)[:, None, None]  # of mean nought over a day
    xr.Dataset({"t2m": (("valid_time", "latitude", "longitude"), t2m.astype("float32"), {"units": "K"})},
               {"valid_time": hours, "latitude": lat, "longitude": lon}).to_netcdf(folder / "hours.nc", engine="h5netcdf")  # fmt: skip
    relist(folder)
    real = own_archive.call
    monkeypatch.setattr(own_archive, "call", lambda *given, code=0: None if given[:2] == ("retrieve", "era5") else real(*given, code=code))
    run = from_mapping(raw(input_sources={"era5": WARM}, frequency="daily"))
    assert run.datasets["mine"].sources == ("files", "era5")
    pairs = build(run)
    assert len(pairs.times) == 14
    right(pairs, "fine")
    right(pairs, "coarse", atol=0.03)


def test_own_coarse_files_for_a_provider_s_truth(here: Path) -> None:
    """`source: prism` with `coarse_files`: the provider's days are fetched, and each side holds its own source's formula."""
    data = product(np.arange(35.5, 43.0), np.arange(4.5, 14.0), "2001-01-01", "2001-01-14")
    data.assign_coords(lon=data["lon"] + 246).to_netcdf("coarse.nc", engine="h5netcdf")  # the formula of Europe, over the US
    window = prism_files.Window(south=38 - 2 / 24, west=-107 - 2 / 24, rows=53, columns=77)

    def served(element: str, day: str) -> bytes:
        number = int(day) - 20010101
        field = warmth(number, window.lat[:, None], window.lon[None] + 114) + 6 - 273.15
        return prism_files.write_bil_zip(here / f"{day}.zip", element, day, field, window=window).read_bytes()

    with PrismServer(served) as server:
        changes = {"source": "prism", "inputs": WARM, "outputs": ["2m_temperature_max"], "input_sources": {"coarse_files": WARM},
                   "files": {"coarse": "coarse.nc"}, "coarse_grid": "us_60@38,40,253,256", "fine_grid": "us_15@38,40,253,256",
                   "frequency": "daily"}  # fmt: skip
        run = from_mapping(raw(**changes) | {"sources": {"prism": {"url": server.url}, "transfer": {"backoff_seconds": 0.05}}})
        mine = run.datasets["mine"]
        assert set(mine.sources) == {"prism", "coarse_files"} and mine.source_of(WARM[0]) == "coarse_files" and mine.step_hours == 24
        pairs = build(run)
    assert len(pairs.times) == 14 and pairs.usable.all()
    right(pairs, "coarse", lambda day, lat, lon: warmth(day, lat, lon - 246), 0.03)
    right(pairs, "fine", lambda day, lat, lon: warmth(day, lat, lon - 246) + 6, 0.03)


def test_rows_on_the_poles_are_averaged_to_a_named_grid(here: Path) -> None:
    lat, lon = np.arange(90.0, -90.1, -2.5), np.arange(0.0, 360.0, 2.5)
    days = np.datetime64("2001-01-01", "ns") + np.arange(14) * np.timedelta64(1, "D")
    field = np.broadcast_to((280 + 0.1 * lat)[None, :, None], (14, len(lat), len(lon))).astype("float32")
    xr.Dataset({"tas": (("time", "lat", "lon"), field, {"units": "K"})},
               {"time": days, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
               ).to_netcdf("poles.nc", engine="h5netcdf")  # fmt: skip
    pairs = build(from_mapping(raw(files={"fine": "poles.nc"}, fine_grid="global_5.0", coarse_grid="global_20.0")))
    assert pairs.grid("fine").shape == (36, 72)
    right(pairs, "fine", lambda _, lat, lon: 280 + 0.1 * lat + 0 * lon, 0.1)
    south = 280 - 0.1 * np.average([90, 87.5, 85], weights=[1.25**2, 3.75**2 - 1.25**2, 5**2 - 3.75**2])  # the pole's row is half as high
    np.testing.assert_allclose(pairs.read("fine", 3)[0, 0], south, atol=0.01)


def test_amounts_of_a_day_become_rates(here: Path) -> None:
    """`files.accumulated`: what a model wants in mm a day and a file has in mm of 12 hours, under a name of its own."""
    data = product(FINE_LAT, FINE_LON, "2001-01-01", "2001-01-14")
    (data[["rr"]] / 2).assign(rr=(data["rr"] / 2).assign_attrs(units="mm")).rename(rr="RAINNC").to_netcdf("rain.nc", engine="h5netcdf")
    files = {"fine": "rain.nc", "rename": {"RAINNC": "precipitation_rate"}, "accumulated": "12h"}
    pairs = build(from_mapping(raw(["precipitation_rate"], files=files)))
    right(pairs, "fine", own_archive.rain, 0.05)


def test_statics_are_found_under_the_names_that_the_user_gives(here: Path) -> None:
    """`files.rename` counts for statics too: a height and a field of one's own, which is declared."""
    lat, lon = np.meshgrid(FINE_LAT, FINE_LON, indexing="ij")
    place = {"lat": ("lat", FINE_LAT, {"units": "degrees_north"}), "lon": ("lon", FINE_LON, {"units": "degrees_east"})}
    dims = ("lat", "lon")
    fields = {"TERRAIN": (dims, 100 * (lat - 39), {"units": "m"}), "GLAC": (dims, (lon - 4) / 10, {"units": "1"})}
    xr.Dataset(fields, place).to_netcdf("st.nc")
    files = {"fine": "fine.nc", "statics": "st.nc", "rename": {"TERRAIN": "orography", "GLAC": "ice_share"}}
    declared = {"ice_share": {"standard_name": "land_ice_area_fraction", "units": "1", "range": [0, 1], "kind": "static"}}
    pairs = build(from_mapping({**raw(files=files, statics=["orography", "ice_share"]), "variables": declared}))
    grid, held = pairs.grid("fine"), pairs.static_values("fine")
    np.testing.assert_allclose(held[pairs.statics("fine").index("orography")], 100 * (grid.lat2d - 39), rtol=1e-3)
    np.testing.assert_allclose(held[pairs.statics("fine").index("ice_share")], (grid.lon2d - 4) / 10, rtol=1e-3)
