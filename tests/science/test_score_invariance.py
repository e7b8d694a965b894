"""Scores are a property of the weather, not of how it is stored: rolls, flips, sea cells; and of real ERA5 they are what is known."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import orbit2
from orbit2 import diagnose, evaluate
from orbit2.baselines import interpolate
from orbit2.baselines.fitted import Fit
from orbit2.baselines.interpolation import block_mean
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.grid import from_centres, global_grid
from orbit2.metrics import table as tables
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.deterministic import rmse
from orbit2.metrics.statistics import moments
from orbit2.metrics.weighting import area_weights
from orbit2.remap import Regridder
from tests.data import scored as make


def transformed(store, path, change):
    """The same pairs with every field changed by `change(field, cells per coarse cell)`."""
    specs, samples = [], range(len(store.times))
    for side in ("coarse", "fine"):
        statics = change(store.static_values(side), 1 if side == "coarse" else 4)
        specs.append(SideSpec(store.grid(side), store.variables(side), store.statics(side), statics))
    initialise(path, *specs, store.times, shard=len(store.times))
    coarse = np.stack([change(store.read("coarse", i), 1) for i in samples])
    write_part(path, 0, coarse, np.stack([change(store.read("fine", i), 4) for i in samples]))
    finalise(path)
    return PairStore(path)


def scores(folder, store):
    prediction = make.make_prediction(folder / "p.zarr", store, field=lambda s, side, i, name: make.bicubic(s, side, i, name) * 1.01)
    evaluate.run(config=make.write_slice(folder / "slice.json", "evaluate", settings={"spectra_boxes": {}}), prediction=prediction,
                 store=store.path, out=folder / "out")
    frame = tables.read(folder / "out" / "metrics.parquet")
    return frame[frame.region == "global"].set_index(["model", "variable", "space", "metric"]).value.sort_index()


@pytest.mark.parametrize("change", [lambda x, cell: np.roll(x, 7 * cell, axis=-1), lambda x, cell: x[..., ::-1, :]], ids=["roll", "flip"])
def test_rolled_and_flipped_globes_score_the_same(tmp_path, change):  # T4
    store = make.make_store(tmp_path / "pairs.zarr", degrees=9.0, samples=2)
    (tmp_path / "changed").mkdir()
    expected = scores(tmp_path, store)
    found = scores(tmp_path / "changed", transformed(store, tmp_path / "changed" / "pairs.zarr", change))
    assert len(expected) > 100 and list(found.index) == list(expected.index)
    metric = expected.index.get_level_values("metric")
    conserving = metric.str.startswith("conservation") | (metric == "bias")
    at_edge = metric == "paper_ssim"  # the paper's windows stop where the array does, so its seam is part of the score
    np.testing.assert_allclose(found[~conserving & ~at_edge], expected[~conserving & ~at_edge], rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(found[at_edge], expected[at_edge], rtol=5e-3)
    np.testing.assert_allclose(found[conserving], expected[conserving], rtol=1e-3, atol=1e-5)  # differences of float32 fields


def test_truth_pasted_over_the_sea_changes_no_land_score(tmp_path):  # T5, and fact 4 of the specification
    store = make.make_store(tmp_path / "pairs.zarr", degrees=9.0, samples=2)
    land = store.static_values("fine")[0] >= 0.5

    def pasted(s, side, i, name):
        return np.where(land, make.bicubic(s, side, i, name), make.perfect(s, side, i, name))

    frames = []
    for name, field in (("plain", make.bicubic), ("pasted", pasted)):
        (tmp_path / name).mkdir()
        prediction = make.make_prediction(tmp_path / name / "p.zarr", store, field=field)
        config = make.write_slice(tmp_path / name / "s.json", "diagnose")
        diagnose.run(config=config, prediction=prediction, store=store.path, out=tmp_path / name)
        frames.append(tables.read(tmp_path / name / "regions.parquet"))
    keys = ["model", "variable", "space", "region", "metric"]
    plain, pasted_scores = (f[f.metric.isin(["rmse", "mae", "bias", "pearson_r"])].set_index(keys).value for f in frames)
    for region in ("SAH", "WSB", "NEU", "ESB"):
        assert plain.xs(region, level="region").equals(pasted_scores.xs(region, level="region"))
    sea = plain.xs("NPO", level="region")["reslim"]
    assert not np.allclose(sea, pasted_scores.xs("NPO", level="region")["reslim"])


def test_corrected_rain_of_real_era5():
    """The demo's frames, 16 fitted and 4 scored, in ln(1 + mm/day). The additive form of `conservative` would have 0.540 and 0.521."""
    sample = Path(orbit2.__file__).parent / "sources" / "sample" / "era5_week.nc"
    if not sample.is_file():
        pytest.skip("the ERA5 sample is not in this checkout")
    fine, coarse = global_grid(1.0), global_grid(4.0)
    week = xr.open_dataset(sample).isel(latitude=slice(None, None, -1))
    native = from_centres(week.latitude.values, week.longitude.values)
    truth = Regridder(native, fine, "conservative")(week["tp"].values.astype(np.float64) * 24000)  # m in an hour
    fit = Fit(["precipitation_rate"], coarse, 4, area_weights(fine), None)
    for t in range(16):
        fit.update("precipitation_rate", block_mean(truth[t], fine.lat_weights, 4), truth[t], half=t // 8)
    fitted = fit.dataset()
    y, weights = np.log1p(truth[-4:]), np.broadcast_to(area_weights(fine), (4, *fine.shape))
    base = np.log1p(interpolate(block_mean(truth[-4:], fine.lat_weights, 4), coarse, 4, "conservative", lower=0.0))
    mean, slope, centre = (fitted[f"precipitation_rate_log1p_{key}"].values for key in ("mean_residual", "slope", "mean_input"))
    for change, expected in ((0.0, 0.494), (mean, 0.483), (mean + slope * (base - centre), 0.481)):
        assert np.sqrt(np.average((np.maximum(base + change, 0) - y) ** 2, weights=weights)) == pytest.approx(expected, abs=1e-3)


def test_interpolation_errors_of_real_era5():
    """4 to 1 degree, last four frames: bicubic errs by about 1.5 K, 1.3 m/s, 74 Pa, and the order of methods is the known one."""
    sample = Path(orbit2.__file__).parent / "sources" / "sample" / "era5_week.nc"
    if not sample.is_file():
        pytest.skip("the ERA5 sample is not in this checkout")
    fine, coarse = global_grid(1.0), global_grid(4.0)
    week = xr.open_dataset(sample).isel(time=slice(-4, None), latitude=slice(179, None, -1))
    for name, expected in (("t2m", 1.53), ("u10", 1.29), ("v10", 1.26), ("msl", 74.2)):
        truth = week[name].values.astype(np.float64)
        given = block_mean(truth, fine.lat_weights, 4)
        found = {}
        for method in ("nearest", "bilinear", "bicubic", "conservative"):
            p = interpolate(given, coarse, 4, method)
            total = [moments(p[t], truth[t], area_weights(fine), domain_bins(fine)) for t in range(4)]
            found[method] = float(rmse(total[0] + total[1] + total[2] + total[3])[0])
        assert found["bicubic"] == pytest.approx(expected, rel=0.02), name
        assert found["nearest"] > found["bilinear"] > found["bicubic"] > found["conservative"], name
