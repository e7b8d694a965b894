"""`orbit2 evaluate A B` of products on map projections: the same cells as they are, others averaged by area onto the coarser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.areas import relative_areas
from orbit2.baselines.interpolation import block_mean
from orbit2.door.ingest import Reading
from orbit2.grid import AnyGrid, uniform
from orbit2.judge import run
from orbit2.metrics import table
from tests.data.map_grids import lambert, rotated
from tests.data.scored import weather

DAYS = 4


def written(path: Path, grid: AnyGrid, values: np.ndarray) -> Path:
    """Temperature [T, H, W] on a grid, as CF files have it."""
    times = np.datetime64("2019-02-20T12", "ns") + np.arange(DAYS) * np.timedelta64(1, "D")
    data = {"t2m": (("time", *grid.dims), values.astype(np.float32), {"units": "K", **grid.field_attributes})}
    xr.Dataset(data, coords={"time": times, **grid.coordinates()}).to_netcdf(path)
    return path


def fields(grid: AnyGrid) -> np.ndarray:
    return np.stack([weather(grid, i)[0] for i in range(DAYS)]).astype(np.float64)


@pytest.mark.parametrize("make", [lambert, pytest.param(rotated, marks=pytest.mark.slow)])
def test_the_same_map_is_judged_as_it_is_and_a_finer_one_by_its_means(make, tmp_path: Path) -> None:
    coarse = make()
    fine = coarse.refine(3)
    truth, noise = fields(fine), np.random.default_rng(0).normal(0.5, 1, (DAYS, *fine.shape))
    means = block_mean(truth, relative_areas(fine), 3)
    judged, area = block_mean(truth + noise, relative_areas(fine), 3), coarse.area_km2
    run(judged=written(tmp_path / "a.nc", coarse, judged), truth=written(tmp_path / "b.nc", fine, truth), baselines=[],
        out=tmp_path / "out", said=Reading())  # fmt: skip
    frame = table.read(tmp_path / "out/metrics.parquet")
    found = frame[(frame.variable == "2m_temperature") & (frame.region == "domain") & (frame.season == "all")].set_index("metric").value
    error = judged - means
    assert found["rmse"] == pytest.approx(np.sqrt(np.average(error**2, weights=np.broadcast_to(area, error.shape))), rel=1e-4)
    assert found["bias"] == pytest.approx(np.average(error, weights=np.broadcast_to(area, error.shape)), rel=1e-3)
    assert json.loads((tmp_path / "out/judged.json").read_text())["grid"].split(" (")[0] == coarse.describe().split(" (")[0]


def test_a_map_and_latitudes_meet_on_the_coarser(tmp_path: Path) -> None:
    """A constant offset is the bias whatever the grids; the whole of the finer map under the coarser cells counts."""
    coarse, fine = uniform(32, 48, 120, 140, 8, 10), lambert().refine(4)
    run(judged=written(tmp_path / "a.nc", fine, np.full((DAYS, *fine.shape), 281.0)),
        truth=written(tmp_path / "b.nc", coarse, np.full((DAYS, *coarse.shape), 280.0)), baselines=[], out=tmp_path / "out",
        said=Reading())  # fmt: skip
    frame = table.read(tmp_path / "out/metrics.parquet")
    found = frame[(frame.variable == "2m_temperature") & (frame.region == "domain") & (frame.season == "all")].set_index("metric")
    assert found.value["bias"] == pytest.approx(1.0, abs=1e-4) and found.n["bias"] == DAYS * 80
