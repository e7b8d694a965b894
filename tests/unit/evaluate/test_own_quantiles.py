"""Thresholds of what is rare for its own place: each cell's quantiles of the training block, and the errors above them, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2 import evaluate
from orbit2.baselines.training import Training
from orbit2.evaluate import own_quantiles
from orbit2.metrics import quantiles
from orbit2.metrics.quantiles import LEVELS
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make

SAMPLES = 120  # 0.9545 leaves 5.4 beyond it, 0.9973 a third of one
TRAIN, TEST = slice(0, SAMPLES - 2), slice(SAMPLES - 1, SAMPLES)
HOLE = slice(10, 14), slice(40, 60)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    times = np.datetime64("2001-01-01T12:00", "s") + np.arange(SAMPLES) * np.timedelta64(86400, "s")
    return make.make_store(tmp_path_factory.mktemp("own") / "pairs.zarr", degrees=30.0, samples=SAMPLES, hole=HOLE, times=times)


@pytest.fixture(scope="module")
def truth(store):
    return np.stack([store.read("fine", i) for i in range(SAMPLES)[TRAIN]]).astype(np.float64)


def fitted(store, folder):
    evaluate.fit(config=make.write_dataset(folder / "d.json", store, TRAIN, TEST), store=store.path, out=folder / "b.nc")
    return Training(folder / "b.nc", slice(None), slice(None), store.grid("fine"))


@pytest.fixture(scope="module")
def training(store, tmp_path_factory):
    return fitted(store, tmp_path_factory.mktemp("fits"))


@pytest.mark.parametrize("name", make.VARIABLES[:2])
def test_thresholds_are_each_cells_own_and_its_zones_where_samples_are_too_few(store, training, truth, name):
    values = truth[:, make.VARIABLES.index(name)]
    found, share = training.own_quantiles(name)
    assert share[:2] == (1, 1) and share[2:] == (0, 0)
    seen = np.isfinite(values).any(axis=0)
    assert np.isnan(found[:, ~seen]).all() and np.isfinite(found[:, seen]).all() and not seen.all()
    for i in (0, 1):
        expected = np.nanquantile(values, LEVELS[i], axis=0, method="inverted_cdf")
        np.testing.assert_allclose(found[i][seen], expected[seen], rtol=1e-6)
    zones = np.floor((store.grid("fine").lat2d + 90) / 10)
    weights = np.broadcast_to(area_weights(store.grid("fine")), values.shape)
    for zone in np.unique(zones):
        here = np.isfinite(values) & (zones == zone)
        order = np.argsort(values[here], kind="stable")
        running = np.cumsum(weights[here][order])
        for i in (2, 3):
            expected = values[here][order][np.searchsorted(running, LEVELS[i] * running[-1] * (1 - 1e-12))]
            np.testing.assert_allclose(found[i][seen & (zones == zone)], expected, rtol=1e-6)


def test_bands_of_rows_change_nothing_and_large_grids_have_none(store, training, monkeypatch, tmp_path):
    monkeypatch.setattr(own_quantiles, "BAND_BYTES", SAMPLES * store.grid("fine").shape[1] * len(make.VARIABLES) * 2 * 3)  # three rows
    by_bands = fitted(store, tmp_path)
    for name in make.VARIABLES:
        np.testing.assert_array_equal(by_bands.own_quantiles(name)[0], training.own_quantiles(name)[0])
    part = Training(tmp_path / "b.nc", slice(4, 9), slice(30, 44), store.grid("fine"))
    np.testing.assert_array_equal(part.own_quantiles(make.VARIABLES[0])[0], training.own_quantiles(make.VARIABLES[0])[0][:, 4:9, 30:44])
    monkeypatch.setattr(own_quantiles, "MOST_CELLS", 10)
    (tmp_path / "large").mkdir()
    assert fitted(store, tmp_path / "large").own_quantiles(make.VARIABLES[0]) is None


@pytest.mark.parametrize("by_row", [False, True])
def test_sums_above_own_thresholds_are_those_of_plain_numpy(by_row):
    generator = np.random.default_rng(0)
    p, o, w = (generator.gamma(1, 5, (7, 9)) for _ in range(3))
    areas = w[:, :1].copy() if by_row else w
    w = np.broadcast_to(areas, (7, 9))
    o[0, :3], p[1, 1], p[2, 2], o[2, 2] = np.nan, np.nan, 0.0, 0.0
    limits = np.sort(generator.gamma(1, 5, (4, 7, 9)), axis=0).astype(np.float32)
    limits[:, 3, 3], limits[0, 2, 2] = np.nan, 0.0
    found = quantiles.own_sums(p, o, areas, limits, dry=0.0)
    both = np.isfinite(p) & np.isfinite(o)
    for q, limit in enumerate(limits.astype(np.float64)):
        for row, of in enumerate((o, p)):
            use = both & (of >= limit) & (of > 0)
            np.testing.assert_allclose(found[row, q], (use.sum(), w[use].sum(), (w * (p - o) ** 2)[use].sum()), rtol=1e-9)
        use = both & np.isfinite(limit)
        score = quantiles.tail_score(p[use], o[use], limit[use])
        np.testing.assert_allclose(found[2, q], (use.sum(), w[use].sum(), (w[use] * score).sum()), rtol=1e-9)
