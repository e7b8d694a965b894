"""The evaluate stage end to end on tiny stores: numbers against float64 numpy, perfect predictions, boxes, consistency tasks."""

import numpy as np
import pytest
import xarray as xr

from orbit2 import evaluate
from orbit2.errors import OrbitError
from orbit2.metrics import table as tables
from tests.data import scored as make


def run(folder, prediction, store, **slice_):
    config = make.write_slice(folder / "slice.json", "evaluate", **slice_)
    evaluate.run(config=config, prediction=prediction, store=store.path, out=folder / "out")
    return tables.read(folder / "out" / "metrics.parquet")


def value(frame, metric, model="reslim", variable="2m_temperature", space="physical", region="global"):
    wanted = {"metric": metric, "model": model, "variable": variable, "space": space, "region": region}
    found = frame[np.logical_and.reduce([frame[key] == text for key, text in wanted.items()])]
    assert len(found) == 1, (wanted, len(found))
    return float(found.iloc[0].value)


SETTINGS = {"spectra_boxes": {"conus": [32, 46, 242, 278]}, "bootstrap": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make.make_store(tmp_path_factory.mktemp("evaluate") / "pairs.zarr", degrees=6.0)


@pytest.fixture(scope="module")
def done(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bicubic")
    prediction = make.make_prediction(folder / "p.zarr", store)
    return run(folder, prediction, store, settings=SETTINGS), folder / "out", prediction


def test_rmse_bias_and_correlation_equal_float64_numpy(done, store):
    frame, _, prediction = done
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0] for i in range(4)]).astype(np.float64)
    w = np.broadcast_to(np.cos(np.radians(store.grid("fine").lat))[:, None], o.shape)  # proportional to exact areas on this grid
    assert value(frame, "rmse") == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    assert value(frame, "mae") == pytest.approx(np.average(np.abs(p - o), weights=w), rel=1e-9)
    assert value(frame, "bias") == pytest.approx(np.average(p - o, weights=w), rel=1e-6)
    sst = np.average((o - np.average(o, weights=w)) ** 2, weights=w)
    assert value(frame, "r2_cod") == pytest.approx(1 - np.average((p - o) ** 2, weights=w) / sst, rel=1e-9)
    c = np.cov(p.ravel(), o.ravel(), aweights=w.ravel())
    assert value(frame, "pearson_r") == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), rel=1e-9)
    daily = [np.sqrt(np.average((p[t] - o[t]) ** 2, weights=w[t])) for t in range(4)]
    assert value(frame, "rmse_mean_of_daily") == pytest.approx(np.mean(daily), rel=1e-9)
    north = (store.grid("fine").lat >= 30) & (store.grid("fine").lat < 60)
    band = np.sqrt(np.average(((p - o) ** 2)[:, north], weights=w[:, north]))
    assert value(frame, "rmse", region="30N-60N") == pytest.approx(band, rel=1e-9)


def test_precipitation_is_scored_in_both_spaces(done, store):
    frame, _, prediction = done
    p = xr.open_zarr(str(prediction), consolidated=False)["precipitation_rate"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[1] for i in range(4)]).astype(np.float64)
    w = np.broadcast_to(np.cos(np.radians(store.grid("fine").lat))[:, None], o.shape)
    rain = {"variable": "precipitation_rate"}
    assert value(frame, "rmse", **rain) == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    log = np.sqrt(np.average((np.log1p(p) - np.log1p(o)) ** 2, weights=w))
    assert value(frame, "rmse", space="log1p", **rain) == pytest.approx(log, rel=1e-9)
    assert {"bicubic_log1p", "bilinear_log1p"} <= set(frame[frame.variable == "precipitation_rate"].model)
    assert value(frame, "psnr_pooled", space="log1p", **rain) == pytest.approx(20 * np.log10(np.log(301) / log), rel=1e-9)


def test_a_bicubic_prediction_scores_like_the_bicubic_baseline(done):
    frame, _, _ = done
    for metric in ("rmse", "ssim", "psnr_pooled", "pearson_r"):
        assert value(frame, metric) == pytest.approx(value(frame, metric, model="bicubic"), rel=1e-5)
    assert value(frame, "rmse_skill_vs_bicubic") == pytest.approx(0, abs=1e-5)
    assert value(frame, "rmse_skill_vs_nearest") == pytest.approx(1 - value(frame, "rmse") / value(frame, "rmse", "nearest"), rel=1e-9)
    assert value(frame, "rmse", "nearest") > value(frame, "rmse", "bilinear") > value(frame, "rmse", "bicubic")


def test_conservation_says_which_methods_conserve(done):  # T11
    frame, _, _ = done
    assert value(frame, "conservation_relative", "nearest") < 1e-7  # float32 store
    assert value(frame, "conservation_relative", "conservative") < 1e-7
    assert value(frame, "conservation_relative", "bicubic") < 1e-3
    assert value(frame, "conservation_rmse", "bilinear") > value(frame, "conservation_rmse", "bicubic") > 1e-3


def test_rows_say_what_they_are(done):
    frame, _, _ = done
    assert set(frame.protocol) == {"standard", "orbit2_paper"} and set(frame.task) == {"test"} and set(frame.dataset) == {"era5_week"}
    assert set(frame.date_range) == {"2026-03-30T18:00/2026-03-31T15:00"}
    assert set(frame.reference) == {"ERA5 1.5 deg (fine)"}
    n = frame[(frame.metric == "rmse") & (frame.region == "global")].n
    assert set(n) == {4 * 120 * 240} and value(frame, "valid_fraction") == 1.0
    assert 0 < value(frame, "ssim") < 1 and value(frame, "psnr_daily_mean") >= value(frame, "psnr_pooled")
    coarse = value(frame, "effective_resolution_km", "nearest", region="30N-60N")
    assert 300 < coarse < 2000 and value(frame, "lsd_db", region="conus") > 0


def test_files_hold_maps_spectra_and_densities(done):
    _, out, _ = done
    maps = xr.open_dataset(out / "maps.nc", engine="h5netcdf")
    assert maps["2m_temperature_rmse"].dims == ("model", "lat", "lon") and maps["2m_temperature_rmse"].units == "K"
    assert float(maps["2m_temperature_rmse"].sel(model="bicubic").mean()) > 0
    assert np.isnan(maps["2m_temperature_bias"].sel(model="bicubic_log1p")).all()
    spectra = xr.open_dataset(out / "spectra.nc", engine="h5netcdf")
    assert list(spectra.model.values[:2]) == ["truth", "reslim"] and list(spectra.band.values) == ["60S-30S", "30S-30N", "30N-60N"]
    ratio = spectra.zonal_power.sel(field="2m_temperature", band="30S-30N")
    assert 0.9 < float(ratio.sel(model="bicubic")[0] / ratio.sel(model="truth")[0]) < 1.1
    assert np.isfinite(spectra.radial_power.sel(box="conus", model="truth", field="2m_temperature")).all()
    density = xr.open_dataset(out / "density.nc", engine="h5netcdf")
    assert int(density["2m_temperature_count"].sel(model="reslim").sum()) == 4 * 120 * 240
    assert "precipitation_rate_count" not in density and "precipitation_rate_log1p_count" in density
    edges = density["2m_temperature_edges"].values
    width = np.diff(edges)[0]
    total = float((10 ** density["2m_temperature_log10_density"].sel(model="reslim")).sum() * width * width)
    assert total == pytest.approx(1, rel=1e-4)


def test_a_perfect_prediction_is_perfect(store, tmp_path):  # T1
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store, field=make.perfect), store, settings=SETTINGS)
    for space, variable in (("physical", "2m_temperature"), ("log1p", "precipitation_rate")):
        where = {"space": space, "variable": variable}
        assert value(frame, "rmse", **where) == value(frame, "bias", **where) == value(frame, "lsd_db", region="conus", **where) == 0
        assert value(frame, "ssim", **where) == pytest.approx(1) and value(frame, "pearson_r", **where) == pytest.approx(1)
        assert value(frame, "r2_cod", **where) == 1 and np.isposinf(value(frame, "psnr_pooled", **where))
        assert value(frame, "rmse_skill_vs_best_baseline", **where) == 1
    assert value(frame, "conservation_relative") < 1e-5  # stored inputs and truth are each within 0.0016 K


def test_a_box_task_is_its_domain(store, tmp_path):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, box=(24, 54, 228, 300), names=("2m_temperature",))
    frame = run(tmp_path, prediction, store, settings=SETTINGS)
    assert set(frame.variable) == {"2m_temperature", "(any)"} and {"domain"} <= set(frame.region) and "global" not in set(frame.region)
    rows, columns = store.grid("fine").window((24, 54, 228, 300))
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0][rows, columns] for i in range(4)]).astype(np.float64)
    w = np.broadcast_to(np.cos(np.radians(store.grid("fine").lat[rows]))[:, None], o.shape)
    assert value(frame, "rmse", region="domain") == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    assert value(frame, "rmse", region="domain") == pytest.approx(value(frame, "rmse", "bicubic", region="domain"), rel=1e-5)


def test_quantiles_and_wet_share_are_of_the_area(done, store):
    frame, _, prediction = done
    p = xr.open_zarr(str(prediction), consolidated=False)["precipitation_rate"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[1] for i in range(4)]).astype(np.float64)
    w = np.broadcast_to(np.cos(np.radians(store.grid("fine").lat))[:, None], o.shape)
    for model, field in (("reslim", p), ("(truth)", o)):
        where = {"model": model, "variable": "precipitation_rate"}
        assert value(frame, "wet_share_1", **where) == pytest.approx(np.average(field >= 1, weights=w), abs=1e-9)
        order = np.argsort(field, axis=None)
        share = np.cumsum(w.ravel()[order]) / w.sum()
        expected = field.ravel()[order][np.searchsorted(share, 0.99)]
        assert value(frame, "quantile_0.99", **where) == pytest.approx(expected, rel=1e-3)
    assert value(frame, "quantile_0.5", model="(truth)") == pytest.approx(np.median(store.read("fine", 0)[0]), abs=15)
    assert value(frame, "n_samples", model="(any)", variable="(any)") == 4


def test_fine_structure_is_what_lies_inside_the_inputs_cells(done, store):
    frame, _, prediction = done
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0] for i in range(4)]).astype(np.float64)
    grid = store.grid("fine")
    w = np.broadcast_to(np.cos(np.radians(grid.lat))[:, None], o.shape)

    def inside(x):
        blocks = x.reshape(4, 30, 4, 60, 4)
        weights = grid.lat_weights.reshape(1, 30, 4, 1, 1)
        return (blocks - (blocks * weights).sum((2, 4), keepdims=True) / (4 * weights.sum(2, keepdims=True))).reshape(x.shape)

    c = np.cov(inside(p).ravel(), inside(o).ravel(), aweights=w.ravel())
    assert value(frame, "fine_pearson_r") == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), abs=1e-6)
    assert value(frame, "fine_amplitude") == pytest.approx(np.sqrt(c[0, 0] / c[1, 1]), abs=1e-6)
    assert value(frame, "fine_rmse") == pytest.approx(np.sqrt(np.average((inside(p) - inside(o)) ** 2, weights=w)), rel=1e-6)
    assert "nearest" not in set(frame[frame.metric == "fine_pearson_r"].model)  # it has no structure there


def test_a_band_is_named_by_what_was_scored_of_it(done, store, tmp_path):
    """A box holds 24-54 N: of the band 30-60 N only a part, and so it is called. The truth's waves, up to 20 around the globe, are four
    bins of a row of 72 degrees: nothing to tell a resolution from, as around the globe."""
    prediction = make.make_prediction(tmp_path / "p.zarr", store, box=(24, 54, 228, 300), names=("2m_temperature",))
    frame = run(tmp_path, prediction, store, settings=SETTINGS)
    assert set(frame[frame.metric == "lsd_db"].region) == {"24N-30N", "30N-54N", "conus"}
    resolved = set(frame[frame.metric == "effective_resolution_km"].region)
    assert not resolved
    around = done[0][done[0].metric == "effective_resolution_km"]
    assert {"60S-30S", "30S-30N", "30N-60N", "global"} == set(around.region)  # nor in the box of spectra: 9 x 24 cells


def test_rows_of_what_was_never_scored_are_absent(tmp_path):
    grid = make.global_grid(6.0).refine(4)
    south = make.make_store(tmp_path / "pairs.zarr", degrees=6.0, samples=2, hole=(slice(0, int((grid.lat < -30).sum())), slice(None)))
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", south), south, settings=SETTINGS)
    assert "60S-30S" not in set(frame.region) and "30N-60N" in set(frame.region)
    assert frame.value.notna().all()


def test_a_task_without_a_truth_gets_consistency_and_no_scores(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", samples=1)
    prediction = make.make_prediction(tmp_path / "p.zarr", store, side="fine", task="quarter")
    frame = run(tmp_path, prediction, store, task="quarter", side="fine", settings=SETTINGS)
    assert all(name.startswith("conservation_") for name in frame.metric)
    assert value(frame, "conservation_relative", "nearest") < 1e-7 < value(frame, "conservation_relative")
    assert 0 <= value(frame, "conservation_exceedance", variable="precipitation_rate") < 1
    assert "no truth" in frame.reference[0]
    spectra = xr.open_dataset(tmp_path / "out" / "spectra.nc", engine="h5netcdf")
    assert np.isfinite(spectra.zonal_power.sel(model="reslim", field="2m_temperature")).all()


def test_adding_to_every_cell_adds_to_the_residual(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", samples=1)
    warmer = lambda s, side, i, name: np.kron(s.read("fine", i)[0] + 2.0, np.ones((4, 4)))  # noqa: E731
    shifted = make.make_prediction(tmp_path / "p.zarr", store, side="fine", names=("2m_temperature",), field=warmer)
    frame = run(tmp_path, shifted, store, side="fine", settings=SETTINGS)
    for metric in ("conservation_rmse", "conservation_p99", "conservation_bias"):
        assert value(frame, metric) == pytest.approx(2.0, abs=1e-4)


def test_missing_truth_cells_are_counted_out(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", degrees=6.0, samples=2, hole=True)
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store), store, settings=SETTINGS)
    assert value(frame, "valid_fraction") == pytest.approx(1 - 200 / (120 * 240))
    assert np.isfinite(value(frame, "rmse")) and np.isfinite(value(frame, "ssim"))


def test_bootstrap_only_where_the_record_is_long_enough(store, tmp_path):
    frame = run(tmp_path, make.make_prediction(tmp_path / "p.zarr", store, names=("2m_temperature",)), store, settings={"bootstrap": 50})
    assert frame.ci_low.isna().all()


def test_a_wrong_slice_or_prediction_leaves_nothing_behind(store, tmp_path):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, finalised=False, samples=1)
    config = make.write_slice(tmp_path / "slice.json", "evaluate")
    with pytest.raises(OrbitError, match="not finalised"):
        evaluate.run(config=config, prediction=prediction, store=store.path, out=tmp_path / "out")
    with pytest.raises(OrbitError, match="no key 'evaluate'"):
        other = make.write_slice(tmp_path / "d.json", "diagnose")
        evaluate.run(config=other, prediction=prediction, store=store.path, out=tmp_path / "out")
    with pytest.raises(OrbitError, match="unknown key 'bootstraps'"):
        wrong = make.write_slice(tmp_path / "w.json", "evaluate", settings={"bootstraps": 1})
        evaluate.run(config=wrong, prediction=prediction, store=store.path, out=tmp_path / "out")
    with pytest.raises(OrbitError, match="pair store not found"):
        evaluate.run(config=config, prediction=prediction, store=tmp_path / "no.zarr", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
