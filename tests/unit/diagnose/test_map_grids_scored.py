"""Both scoring stages, by parts and merged, on a map projection and a rotated pole: the numbers are those of the cells' true areas."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2 import diagnose, evaluate
from orbit2.diagnose import kept
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSTICS
from orbit2.diagnose.polygons import fractions
from orbit2.diagnose.regions import ar6
from orbit2.evaluate.collectors import COLLECTORS as SCORES
from orbit2.grid import uniform
from orbit2.metrics import stream
from orbit2.metrics import table as tables
from orbit2.metrics.netcdf import grid_of_file
from tests.data import scored as make
from tests.data.map_grids import lambert, plate_carree, rotated

BASELINES = ["nearest", "bilinear", "conservative", "delta"]


def run_all(folder, grid):
    """(folder, store): three days of two months of weather made from a formula, fitted to two more, streamed by months, and merged for
    both stages."""
    times = np.array(["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31", "2026-04-01"], dtype="datetime64[s]")
    store = make.make_store(folder / "pairs.zarr", times=times, samples=5, coarse_grid=grid)
    dataset = make.write_dataset(folder / "dataset.json", store, slice(0, 2), slice(2, 5))
    evaluate.fit(config=dataset, store=store.path, out=folder / "fits.nc")
    prediction = make.make_prediction(folder / "p.zarr", store, at=slice(2, 5))
    given = {"prediction": prediction, "store": store.path, "fits": folder / "fits.nc"}
    part = make.write_slice(folder / "part.json", "part", baselines=BASELINES)
    (folder / "parts").mkdir()
    for month in ("202603", "202604"):
        stream.run(config=part, part=month, out=folder / f"parts/{month}.h5", kinds=(*SCORES, *DIAGNOSTICS), **given)
    for stage, run in (("evaluate", evaluate.run), ("diagnose", diagnose.run)):
        config = make.write_slice(folder / f"{stage}.json", stage, baselines=BASELINES)
        run(config=config, out=folder / stage, parts=folder / "parts", **given)
    return folder, store


@pytest.fixture(scope="module", params=["lambert", pytest.param("rotated", marks=pytest.mark.slow)])
def done(request, tmp_path_factory):
    return run_all(tmp_path_factory.mktemp(request.param), lambert() if request.param == "lambert" else rotated())


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The same cells described as latitudes and longitudes, and as a map projection: (folder, folder)."""
    grid = uniform(24, 48, 116, 152, 12, 18)
    return tuple(run_all(tmp_path_factory.mktemp("twice"), each)[0] for each in (grid, plate_carree(grid)))


def scores(folder, stage, **where) -> pd.DataFrame:
    frame = tables.read(folder / stage / ("metrics.parquet" if stage == "evaluate" else "regions.parquet"))
    return frame[np.logical_and.reduce([frame[key] == value for key, value in {"season": "all", **where}.items()])]


def fields(folder, store):
    """Prediction and truth [T, H, W] of temperature in double precision."""
    p = xr.open_zarr(str(folder / "p.zarr"), consolidated=False)["2m_temperature"].values.astype(np.float64)
    return p, np.stack([store.read("fine", i)[0] for i in range(2, 5)]).astype(np.float64)


def test_scores_weigh_by_true_area(done):
    folder, store = done
    p, o = fields(folder, store)
    w = np.broadcast_to(store.grid("fine").area_km2, o.shape)
    found = scores(folder, "evaluate", model="reslim", variable="2m_temperature", region="domain").set_index("metric").value
    assert found["rmse"] == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    assert found["bias"] == pytest.approx(np.average(p - o, weights=w), rel=1e-6)
    assert found["conservation_rmse"] >= 0 and 0 < found["ssim"] < 1 and np.isfinite(found["fine_rmse"])
    bands = scores(folder, "evaluate", model="reslim", variable="2m_temperature", metric="rmse")
    latitude = store.grid("fine").lat2d
    for region in set(bands.region) - {"domain"}:  # bands of latitude, cell by cell
        south, north = (float(side.rstrip("NS")) for side in region.replace("EQ", "0N").split("-"))
        inside = (latitude >= south) & (latitude < north)
        value = np.sqrt(np.average(((p - o) ** 2)[:, inside], weights=w[:, inside]))
        assert bands[bands.region == region].value.item() == pytest.approx(value, rel=1e-9)
    assert len(set(bands.region)) > 1


def test_a_baseline_that_conserves_conserves_by_true_area(done):
    folder, _ = done
    rows = scores(folder, "evaluate", variable="2m_temperature", metric="conservation_rmse").set_index("model").value
    assert rows["conservative"] < 3e-3 < rows["bilinear"]  # the packing of the store is 2e-3 K


def test_spectra_are_of_the_domain_and_nothing_is_called_zonal(done):
    folder, _ = done
    frame = scores(folder, "evaluate")
    spectral = frame[frame.metric.isin(["lsd_db", "effective_resolution_km"])]
    assert set(spectral.region) == {"domain"} and spectral.method.str.contains("radial spectrum").all() and len(spectral)
    with xr.open_dataset(folder / "evaluate/spectra.nc", engine="h5netcdf") as data:
        assert data.sizes["band"] == 0 and list(data.box.values) == ["domain"]


def test_regions_count_cells_by_their_share(done):
    folder, store = done
    p, o = fields(folder, store)
    grid, regions = store.grid("fine"), ar6()
    each = np.stack([fractions(polygon.polygon, grid).astype(np.float64) for polygon in regions.polygons])
    each /= np.maximum(each.sum(0), 1.0)
    land = store.static_values("fine")[0] >= 0.5
    rows = scores(folder, "diagnose", model="reslim", variable="2m_temperature", metric="rmse")
    assert len(rows) > 2
    areas = scores(folder, "diagnose", variable="2m_temperature", metric="scored_area_km2").set_index("region").value
    for _, row in rows.iterrows():
        r = regions.abbreviations.index(row.region)
        kept_cells = {"Land": land, "Ocean": ~land}.get(regions.kinds[r], np.ones_like(land))
        w = grid.area_km2 * each[r] * kept_cells
        assert row.value == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=np.broadcast_to(w, o.shape))), rel=1e-6), row.region
        assert areas[row.region] == pytest.approx(w.sum(), rel=1e-6)
    whole = np.where(each.sum(0) > 1e-3, grid.area_km2, 0).sum()
    assert areas.sum() == pytest.approx((grid.area_km2 * each.sum(0)).sum(), rel=0.4) and areas.sum() <= whole * (1 + 1e-6)


def test_files_say_what_grid_they_are_on(done):
    folder, store = done
    for path in ("evaluate/maps.nc", "diagnose/regions.nc"):
        with xr.open_dataset(folder / path, engine="h5netcdf") as data:
            found = grid_of_file(data)
            assert found is not None and found.same_as(store.grid("fine"))
    days = kept.read(folder / "parts")
    assert days.grid.same_as(store.grid("fine")) and days.means("2m_temperature").dims == ("time", *days.grid.dims)
    assert days.lat.shape == days.grid.shape


def test_what_has_no_parallels_is_said_and_hovmoller_diagrams_are_regridded(done):
    folder, store = done
    said = json.loads((folder / "diagnose/notes.json").read_text())["notes"]
    assert {"zonal spectra and power by degree of spherical harmonics", "Hovmöller diagrams"} <= {note["diagnostic"] for note in said}
    with xr.open_dataset(folder / "diagnose/hovmoller.nc", engine="h5netcdf") as data:
        latitude, grid = data["2m_temperature_latitude"].sel(model="truth"), store.grid("fine")
        _, o = fields(folder, store)
        middle = data.lat.values[np.abs(data.lat.values - grid.lat2d[24, 24]).argmin()]
        near = np.abs(grid.lat2d - middle) < 0.7 * grid.resolution
        assert float(latitude.sel(lat=middle)[0]) == pytest.approx(float(o[0][near].mean()), abs=0.5)


KEY = ["model", "variable", "space", "region", "season", "metric", "protocol"]
OF_PARALLELS = ("effective_resolution_km", "coherent_resolution_km", "lsd_db")  # of spectra: the one has zonal ones, the other the domain's


@pytest.mark.parametrize("stage", ["evaluate", "diagnose"])
def test_the_same_cells_give_the_same_table_whatever_the_grid_is_called(twice, stage):
    """Every score, region, season, interpolation, seam and diagram: only spectra and the spacing of Hovmoller's regridded rows differ."""
    name = "metrics.parquet" if stage == "evaluate" else "regions.parquet"
    one, other = (tables.read(folder / stage / name) for folder in twice)
    one, other = (frame[~frame.metric.isin(OF_PARALLELS) & ~frame.metric.str.startswith("hovmoller")].set_index(KEY).value
                  for frame in (one, other))  # fmt: skip
    assert set(one.index) == set(other.index) and len(one) > 200
    both = pd.concat([one, other], axis=1, keys=["one", "other"])
    sal = both.index.get_level_values("metric").str.startswith("sal_")  # distances: on the ground, or at the middle latitude
    near = np.isclose(both.one, both.other, rtol=2e-5, atol=1e-6, equal_nan=True)
    assert near[~sal].all(), both[~near & ~sal]
    assert np.allclose(both[sal].one, both[sal].other, rtol=0.02, atol=1e-3)


def test_the_same_cells_give_nearly_the_same_diagrams(twice):
    opened = [xr.open_dataset(folder / "diagnose/hovmoller.nc", engine="h5netcdf") for folder in twice]
    one, other = (data["2m_temperature_latitude"].sel(model="truth").isel(time=0) for data in opened)
    again = np.interp(one.lat[2:-2], other.lat, other)
    assert np.abs(again - one[2:-2]).max() < 0.1 * float(one.std())
