"""A user's archive in small: two daily products on grids of their own, values known from a formula, under names and units of their own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.config import slices
from orbit2.config.load import merge
from orbit2.config.schema import RunConfig
from orbit2.data.pairs import PairStore
from orbit2.files import write_json
from orbit2.regrid.parts import plan_parts

FIRST, LAST = "2001-01-01", "2001-05-31"
FINE_LAT, FINE_LON = np.arange(39.875, 46.2, 0.25), np.arange(4.875, 13.2, 0.25)  # a cell more than whole degrees on each side
COARSE_LAT, COARSE_LON = np.arange(37.5, 49.0), np.arange(2.5, 16.0)


def warmth(day: npt.ArrayLike, lat: npt.ArrayLike, lon: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Kelvin; linear in latitude and longitude, so that a cell's mean is the value at its centre."""
    day, lat, lon = (np.asarray(value, dtype=np.float64) for value in (day, lat, lon))
    return 283 + 8 * np.sin(day / 30) - 0.6 * (lat - 43) + 0.3 * (lon - 9) * np.cos(day / 5)


def rain(day: npt.ArrayLike, lat: npt.ArrayLike, lon: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """mm a day, never zero."""
    day, lat, lon = (np.asarray(value, dtype=np.float64) for value in (day, lat, lon))
    return 6 + 2 * np.sin(day / 3) + 0.5 * (lat - 43) + 0.2 * (lon - 9)


def product(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64], first: str, last: str) -> xr.Dataset:
    days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    at = (days - np.datetime64("2001-01-01")).astype(int)[:, None, None], lat[None, :, None], lon[None, None, :]
    dims = ("time", "lat", "lon")
    warm, wet = (warmth(*at) - 273.15).astype("float32"), rain(*at).astype("float32")
    return xr.Dataset(
        {"tas": (dims, warm, {"units": "degC"}), "rr": (dims, wet, {"units": "mm"})},
        {"time": days.astype("datetime64[ns]"), "lat": ("lat", lat, {"units": "degrees_north"}),
         "lon": ("lon", lon, {"units": "degrees_east"})},
    )  # fmt: skip


def write(folder: Path, first: str = FIRST, last: str = LAST) -> None:
    """`coarse/` by variable, latitude from north to south; `fine/` by month, days stamped at noon; `orography.nc`."""
    for side in ("coarse", "fine"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    coarse = product(COARSE_LAT, COARSE_LON, first, last).isel(lat=slice(None, None, -1))
    for name in ("tas", "rr"):
        coarse[[name]].to_netcdf(folder / f"coarse/{name}.nc", engine="h5netcdf")
    fine = product(FINE_LAT, FINE_LON, first, last)
    fine = fine.assign_coords(time=fine["time"] + np.timedelta64(12, "h"))
    for month, part in fine.groupby(fine["time"].dt.strftime("%Y%m").rename("month")):
        part.to_netcdf(folder / f"fine/daily_{month}.nc", engine="h5netcdf")
    height = 200 * (FINE_LAT[:, None] - 39) + 10 * FINE_LON[None, :]
    xr.Dataset({"orog": (("lat", "lon"), height.astype("float32"), {"units": "m"})},
               {"lat": ("lat", FINE_LAT, {"units": "degrees_north"}), "lon": ("lon", FINE_LON, {"units": "degrees_east"})}
               ).to_netcdf(folder / "orography.nc")  # fmt: skip


def build(run: RunConfig, name: str = "mine") -> PairStore:
    """Through the command line: retrieve, init, parts, finalise."""
    folder, store = Path(slices.dataset_folder(run, name)), slices.store(run, name)
    write_json(folder / "config.json", slices.whole(run, "dataset", name))
    for source in slices.receipts(run, name):
        asks = merge(slices.retrieve(run, source, name), slices.machine_keys(run, "retrieve", source, name))
        write_json(Path(f"requests/{source}.json"), asks)
        asked = ("-c", f"requests/{source}.json", "--receipt", f"requests/{source}.done.json")
        call("retrieve", source, *asked, "--out", f"resources/{source}/v1")
    common = ("-c", str(folder / "config.json"), "--store", store)
    call("regrid", "init", *common, "--resources", "resources", "--out", str(folder / "parts/init.json"))
    for part in plan_parts(run.datasets[name]):
        call("regrid", "part", *common, "--resources", "resources", "--part", part.id, "--out", str(folder / f"parts/{part.id}.json"))
    call("regrid", "finalise", *common, "--out", str(folder / "finalised.json"), str(folder / "parts"))
    return PairStore(store)


def call(*arguments: str, code: int = 0) -> None:
    """A command line in this process, which ends with this code."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert int(stop.value.code or 0) == code, arguments


class Walked(NamedTuple):
    """A run that went through every stage."""

    run: RunConfig
    pairs: PairStore
    home: Path
    model: Path


def walk(run: RunConfig) -> Walked:
    """Every stage in this process, in the current folder: seconds instead of the minutes that as many interpreters need to start."""
    pairs = build(run)
    data, home, model = Path(slices.dataset_folder(run, "mine")), Path(slices.run_folder(run)), slices.model_folder(run, "reslim")
    store = ("--store", slices.store(run, "mine"))
    call("statistics", "-c", f"{data}/config.json", *store, "--out", f"{data}/statistics.json")
    write_json(Path(f"{model}/config.json"), slices.whole(run, "model", "reslim"))
    call("train", "-c", f"{model}/config.json", "--store", f"mine={store[1]}", "--statistics", f"mine={data}/statistics.json",
         "--out", f"{model}/model", "--checkpoints", f"{model}/checkpoints")  # fmt: skip
    for stage in ("downscale", "evaluate", "diagnose"):
        write_json(home / f"config/{stage}_test.json", slices.whole(run, stage, "test"))
    write_json(home / "config/report.json", slices.whole(run, "report"))
    prediction = f"{home}/downscale/test.zarr"
    call("downscale", "-c", f"{home}/config/downscale_test.json", *store, "--model", f"{model}/model", "--out", prediction)
    call("evaluate", "fit", "-c", f"{data}/config.json", *store, "--out", str(slices.fits(run, "test")))
    scored = ("--prediction", prediction, *store, "--fits", str(slices.fits(run, "test")))
    call("evaluate", "-c", f"{home}/config/evaluate_test.json", *scored, "--out", f"{home}/evaluate/test")
    call("evaluate", "merge", f"{home}/evaluate/test/metrics.parquet", "--out", f"{home}/evaluate/metrics.parquet")
    call("diagnose", "-c", f"{home}/config/diagnose_test.json", *scored, "--out", f"{home}/diagnose/test")
    call("diagnose", "merge", f"{home}/diagnose/test/regions.parquet", "--out", f"{home}/diagnose/metrics.parquet")
    call("report", "-c", f"{home}/config/report.json", "--out", f"{home}/report")
    return Walked(run, pairs, home, Path(f"{model}/model"))
