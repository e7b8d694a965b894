"""Quantile mapping, BCSD and the monthly delta: against xsdba, numpy and worlds whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from orbit2 import evaluate
from orbit2.baselines import interpolate
from orbit2.baselines.bcsd import Disaggregation, disaggregated
from orbit2.baselines.fitted import Fitted
from orbit2.baselines.interpolation import block_mean
from orbit2.baselines.quantiles import NODES, codes_of, mapped, node_codes, places, values_at
from orbit2.data.packing import MISSING, pack, packing_of
from tests.data import scored as make

RAIN, WARMTH = "precipitation_rate", "2m_temperature"
TRAIN, TEST = slice(0, 24), slice(25, 28)
MONTHS = np.array([np.datetime64(f"{2000 + i // 12}-{i % 12 + 1:02d}-15T00:00", "s") for i in range(28)])


def last(codes):
    return np.ascontiguousarray(np.moveaxis(codes, 0, -1))


@pytest.mark.parametrize("name", [WARMTH, RAIN])
def test_codes_are_those_of_the_store_and_values_come_back(name):
    packing = packing_of(name)
    values = np.array([[201.0, 250.3, np.nan, 349.9]]) if name == WARMTH else np.array([[0.0, 0.31, np.nan, 420.0]])
    np.testing.assert_array_equal(codes_of(values, packing), pack(values[None].astype(np.float32), [name])[0])
    np.testing.assert_allclose(values_at(places(values, packing), packing), values, rtol=1e-12)


def test_nodes_are_numpys_quantiles_of_what_is_known():
    generator = np.random.default_rng(0)
    samples = generator.integers(-30000, 30000, (37, 5, 6)).astype(np.int16)
    samples[generator.random(samples.shape) < 0.3] = MISSING
    samples[:, 0, 0] = MISSING
    known = np.where(samples == MISSING, np.nan, samples.astype(np.float64))
    found = node_codes(samples.copy())
    assert (found[:, 0, 0] == MISSING).all()
    known[:, 0, 0] = 0
    expected = np.nanquantile(known, NODES, axis=0)
    there = np.ones((5, 6), dtype=bool)
    there[0, 0] = False
    assert np.abs(found - expected)[:, there].max() <= 0.5 + 1e-9


def test_a_shifted_and_stretched_distribution_is_put_right():
    """truth = 1.5 x + 10 in every cell: the map is that line within the outermost nodes, and a shift beyond."""
    packing, generator = packing_of(WARMTH), np.random.default_rng(1)
    x = 200 + 4 * generator.normal(size=(400, 3, 4))
    given, wanted = (last(node_codes(codes_of(v, packing))) for v in (x, 1.5 * x - 90))
    new = np.full((3, 4), 201.0)
    np.testing.assert_allclose(mapped(new, given, wanted, packing), 1.5 * new - 90, atol=0.02)
    beyond = values_at(given[..., -1].astype(float), packing) + 30
    expected = beyond + values_at(wanted[..., -1].astype(float), packing) - values_at(given[..., -1].astype(float), packing)
    np.testing.assert_allclose(mapped(beyond, given, wanted, packing), expected, atol=1e-6)
    assert np.isnan(mapped(np.full((3, 4), np.nan), given, wanted, packing)).all()
    given[1, 2] = MISSING
    assert mapped(new, given, wanted, packing)[1, 2] == 201.0  # nothing known: left alone


def test_dry_stays_dry_where_it_is_drier_than_the_truth_too():
    packing = packing_of(RAIN)
    x = np.zeros((100, 1, 1))
    x[50:, 0, 0] = np.linspace(0.1, 20, 50)
    y = np.zeros((100, 1, 1))
    y[70:, 0, 0] = np.linspace(1, 60, 30)
    given, wanted = (last(node_codes(codes_of(v, packing))) for v in (x, y))
    assert mapped(np.zeros((1, 1)), given, wanted, packing)[0, 0] == 0
    assert mapped(np.full((1, 1), 0.2), given, wanted, packing)[0, 0] == pytest.approx(0, abs=1e-3)  # drizzle that is none
    median_wet = mapped(np.full((1, 1), 20.0), given, wanted, packing)[0, 0]
    assert 55 < median_wet < 70


@pytest.mark.slow  # importing and compiling xsdba takes a minute
def test_it_is_xsdbas_empirical_quantile_mapping():
    import xsdba  # slow to import
    packing, generator = packing_of(WARMTH), np.random.default_rng(2)
    x = 280 + 5 * generator.normal(size=(120, 4, 5))
    y = x + 2 + generator.normal(size=x.shape)
    given, wanted = (node_codes(codes_of(v, packing)) for v in (x, y))
    new = np.linspace(265, 295, 20).reshape(4, 5)

    def array(values):
        time = xr.date_range("2000-01-01", periods=len(values), freq="D")
        return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time}, attrs={"units": "K"})

    oracle = xsdba.EmpiricalQuantileMapping.train(array(y), array(x), nquantiles=np.array(NODES), group="time", kind="+")
    expected = oracle.adjust(array(new[None]), interp="linear", extrapolation="constant").transpose("time", "y", "x").to_numpy()[0]
    np.testing.assert_allclose(mapped(new, last(given), last(wanted), packing), expected, atol=2 * packing.step)


@pytest.fixture(scope="module")
def two_years(tmp_path_factory):
    """A store of 28 months and what was fitted to the first 24."""
    folder = tmp_path_factory.mktemp("monthly")
    store = make.make_store(folder / "pairs.zarr", degrees=15.0, samples=28, times=MONTHS)
    evaluate.fit(config=make.write_dataset(folder / "d.json", store, TRAIN, TEST), store=store.path, out=folder / "b.nc")
    return store, folder / "b.nc"


def pairs(store, name, samples):
    """(coarse, area-conserving interpolation, truth) [T, H, W]."""
    position, lower = make.VARIABLES.index(name), 0.0 if name == RAIN else None
    coarse = np.stack([store.read("coarse", i)[position] for i in samples]).astype(np.float64)
    base = np.stack([interpolate(x, store.grid("coarse"), 4, "conservative", lower=lower) for x in coarse])
    return coarse, base, np.stack([store.read("fine", i)[position] for i in samples]).astype(np.float64)


def test_delta_is_by_month_where_every_month_was_seen_twice(two_years):
    store, path = two_years
    fitted = Fitted(path, slice(None), slice(None), store.grid("coarse"), 4)
    assert fitted.methods(WARMTH, ["delta", "bcsd"]) == ("delta_monthly", "bcsd_monthly")
    assert fitted.methods(RAIN, ["delta"]) == ("delta_monthly", "delta_monthly_log1p")
    coarse, base, truth = pairs(store, WARMTH, [1, 13, 25])  # Februaries; the last is a test sample
    found = fitted.apply("delta_monthly", WARMTH, base[2], coarse[2], store.times[25])
    np.testing.assert_allclose(found, base[2] + (truth - base)[:2].mean(0), atol=1e-3)
    coarse, base, truth = pairs(store, RAIN, [1, 13, 25])
    found = fitted.apply("delta_monthly_log1p", RAIN, base[2], coarse[2], store.times[25])
    residual = (np.log1p(truth) - np.log1p(base))[:2].mean(0)
    np.testing.assert_allclose(found, np.maximum(np.expm1(np.log1p(base[2]) + residual), 0), atol=1e-3)


@pytest.mark.parametrize("name", [WARMTH, RAIN])
def test_bcsd_is_the_mapped_inputs_anomaly_on_the_fine_monthly_mean(two_years, name):
    """The input is the truth's own area mean here: the map changes nothing, so the block means of the result are the input."""
    store, path = two_years
    fitted = Fitted(path, slice(None), slice(None), store.grid("coarse"), 4)
    coarse, base, truth = pairs(store, name, [2, 14])
    weights = store.grid("fine").lat_weights
    mean, grid = truth.mean(0), store.grid("coarse")
    found = fitted.apply("bcsd_monthly", name, base[0], coarse[0], store.times[2])
    if name == WARMTH:
        expected = mean + interpolate(coarse[0] - block_mean(mean, weights, 4), grid, 4, "conservative")
        np.testing.assert_allclose(found, expected, atol=0.01)
        np.testing.assert_allclose(block_mean(found, weights, 4), coarse[0], atol=0.01)
    else:
        block = block_mean(mean, weights, 4)
        ratio = np.divide(coarse[0], block, out=np.zeros_like(block), where=block > 0.01)
        expected = mean * interpolate(ratio, grid, 4, "conservative", lower=0.0)
        assert np.quantile(np.abs(found - expected), 0.99) < 0.02 and found.min() == 0
    part = Fitted(path, slice(8, 20), slice(4, 40), grid, 4)
    np.testing.assert_allclose(part.apply("bcsd_monthly", name, base[0][8:20, 4:40], coarse[0], store.times[2]), found[8:20, 4:40])


def test_bcsd_puts_right_a_biased_input(tmp_path, two_years):
    """Quantile mapping on the input's grid: a bias of the input that grows with its value is gone before it is made fine."""
    store, _ = two_years
    packing, grid = packing_of(WARMTH), store.grid("coarse")
    gathered = Disaggregation({WARMTH: packing}, grid, 4, monthly=False, samples=24)
    coarse, _, truth = pairs(store, WARMTH, range(24))
    biased = 1.1 * coarse - 20
    for x, y in zip(biased, truth, strict=True):
        gathered.update(WARMTH, x.astype(np.float32), y.astype(np.float32))
    gathered.close(1)
    data = gathered.data()
    given, wanted = (last(data[f"{WARMTH}_bcsd_{key}"].to_numpy()[0]) for key in ("given", "wanted"))
    mean = data[f"{WARMTH}_bcsd_mean"].to_numpy()[0].astype(np.float64)
    found = disaggregated(biased[5], given, wanted, mean, truth.mean(0), packing, grid, 4, (slice(None), slice(None)))
    error = np.sqrt(np.mean((found - truth[5]) ** 2))
    raw = np.sqrt(np.mean((interpolate(biased[5], grid, 4, "conservative") - truth[5]) ** 2))
    assert error < 0.5 * raw


def test_bands_of_rows_give_the_same_maps(two_years, tmp_path, monkeypatch):
    store, path = two_years
    monkeypatch.setattr("orbit2.evaluate.fitting.BAND_BYTES", 24 * 96 * 2 * 4 * 7)  # seven rows
    evaluate.fit(config=make.write_dataset(tmp_path / "d.json", store, TRAIN, TEST), store=store.path, out=tmp_path / "b.nc")
    with xr.open_dataset(path, engine="h5netcdf") as one, xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf") as other:
        for name in (WARMTH, RAIN):
            for key in ("given", "wanted"):
                np.testing.assert_array_equal(one[f"{name}_map_{key}"], other[f"{name}_map_{key}"])
    fitted = Fitted(path, slice(None), slice(None), store.grid("coarse"), 4)
    coarse, base, truth = pairs(store, WARMTH, range(24))
    row, column = 7, 31
    x, y = base[:, row, column], truth[:, row, column]
    at = np.interp(x[3], np.quantile(x, NODES), np.quantile(y, NODES) - np.quantile(x, NODES))
    assert fitted.apply("quantile_mapping", WARMTH, base[3], coarse[3], store.times[3])[row, column] == pytest.approx(x[3] + at, abs=0.02)


def test_a_large_grid_has_no_map_per_cell(two_years, tmp_path, monkeypatch):
    store, _ = two_years
    monkeypatch.setattr("orbit2.evaluate.fitting.MAP_CELLS", 100)
    evaluate.fit(config=make.write_dataset(tmp_path / "d.json", store, TRAIN, TEST), store=store.path, out=tmp_path / "b.nc")
    fitted = Fitted(tmp_path / "b.nc", slice(None), slice(None), store.grid("coarse"), 4)
    assert fitted.methods(WARMTH, ["quantile_mapping", "bcsd"]) == ("bcsd_monthly",)
