"""Baselines fitted to the training block: against numpy's own regression, through the command line, and never from another block."""

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from orbit2 import evaluate
from orbit2.baselines import interpolate
from orbit2.baselines.fitted import FITTED, PRIORS, Fit, Fitted, Sums, choose_prior
from orbit2.cli.command import app
from orbit2.errors import OrbitError
from orbit2.metrics import table as tables
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make

TRAIN, TEST = slice(0, 10), slice(12, 15)
ALL = [*make.BASELINES, "delta", "lapse_rate", "regression", "quantile_mapping", "bcsd"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make.make_store(tmp_path_factory.mktemp("fitted") / "pairs.zarr", degrees=12.0, samples=15)


@pytest.fixture(scope="module")
def fits(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    config = make.write_dataset(folder / "dataset.json", store, TRAIN, TEST)
    options = ["--config", config, "--store", store.path, "--out", folder / "b.nc"]
    result = CliRunner().invoke(app, ["evaluate", "fit", *map(str, options)])
    assert result.exit_code == 0, result.output
    return folder / "b.nc"


def fields(store, name, samples):
    """(area-conserving interpolation, truth), [T, H, W] float64."""
    position, lower = make.VARIABLES.index(name), 0.0 if name == "precipitation_rate" else None
    coarse = [store.read("coarse", i)[position].astype(np.float64) for i in range(15)[samples]]
    base = np.stack([interpolate(x, store.grid("coarse"), 4, "conservative", lower=lower) for x in coarse])
    return base, np.stack([store.read("fine", i)[position].astype(np.float64) for i in range(15)[samples]])


def test_delta_and_regression_equal_numpy_in_each_cell(store, fits):
    fitted = Fitted(fits, slice(None), slice(None), store.grid("coarse"), 4)
    assert (fitted.samples, fitted.data.attrs["of_samples"]) == (10, 10)
    for name, label, forward, back in (
        ("2m_temperature", "2m_temperature", lambda x: x, lambda x: x),
        ("precipitation_rate", "precipitation_rate", lambda x: x, lambda x: np.maximum(x, 0)),
        ("precipitation_rate", "precipitation_rate_log1p", np.log1p, lambda x: np.maximum(np.expm1(x), 0)),
    ):
        end = "_log1p" if label.endswith("log1p") else ""
        x, y = (forward(v) for v in fields(store, name, TRAIN))
        new, given = fields(store, name, TEST)[0][0], store.read("coarse", 12)[make.VARIABLES.index(name)].astype(np.float64)
        when = store.times[12]
        delta = back(forward(new) + (y - x).mean(0))
        np.testing.assert_allclose(fitted.apply(f"delta{end}", name, new, given, when), delta, atol=2e-4)
        row, column = 11, 37
        slope = np.polyfit(x[:, row, column], (y - x)[:, row, column], 1)[0] * 10 / (10 + float(fitted.data[f"{label}_prior"]))
        expected = back(forward(new) + (y - x).mean(0) + slope * (forward(new) - x.mean(0)))[row, column]
        assert fitted.apply(f"regression{end}", name, new, given, when)[row, column] == pytest.approx(expected, abs=2e-4)
        for method in (f"delta{end}", f"regression{end}", "bcsd", "quantile_mapping"):
            single, double = (fitted.apply(method, name, new, given, when, kept) for kept in (np.float32, np.float64))
            assert single.dtype == np.float32 and np.array_equal(single, double.astype(np.float32)), method


def test_all_baselines_of_a_window_are_made_at_once_by_bands(store, fits, monkeypatch):
    monkeypatch.setattr("orbit2.baselines.interpolation.BAND_CELLS", 1)  # bands of one coarse row
    monkeypatch.setattr("orbit2.baselines.held.LARGE", 1)
    grid, window = store.grid("coarse"), (slice(6, 39), slice(5, 50))  # cuts coarse cells
    for name in make.VARIABLES:
        given = store.read("coarse", 12)[make.VARIABLES.index(name)].astype(np.float64)
        base = fields(store, name, TEST)[0][0]
        whole, part = Fitted(fits, slice(None), slice(None), grid, 4), Fitted(fits, *window, grid, 4)
        methods = part.methods(name, FITTED)
        found = part.applied(methods, name, given, store.times[12])
        assert set(found) == {*methods, "conservative"} and np.array_equal(found["conservative"], base[window])
        for method in methods:
            np.testing.assert_array_equal(found[method], whole.apply(method, name, base, given, store.times[12])[window], method)


def test_lapse_rate_is_found_and_put_back():
    """A world 6.5 K/km colder higher up than its smooth part says: the fit finds the rate and the baseline is the truth."""
    coarse = make.global_grid(15.0)
    fine = coarse.refine(4)
    generator = np.random.default_rng(0)
    height = np.maximum(0, 3000 * generator.random(fine.shape) - 1000)
    fit = Fit(["2m_temperature"], coarse, 4, area_weights(fine), height)
    anomaly = fit.lapse["2m_temperature"].height
    given = (280 + 10 * generator.random(coarse.shape)).astype(np.float32)
    base = interpolate(given.astype(np.float64), coarse, 4, "conservative")
    fit.update("2m_temperature", given, (base - 0.0065 * anomaly).astype(np.float32), half=0)
    assert fit.lapse["2m_temperature"].rate() == pytest.approx(-0.0065, rel=1e-5)
    assert "2m_temperature_lapse_rate" in fit.dataset()


@pytest.mark.parametrize("label", ["2m_temperature", "precipitation_rate", "precipitation_rate_log1p"])
def test_the_prior_is_that_of_the_lowest_error_between_the_halves_of_the_training_block(store, fits, label):
    """Against numpy, sample by sample: each half (5 of 10) corrected by least squares over the other."""
    forward = np.log1p if label.endswith("log1p") else np.asarray
    x, y = (forward(v) for v in fields(store, label.removesuffix("_log1p"), TRAIN))
    r, weights = y - x, area_weights(store.grid("fine"))
    errors = np.zeros(len(PRIORS))
    for fitted, held in ((slice(0, 5), slice(5, 10)), (slice(5, 10), slice(0, 5))):
        dx = x[fitted] - x[fitted].mean(0)
        variation = (dx**2).sum(0)
        plain = np.divide((dx * r[fitted]).sum(0), variation, out=np.zeros_like(variation), where=variation > 0)
        left = r[held] - r[fitted].mean(0)
        for k, prior in enumerate(PRIORS):
            slope = plain * 5 / (5 + prior)
            errors[k] += (weights * ((left - slope * (x[held] - x[fitted].mean(0))) ** 2 - left**2)).mean() / 2
    found = xr.open_dataset(fits, engine="h5netcdf")
    np.testing.assert_allclose(found[f"{label}_prior_errors"], errors, rtol=1e-3, atol=1e-6)
    assert float(found[f"{label}_prior"]) == PRIORS[int(np.argmin(errors))]
    np.testing.assert_array_equal(found["prior"], PRIORS)


@pytest.mark.parametrize(("slope", "noise", "least", "most"), [
    (0.5, 0.01, 0.0, 1.0),  # the residual follows the input: a prior would only bias the slope
    (0.5, 1.5, 2.0, 64.0),  # between: noise over signal says 9 samples
    (0.0, 1.0, 1024.0, np.inf),  # noise alone: any slope is an error
])  # fmt: skip
def test_the_prior_is_weak_for_signal_and_strong_for_noise(slope, noise, least, most):
    generator = np.random.default_rng(0)
    halves = Sums((40, 50)), Sums((40, 50))
    for i in range(16):
        x = generator.normal(size=(40, 50))
        halves[i // 8].update(x, x + slope * x + noise * generator.normal(size=(40, 50)))
    prior, errors = choose_prior(*halves, np.ones((40, 50)))
    assert least <= prior <= most
    assert errors[-1] == 0 and errors.min() == errors[PRIORS.index(prior)]


def test_without_evidence_there_is_no_slope():
    """One sample, or cells that one half never saw, tell nothing of a slope: the strongest prior, which is `delta`."""
    first, second = Sums((2, 2)), Sums((2, 2))
    first.update(np.ones((2, 2)), np.zeros((2, 2)))
    assert choose_prior(first, second, np.ones((2, 2)))[0] == np.inf
    for value in (2.0, 3.0):
        first.update(np.full((2, 2), value), np.full((2, 2), 5 * value))
        second.update(np.full((2, 2), value), np.full((2, 2), np.nan))
    prior, errors = choose_prior(first, second, np.ones((2, 2)))
    assert prior == np.inf and not errors.any()
    assert first.slope(0.0).all() and not first.slope(prior).any()


def test_sums_merge_exactly_and_skip_what_is_missing():
    generator = np.random.default_rng(1)
    x, y = generator.normal(1e5, 3, (9, 2, 3)), generator.normal(1e5, 3, (9, 2, 3))
    y[2, 0, 0] = np.nan
    y[:, 1, 2] = np.nan  # never observed
    whole, first, second = Sums((2, 3)), Sums((2, 3)), Sums((2, 3))
    for i in range(9):
        whole.update(x[i], y[i])
        (first if i < 4 else second).update(x[i], y[i])
    first.merge(second)
    for name in ("n", "x", "r", "xx", "xr"):
        np.testing.assert_allclose(getattr(first, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    known = np.arange(9) != 2
    assert whole.n[0, 0] == 8 and whole.r[0, 0] == pytest.approx((y - x)[known, 0, 0].mean())
    assert whole.n[1, 2] == whole.r[1, 2] == whole.slope(16.0)[1, 2] == whole.slope(0.0)[1, 2] == 0  # left as interpolation


def test_only_the_training_block_is_read(store, fits, tmp_path, monkeypatch):
    """Whatever the test samples hold, the fit is the same: they are never read."""
    read = []
    original, packed = make.PairStore.read, make.PairStore.read_packed
    monkeypatch.setattr(make.PairStore, "read_packed", lambda self, side, index: read.append((side, index)) or packed(self, side, index))
    config = make.write_dataset(tmp_path / "d.json", store, TRAIN, TEST)
    evaluate.fit(config=config, store=store.path, out=tmp_path / "b.nc")
    assert set(read) == {(side, index) for side in ("coarse", "fine") for index in range(10)}
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf"), xr.open_dataset(fits, engine="h5netcdf"))
    weather = make.weather  # other fields, of the same range, in all that is not training: the fits and their priors stay
    monkeypatch.setattr(make, "weather", lambda grid, i: weather(grid, i) if i < 10 else weather(grid, i)[:, ::-1, ::-1])
    other = make.make_store(tmp_path / "pairs.zarr", degrees=12.0, samples=15)
    assert not np.allclose(original(other, "fine", 12), original(store, "fine", 12))
    evaluate.fit(config=make.write_dataset(tmp_path / "o.json", other, TRAIN, TEST), store=other.path, out=tmp_path / "o.nc")
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "o.nc", engine="h5netcdf"), xr.open_dataset(fits, engine="h5netcdf"))


def test_long_blocks_are_sampled_evenly(store, tmp_path, monkeypatch):
    monkeypatch.setattr("orbit2.evaluate.fitting.MOST_SAMPLES", 4)
    config = make.write_dataset(tmp_path / "d.json", store, TRAIN, TEST)
    evaluate.fit(config=config, store=store.path, out=tmp_path / "b.nc")
    found = xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf")
    assert (found.attrs["samples"], found.attrs["of_samples"]) == (4, 10)
    x, y = fields(store, "2m_temperature", TRAIN)
    np.testing.assert_allclose(found["2m_temperature_mean_residual"], (y - x)[[0, 3, 6, 9]].mean(0), atol=1e-3)


def run(folder, stage, prediction, store, **options):
    keys = {key: options.pop(key) for key in ("parent_about",) if key in options}
    config = make.write_slice(folder / f"{stage}.json", stage, baselines=ALL, parent=keys.get("parent_about"))
    arguments = [stage, "--config", config, "--prediction", prediction, "--store", store.path, "--out", folder / stage]
    for key, path in options.items():
        arguments += [f"--{key}", path]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_evaluate_and_diagnose_score_them_beside_the_interpolations(store, fits, tmp_path):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, names=("2m_temperature", "precipitation_rate"))
    for stage, name in (("evaluate", "metrics"), ("diagnose", "regions")):
        result = run(tmp_path, stage, prediction, store, fits=fits)
        assert result.exit_code == 0, result.output
        frame = tables.read(tmp_path / stage / f"{name}.parquet")
        rain = set(frame[frame.variable == "precipitation_rate"].model)
        assert {"delta", "regression", "delta_log1p", "regression_log1p", "quantile_mapping", "bcsd"} <= rain and "lapse_rate" not in rain
        assert {"delta", "regression", "lapse_rate", "quantile_mapping", "bcsd"} <= set(frame[frame.variable == "2m_temperature"].model)
    frame = tables.read(tmp_path / "evaluate" / "metrics.parquet")
    x, y = fields(store, "2m_temperature", slice(None))
    mean = (y[TRAIN] - x[TRAIN]).mean(0)
    w = np.broadcast_to(np.cos(np.radians(store.grid("fine").lat))[:, None], y.shape)
    expected = np.sqrt(np.average((x + mean - y) ** 2, weights=w))
    found = frame[(frame.model == "delta") & (frame.metric == "rmse") & (frame.region == "global") & (frame.variable == "2m_temperature")]
    assert found.value.item() == pytest.approx(expected, rel=1e-5)


def test_wanted_without_fits_and_fits_of_another_grid_are_refused(store, fits, tmp_path):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, names=("2m_temperature",))
    with pytest.raises(OrbitError, match=r"delta, lapse_rate, regression.*evaluate fit"):
        evaluate.run(config=make.write_slice(tmp_path / "s.json", "evaluate", baselines=ALL), prediction=prediction, store=store.path,
                     out=tmp_path / "out")  # fmt: skip
    other = make.make_store(tmp_path / "other.zarr", degrees=15.0, samples=2)
    with pytest.raises(OrbitError, match="another grid"):
        evaluate.run(config=make.write_slice(tmp_path / "s.json", "evaluate", baselines=ALL), fits=fits, store=other.path,
                     prediction=make.make_prediction(tmp_path / "q.zarr", other), out=tmp_path / "out")  # fmt: skip
    finer = make.make_prediction(tmp_path / "f.zarr", other, side="fine", samples=1)  # no truth: nothing to fit to, nothing refused
    evaluate.run(config=make.write_slice(tmp_path / "s.json", "evaluate", side="fine", baselines=ALL), prediction=finer, store=other.path,
                 out=tmp_path / "out")  # fmt: skip


def test_a_fine_tuned_model_stands_beside_its_parent_on_its_own_box(store, fits, tmp_path):
    """The child's box is cut out of the parent's globe; both are scored on the same cells, and the skill is their ratio."""
    parent = make.make_prediction(tmp_path / "parent.zarr", store, task="whole", names=("2m_temperature",))
    child = make.make_prediction(tmp_path / "child.zarr", store, box=(24, 60, 228, 300), names=("2m_temperature",), field=make.perfect)
    about = {"model": "foundation", "prediction": "whole"}
    for stage, name in (("evaluate", "metrics"), ("diagnose", "regions")):
        result = run(tmp_path, stage, child, store, fits=fits, parent=parent, parent_about=about)
        assert result.exit_code == 0, result.output
        frame = tables.read(tmp_path / stage / f"{name}.parquet")
        rmse = frame[(frame.metric == "rmse") & frame.region.isin(["domain", "WNA"])].set_index(["region", "model"]).value
        region = "domain" if stage == "evaluate" else "WNA"
        if (region, "foundation") in rmse.index:
            assert rmse[region, "foundation"] == pytest.approx(rmse[region, "bicubic"], rel=1e-5)
            assert rmse[region, "reslim"] < 1e-6
    frame = tables.read(tmp_path / "evaluate" / "metrics.parquet")
    assert frame[frame.metric == "rmse_skill_vs_foundation"].value.item() == pytest.approx(1)
    best = frame[frame.metric == "rmse_skill_vs_best_baseline"].method.item()
    assert "foundation" not in best  # no baseline
    short = make.make_prediction(tmp_path / "short.zarr", store, task="whole", samples=3)
    result = run(tmp_path, "evaluate", child, store, fits=fits, parent=short, parent_about=about)
    assert isinstance(result.exception, OrbitError) or result.exit_code == 2
