"""Recipes on maps, in small, from `retrieve` to the report: WRF's nested domains, a CORDEX model beside a reanalysis, in this process;
WRF's by Snakemake, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from orbit2.config.load import CONFIG_ROOT, from_mapping
from orbit2.data.pairs import PairStore
from orbit2.grid import ProjectedGrid, named
from tests.data import map_archive
from tests.data.own_archive import Walked, call, walk
from tests.unit.regrid.test_own_maps import WINDS, expected
from tests.workflow.conftest import Project

NAMES = ["2m_temperature", *WINDS]
NETWORK = {"embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 4, "residual_blocks": 1, "conserve": False}
WRF = {"coarse": "wrf/wrfout_d01_*.nc", "fine": "wrf/wrfout_d02_*.nc", "statics": "wrf/wrfout_d02_2001-01.nc",
       "day_starts": {"coarse": 0, "fine": 0}, "credit": "a regional model"}  # fmt: skip
CORDEX = {"coarse": "era.nc", "fine": "cordex/*.nc", "statics": "fixed.nc", "day_starts": {"coarse": 0, "fine": 0},
          "credit": "a regional model"}  # fmt: skip


def recipe(files: dict[str, Any], coarse: str, factor: int) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((CONFIG_ROOT / "runs/own_data.yaml").read_text(encoding="utf-8"))
    raw["datasets"]["mine"] |= {"inputs": NAMES, "outputs": NAMES, "files": files, "split": map_archive.SPLIT, "coarse_grid": coarse,
                                "samples_per_part": 64, "samples_per_shard": 64}  # fmt: skip
    few = {"steps": 4, "batch_size": 2, "validate_every": 2}
    raw["models"]["reslim"] |= {"architecture": {**NETWORK, "refinement": factor}, "train": few}
    raw["evaluate"] = {"bootstrap": 20, "spectra_bands": [], "spectra_boxes": {}}
    return raw


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wrf", "cordex"])
def test_a_recipe_on_a_map_is_walked(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage works on the map: fields, output and scores are those of the formulas; a file on the map is predicted there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    map_archive.write_wrf(Path("wrf")) if case == "wrf" else map_archive.write_cordex(Path())
    done = walk(from_mapping(recipe(WRF, "from_files", 3) if case == "wrf" else recipe(CORDEX, "coarsen_4", 4)))
    pairs, fine = done.pairs, named(done.run.datasets["mine"].fine_grid)
    dims = ("y", "x") if case == "wrf" else ("rlat", "rlon")
    assert pairs.grid("fine").same_as(fine) and fine.dims == dims
    for name in NAMES:
        day = int(map_archive.numbers(pairs.times[-1:])[0])
        field = pairs.read("fine", len(pairs.times) - 1)[pairs.variable_index("fine", name)]
        np.testing.assert_allclose(field, expected(name, day, fine), atol=5e-3)
    made = xr.open_zarr(str(done.home / "downscale/test.zarr"), consolidated=False, decode_coords="all")
    assert made["2m_temperature"].dims == ("time", *dims) and made.sizes["time"] == 6
    np.testing.assert_allclose(made["lat"], fine.lat2d)
    scores = pd.read_parquet(done.home / "evaluate/metrics.parquet")
    rows = scores[(scores.metric == "rmse") & (scores.space == "physical") & (scores.season == "all") & (scores.region == "domain")]
    rmse = rows.set_index(["variable", "model"])["value"]
    for name in NAMES:  # smooth fields: bilinear is nearly right, nearest is wrong by a quarter of a coarse cell
        truth = np.stack([expected(name, int(day), fine) for day in map_archive.numbers(pairs.times[-6:])])
        own = np.sqrt(np.average((made[name].values - truth) ** 2, weights=np.broadcast_to(fine.area_km2, truth.shape)))
        assert rmse[name, "reslim"] == pytest.approx(own, rel=2e-2, abs=2e-3)
        assert rmse[name, "bilinear"] < 0.6 * rmse[name, "nearest"]
    page = (done.home / "report/index.html").read_text(encoding="utf-8")
    assert "a regional model" in page
    _file_on_the_map(done, case)


@pytest.mark.slow
def test_snakemake_runs_a_lambert_map_to_the_report(tmp_path: Path) -> None:
    project = Project(tmp_path)
    map_archive.write_wrf(tmp_path / "wrf")
    (tmp_path / "config/runs/map.yaml").write_text(yaml.safe_dump(recipe(WRF, "from_files", 3)), encoding="utf-8")
    options = ("--configfile", "config/runs/map.yaml")
    project("all", *options, timeout=900)
    (folder,) = (tmp_path / "results/data").glob("mine-????????")
    fine = PairStore(folder / "pairs.zarr").grid("fine")
    assert isinstance(fine, ProjectedGrid) and not fine.rotated and fine.shape == (27, 33)
    home = tmp_path / "results/own_data"
    made = xr.open_zarr(str(home / "downscale/test.zarr"), consolidated=False, decode_coords="all")
    assert made["2m_temperature"].dims == ("time", "y", "x")
    np.testing.assert_allclose(made["lat"], fine.lat2d)
    assert np.isfinite(made["2m_temperature"].values).all()
    page = (home / "report/index.html").read_text(encoding="utf-8")
    assert "a regional model" in page and not pd.read_parquet(home / "evaluate/metrics.parquet").empty
    assert project.planned("all", *options) == {}


def _file_on_the_map(done: Walked, case: str) -> None:
    """`orbit2 downscale FILE` of the model's own coarse cells, as a regional model writes them (WRF: winds along the map): on these cells,
    with the statics that the model carries, as the task from the store."""
    grid, last = done.pairs.grid("coarse"), map_archive.days()[-1:]
    assert isinstance(grid, ProjectedGrid)
    given = map_archive.wrfout(grid, last) if case == "wrf" else map_archive.cordex(grid, last)
    given.to_netcdf("given.nc", engine="netcdf4", encoding=map_archive.units_of_time(given))
    call("downscale", "given.nc", "--model", str(done.model), "-o", "out.nc")
    with xr.open_dataset("out.nc", decode_coords="all") as made:
        assert made["2m_temperature"].dims == ("time", *grid.dims) and made["2m_temperature"].shape[1:] == done.pairs.grid("fine").shape
        task = xr.open_zarr(str(done.home / "downscale/test.zarr"), consolidated=False)
        for name in NAMES:
            np.testing.assert_allclose(made[name].values[-1], task[name].values[-1], atol=0.08)
    if case == "cordex":  # latitudes and longitudes: there, with the model's own statics averaged to them
        map_archive.reanalysis(last, np.arange(44.0, 41.9, -0.5)).sel(longitude=slice(7, 11)).to_netcdf("plain.nc")
        call("downscale", "plain.nc", "--model", str(done.model), "-o", "plain_out.nc")
        with xr.open_dataset("plain_out.nc") as plain:
            assert plain["2m_temperature"].shape == (1, 20, 36) and np.isfinite(plain["2m_temperature"]).all()
