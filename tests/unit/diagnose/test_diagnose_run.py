"""The diagnose stage end to end: region scores against float64 numpy, Hovmöller diagrams, honest notes."""

import numpy as np
import pytest
import xarray as xr

from orbit2 import diagnose
from orbit2.diagnose.polygons import fractions
from orbit2.diagnose.regions import ar6
from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.metrics import table as tables
from tests.data import scored as make


def run(folder, prediction, store, **slice_):
    config = make.write_slice(folder / "slice.json", "diagnose", **slice_)
    diagnose.run(config=config, prediction=prediction, store=store.path, out=folder / "out")
    return tables.read(folder / "out" / "regions.parquet")


def rows(frame, **wanted):
    return frame[np.logical_and.reduce([frame[key] == text for key, text in wanted.items()])]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make.make_store(tmp_path_factory.mktemp("diagnose") / "pairs.zarr", degrees=9.0, samples=3)


@pytest.fixture(scope="module")
def done(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bicubic")
    prediction = make.make_prediction(folder / "p.zarr", store, field=make.bicubic)
    return run(folder, prediction, store), folder / "out", prediction


def shares(grid, region):
    """[H, W] of each cell in an AR6 region; where polygons overlap, in proportion."""
    each = np.stack([fractions(polygon.polygon, grid).astype(np.float64) for polygon in ar6().polygons])
    return each[ar6().abbreviations.index(region)] / np.maximum(each.sum(0), 1.0)


def test_region_scores_equal_numpy(done, store):
    frame, _, prediction = done
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0] for i in range(3)]).astype(np.float64)
    grid = store.grid("fine")
    land = np.broadcast_to((grid.lon < 140)[None], grid.shape)
    for region, cells in (("WSB", land), ("EPO", ~land), ("SEA", np.ones_like(land))):
        share = shares(grid, region)  # of each cell in the polygon
        use = (share > 1e-6) & cells
        w = (np.cos(np.radians(grid.lat))[:, None] * share)[use]
        error = (p - o)[:, use]
        found = rows(frame, region=region, model="reslim", variable="2m_temperature").set_index("metric")
        assert found.loc["rmse", "value"] == pytest.approx(np.sqrt((error**2 @ w).mean() / w.sum()), rel=1e-8), region
        assert found.loc["bias", "value"] == pytest.approx((error @ w).mean() / w.sum(), rel=1e-6)
        assert found.loc["rmse", "n"] == 3 * use.sum()
        c = np.cov(p[:, use].ravel(), o[:, use].ravel(), aweights=np.tile(w, 3))
        assert found.loc["pearson_r", "value"] == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), rel=1e-8)
        assert set(rows(frame, region=region, metric="n_cells").value) == {use.sum()}


def test_skill_is_against_the_best_baseline_of_the_region(done):
    frame, _, _ = done
    temperature = rows(frame, variable="2m_temperature", metric="rmse")
    for region in ("WSB", "SAH", "SOO"):
        here = temperature[temperature.region == region].set_index("model").value
        best = here.drop("reslim").min()
        skill = rows(frame, variable="2m_temperature", region=region, metric="rmse_skill_vs_best_baseline")
        assert skill.value.item() == pytest.approx(1 - here["reslim"] / best, abs=1e-9)
        assert here.drop("reslim").idxmin() in skill.method.item()


def test_land_less_regions_are_absent_not_perfect(done):
    frame, out, _ = done
    assert "NAU" not in set(frame.region) or rows(frame, region="NAU", metric="n_cells").value.min() > 0
    assert "CNA" not in set(frame.region)  # the synthetic globe has no land at 260 E
    data = xr.open_dataset(out / "regions.nc", engine="h5netcdf")
    assert np.isnan(data["2m_temperature_rmse"].sel(model="bicubic", region="CNA"))
    assert np.isnan(data["2m_temperature_region_skill"].sel(region="CNA"))


def test_cells_and_areas_are_what_was_scored(tmp_path):
    """A truth that is missing all over Africa: no row says otherwise, and every count is of cells that entered a score."""
    grid = make.global_grid(9.0).refine(4)
    rows_, columns = grid.window((-40, 40, 0, 60))
    store = make.make_store(tmp_path / "pairs.zarr", degrees=9.0, samples=2, hole=(rows_, columns))
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store), store)
    assert not set(frame.region) & {"SAH", "CAF", "WSAF", "NEAF"} and "EAS" in set(frame.region)
    assert frame.value.notna().all()
    land = np.broadcast_to((grid.lon < 140)[None], grid.shape)
    known = np.ones(grid.shape, dtype=bool)
    known[rows_, columns] = False
    share = shares(grid, "WCA") * land  # cut by the hole
    cells = rows(frame, region="WCA", variable="2m_temperature").set_index("metric").value
    assert cells["n_cells"] == ((share > 1e-6) & known).sum() > 0
    assert cells["scored_area_km2"] == pytest.approx((grid.area_km2 * share)[known].sum())
    assert cells["n_cells"] < (share > 1e-6).sum()
    data = xr.open_dataset(tmp_path / "out" / "regions.nc", engine="h5netcdf")
    assert int(data.n_cells.sel(region="SAH")) == 0 and np.isnan(data["2m_temperature_skill"].values[rows_, columns]).all()


def test_region_maps(done):
    _, out, _ = done
    data = xr.open_dataset(out / "regions.nc", engine="h5netcdf")
    assert data.sizes["region"] == 58 and data.region_id.dims == ("lat", "lon")
    where = (data.scored_region_id == int(list(data.region.values).index("SAH"))).values
    values = data["2m_temperature_skill"].values[where]
    assert where.any() and np.allclose(values, float(data["2m_temperature_region_skill"].sel(region="SAH")))
    assert float(data.covered_area_fraction.mean()) == pytest.approx(1, abs=0.05)


def test_perfect_prediction_has_full_skill(store, tmp_path):
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store, field=make.perfect), store)
    assert (rows(frame, metric="rmse", model="reslim").value == 0).all()
    skill = rows(frame, metric="rmse_skill_vs_best_baseline", variable="2m_temperature").value
    assert np.allclose(skill, 1) and len(skill) > 20
    assert np.allclose(rows(frame, metric="hovmoller_longitude_pattern_r", model="reslim", variable="2m_temperature").value, 1)


def test_hovmoller_diagrams_are_means_of_the_fields(done, store):
    frame, out, _ = done
    data = xr.open_dataset(out / "hovmoller.nc", engine="h5netcdf")
    o = np.stack([store.read("fine", i)[0] for i in range(3)]).astype(np.float64)
    grid = store.grid("fine")
    band = np.abs(grid.lat) <= 5
    expected = np.average(o[:, band], axis=1, weights=np.diff(np.sin(np.radians(grid.lat_edges)))[band])
    assert np.allclose(data["2m_temperature_longitude"].sel(model="truth"), expected, atol=1e-3)
    assert np.allclose(data["2m_temperature_latitude"].sel(model="truth"), o.mean(axis=2), atol=1e-3)
    assert data["2m_temperature_longitude"].attrs["best_baseline"] in make.BASELINES
    r = rows(frame, metric="hovmoller_longitude_pattern_r", model="nearest", variable="2m_temperature")
    p = data["2m_temperature_longitude"].sel(model="nearest").values.ravel()
    assert r.region.item() == "5S-5N" and r.value.item() == pytest.approx(np.corrcoef(p, expected.ravel())[0, 1], abs=1e-4)


def test_notes_name_what_the_record_cannot_give(done):
    _, out, _ = done
    notes = read_json(out / "notes.json")
    assert notes["record"]["samples"] == 3 and notes["record"]["days"] == pytest.approx(14 / 24, abs=1e-3)
    monsoon = next(n for n in notes["notes"] if "monsoon" in n["diagnostic"])
    assert "2 complete years" in monsoon["needs"] and "3 samples" in monsoon["has"] and monsoon["status"].startswith("not computed")
    assert all(set(n) == {"diagnostic", "needs", "has", "status"} for n in notes["notes"])


def test_a_box_has_only_its_regions_and_says_how_much_of_them(store, tmp_path):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, box=(24, 56, 8, 80), names=("2m_temperature",))
    frame = run(tmp_path, prediction, store)
    regions = set(rows(frame, metric="n_cells").region)
    assert "WCE" in regions and "SAM" not in regions and len(regions) < 20
    covered = rows(frame, metric="covered_area_fraction").set_index("region").value
    assert 0 < covered["NEU"] < 0.5 and covered.max() <= 1.1
    assert not rows(frame, metric="hovmoller_longitude_nrmse").region.eq("5S-5N").any()
    assert any("band" in n["diagnostic"] for n in read_json(tmp_path / "out" / "notes.json")["notes"])


def test_without_a_truth_only_consistency(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", samples=1)
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store, side="fine"), store, side="fine")
    scores = frame[frame.model != "(any)"]
    assert scores.metric.str.startswith("conservation_").all() and len(scores)
    assert any("truth" in n["diagnostic"] for n in read_json(tmp_path / "out" / "notes.json")["notes"])


def test_a_wrong_slice_leaves_nothing_behind(store, tmp_path):
    config = make.write_slice(tmp_path / "slice.json", "evaluate")
    with pytest.raises(OrbitError, match="no key 'diagnose'"):
        diagnose.run(config=config, prediction=tmp_path / "p.zarr", store=store.path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
