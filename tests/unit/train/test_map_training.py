"""A model is trained and applied on its own map projection: areas, places and coordinates come from the grid, not from rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from orbit2 import downscale
from orbit2.baselines.interpolation import block_mean
from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, spelled, uniform
from orbit2.metrics.predictions import grid_of
from orbit2.model import folder
from orbit2.model.geometry import Geometry, token_centres
from orbit2.sources.static import open_static
from orbit2.sources.static_maps import slope as map_slope
from orbit2.statistics.stage import side_statistics
from orbit2.train import run
from tests.data import small_downscaling, tiny_training
from tests.data.map_grids import lambert, rotated

Trained = tuple[tiny_training.Tiny, Path, AnyGrid]


@pytest.fixture(scope="module", params=["lambert", pytest.param("rotated", marks=pytest.mark.slow)])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A store on such a grid and a conserving model trained on it, on tiles, with moved grids and a memory of places: (store, model folder,
    coarse grid)."""
    grid = lambert() if request.param == "lambert" else rotated()
    place = tmp_path_factory.mktemp(request.param)
    tiny = tiny_training.build(place, grid)
    config = tiny.slice(place / "m.json", tile=6, halo=2, steps=2, validate_every=2, site_memory=True)
    section = json.loads(config.read_text())
    section["architecture"]["conserve"] = section["model"]["architecture"]["conserve"] = True
    config.write_text(json.dumps(section))
    run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=place / "model",
        checkpoints=place / "checkpoints")  # fmt: skip
    return tiny, place / "model", grid


def test_a_store_says_what_its_grid_is(trained: Trained) -> None:
    tiny, _, grid = trained
    store = PairStore(tiny.store)
    assert store.grid("coarse").digest == grid.digest and store.grid("fine").digest == grid.refine(4).digest
    shown = store.dataset("fine")
    assert shown["2m_temperature"].dims == ("time", *grid.dims) and shown["2m_temperature"].attrs["grid_mapping"] == "crs"
    np.testing.assert_allclose(shown["lat"].values, grid.refine(4).lat2d)


def test_statistics_weigh_by_true_areas(trained: Trained) -> None:
    tiny, _, grid = trained
    store = PairStore(tiny.store)
    fields, areas = np.stack([store.read("fine", i)[0] for i in range(8)]).astype(np.float64), grid.refine(4).area_km2
    found = side_statistics(store, "fine", np.arange(8))["2m_temperature"]
    assert found["mean"] == pytest.approx(np.average(fields, weights=np.broadcast_to(areas, fields.shape)), rel=1e-9)


def test_moved_training_windows_know_where_they_are(trained: Trained) -> None:
    """The truth under a moved grid, its coarse means by true area, its centres and its areas are those of the moved cells."""
    tiny, place, grid = trained
    _, normaliser, _ = folder.load(place)
    store = PairStore(tiny.store)
    pairs = Pairs(store, ("2026-01-01T00:00", "2026-01-01T07:00"), normaliser, tiny_training.NAMES, shift_probability=1.0)
    assert pairs.nested
    view = pairs.whole.moved((1, 3), grid)
    batch = pairs.packed([2], view).to(torch.device("cpu"))
    part = grid.refine(4).crop(slice(1, 1 + 44), slice(3, 3 + 44))
    np.testing.assert_allclose(batch.geometry.lat[0], part.coarsen(4).lat2d, rtol=1e-6)
    np.testing.assert_allclose(batch.geometry.lon[0], part.coarsen(4).lon2d, rtol=1e-6)
    areas = part.area_km2
    assert batch.geometry.areas is not None
    np.testing.assert_allclose(batch.geometry.areas[0], areas / areas.mean(), rtol=1e-5)
    np.testing.assert_allclose(batch.weights[0, 0], areas / areas.mean(), rtol=1e-5)
    fine = store.read("fine", 2)[0, 1:45, 3:47].astype(np.float64)
    means = normaliser.denormalise(batch.coarse[:, :1], tiny_training.NAMES[:1])[0, 0].numpy()
    np.testing.assert_allclose(means, block_mean(fine, areas, 4), rtol=1e-5)


def test_a_box_in_degrees_trains_the_block_of_cells_around_it(trained: Trained) -> None:
    tiny, place, grid = trained
    _, normaliser, _ = folder.load(place)
    middle = float(grid.lat2d[6, 6]), float(grid.lon2d[6, 6]) % 360
    box = (middle[0] - 4, middle[0] + 4, middle[1] - 5, middle[1] + 5)
    pairs = Pairs(PairStore(tiny.store), ("2026-01-01T00:00", "2026-01-01T07:00"), normaliser, tiny_training.NAMES, region=box)
    batch = pairs.batch([0])
    counted = batch.weights[0, 0].numpy()[::4, ::4] > 0
    inside = (np.abs(batch.geometry.lat[0] - middle[0]) <= 4).numpy() & (np.abs((batch.geometry.lon[0] - middle[1] + 180) % 360 - 180) <= 5
                                                                         ).numpy()  # fmt: skip
    assert inside.any() and counted[inside].all() and counted.sum() < counted.size


def test_predictions_are_cf_and_conserve_by_true_area(trained: Trained, tmp_path: Path) -> None:
    tiny, place, grid = trained
    config = small_downscaling.task(tmp_path / "t.json", tile=6, halo=2)
    downscale.run(**small_downscaling.arguments(tiny, place, config, tmp_path / "p.zarr"))
    opened = xr.open_zarr(str(tmp_path / "p.zarr"), consolidated=False, decode_coords="all")
    fine = grid.refine(4)
    field = opened["2m_temperature"]
    assert field.dims == ("time", *grid.dims) and {"lat", "lon", "crs"} <= set(field.coords) and f"{grid.dims[0]}_bnds" in opened.coords
    assert opened["crs"].attrs["grid_mapping_name"] in ("lambert_conformal_conic", "rotated_latitude_longitude")
    assert grid_of(xr.open_zarr(str(tmp_path / "p.zarr"), consolidated=False), tmp_path).digest == fine.digest
    np.testing.assert_allclose(opened["lat"].values, fine.lat2d)
    np.testing.assert_array_equal(opened[f"{grid.dims[0]}_bnds"].values[1:, 0], opened[f"{grid.dims[0]}_bnds"].values[:-1, 1])
    store = PairStore(tiny.store)
    given = np.stack([store.read("coarse", i) for i in range(12)])
    for i, (name, near) in enumerate((("2m_temperature", 1e-3), ("precipitation_rate", 2e-4))):
        means = block_mean(opened[name].values.astype(np.float64), fine.area_km2, 4)
        np.testing.assert_allclose(means, given[:, i], atol=near * max(1.0, float(given[:, i].max()) / 10))


def test_a_file_on_the_same_map_is_predicted_there(trained: Trained, tmp_path: Path) -> None:
    """As the task predicts it from the store, with the statics that the model carries and its memory of places."""
    tiny, place, grid = trained
    given = PairStore(tiny.store).dataset("coarse").isel(time=slice(0, 2))
    given.assign_coords({f"{axis}_bnds": grid.coordinates()[f"{axis}_bnds"] for axis in grid.dims}).to_netcdf(tmp_path / "in.nc")
    made = downscale.load_model(place).downscale(tmp_path / "in.nc", tile=6, halo=2)
    assert made["2m_temperature"].dims == ("time", *grid.dims) and made["2m_temperature"].attrs["grid_mapping"] == "crs"
    config = small_downscaling.task(tmp_path / "t.json", last="01", tile=6, halo=2)
    downscale.run(**small_downscaling.arguments(tiny, place, config, tmp_path / "p.zarr"))
    task = xr.open_zarr(str(tmp_path / "p.zarr"), consolidated=False)
    np.testing.assert_allclose(made["2m_temperature"], task["2m_temperature"], rtol=1e-5)


def test_a_map_that_a_datasets_name_carries_is_known(trained: Trained) -> None:
    """As with `fine_grid: from_files`: config.json then says the grid as the name of the dataset's."""
    _, place, grid = trained
    model = downscale.load_model(place)
    del model.about["grids"]
    model.about["datasets"] = {"tiny": {"coarse_grid": spelled(grid)}}
    assert model.reads_maps
    model.about["datasets"] = {"tiny": {"coarse_grid": "global_1.0"}}
    assert not model.reads_maps


def test_a_models_statics_on_a_map_reach_latitudes(trained: Trained) -> None:
    """Those that it carries, averaged: constants stay what they are, a part that they do not cover is refused."""
    _, place, grid = trained
    carried = place / "statics/tiny.nc"
    with xr.open_dataset(carried) as opened:
        names = [str(name) for name in opened.data_vars]
        low, high = (opened[names[0]].values.min(), opened[names[0]].values.max())
    lat, lon = float(grid.lat2d[6, 6]), float(grid.lon2d[6, 6])
    near = uniform(lat - 2, lat + 2, lon - 3, lon + 3, 8, 12)
    made = open_static(near, names[:1], carried)
    assert made.shape == (1, 8, 12) and low - 1e-3 <= made.min() and made.max() <= high + 1e-3
    with pytest.raises(OrbitError, match="does not cover the grid"):
        open_static(uniform(-40, -30, 0, 10, 10, 10), names[:1], carried)


def test_statics_of_latitudes_reach_a_map() -> None:
    """The packaged land and mountains on the map lie where they lie; its latitude is its own, its slope by distances on the ground."""
    grid = lambert(12, 100.0)
    land, height, latitude, slope = open_static(grid, ("land_sea_mask", "orography", "latitude", "slope"))
    np.testing.assert_allclose(latitude, grid.lat2d, rtol=1e-6)
    under_sea = np.hypot(grid.lat2d - 38.5, grid.lon2d - 133.5) < 1.0  # the Sea of Japan; the Korean peninsula and its mountains
    assert land[under_sea].max() < 0.05 and land[np.hypot(grid.lat2d - 38.0, grid.lon2d - 127.5) < 0.7].min() > 0.8
    assert 100 < height[np.hypot(grid.lat2d - 38.0, grid.lon2d - 128.0) < 1.0].max() < 1500
    plane = 10.0 * grid.y[:, None] / 1e3 + 0.0 * grid.x  # 10 m a km along y
    np.testing.assert_allclose(map_slope(plane, grid), 0.01, rtol=0.03)  # the map's scale is within 2 % of 1
    assert np.isfinite(slope).all() and slope.max() < 0.05


def test_a_model_folder_says_its_grid(trained: Trained) -> None:
    _, place, grid = trained
    _, _, about = folder.load(place)
    assert folder.grids(about)["tiny"].digest == grid.digest


def test_token_centres_of_rows_that_are_no_parallels() -> None:
    """On a latitude-longitude grid written as 2-D coordinates they are where those of its rows and columns are; and the mean of a patch."""
    grid = lambert()
    geometry = Geometry.of(grid, 4)
    centres = token_centres(geometry, 2)[0].numpy()
    lat, lon = (np.radians(each) for each in (grid.lat2d, grid.lon2d))
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    means = vectors.reshape(6, 2, 6, 2, 3).mean((1, 3))
    np.testing.assert_allclose(centres, means / np.linalg.norm(means, axis=-1, keepdims=True), atol=1e-6)
