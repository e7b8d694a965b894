"""A prediction meets its store: same times, same cells, baselines from the whole input; what does not fit is refused by name."""

import numpy as np
import pytest
import xarray as xr

from orbit2.baselines import interpolate
from orbit2.errors import OrbitError
from orbit2.metrics import deterministic
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.collector import gather
from orbit2.metrics.matched import Matched
from orbit2.metrics.statistics import moments
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make.make_store(tmp_path_factory.mktemp("store") / "pairs.zarr", hole=True)


def matched(store, prediction, **slice_):
    config = {"task": "test", "downscale": {"model": "reslim", "dataset": "era5_week", "input": "coarse"}, **slice_}
    return Matched(config, prediction, store.path, make.BASELINES)


def test_models_share_their_cells_and_missing_truth_is_never_zero(store, tmp_path):
    m = matched(store, make.make_prediction(tmp_path / "p.zarr", store))
    assert m.models("2m_temperature") == ("reslim", *make.BASELINES)
    assert m.models("precipitation_rate")[-2:] == ("bilinear_log1p", "bicubic_log1p")
    for sample in m.samples():
        masks = [np.isnan(x) for x in (sample.truth, *sample.models.values())]
        assert all(np.array_equal(mask, masks[0]) for mask in masks) and masks[0].sum() == 200


def test_a_sample_that_was_gathered_holds_no_fields(store, tmp_path):
    """At 7 km they are gigabytes; a progress bar has the sample while the next one is made."""
    m = matched(store, make.make_prediction(tmp_path / "p.zarr", store))
    held = []

    def watched(samples):
        for sample in samples:
            held.append(sample)
            yield sample

    gather(m, [], watched)
    assert len(held) == len(m.times) * len(m.variables)
    assert not any([*sample.models, *sample.native] for sample in held)


def test_a_box_is_interpolated_with_its_surroundings(store, tmp_path):
    box = (20, 55, 200, 300)
    m = matched(store, make.make_prediction(tmp_path / "box.zarr", store, box=box))
    rows, columns = store.grid("fine").window(box)
    sample = next(m.samples())
    whole = interpolate(store.read("coarse", 0)[0].astype(float), store.grid("coarse"), 4, "bicubic")
    assert m.region == "domain" and np.array_equal(sample.models["bicubic"], whole[rows, columns])
    assert np.array_equal(sample.truth, store.read("fine", 0)[0][rows, columns].astype(float))


def test_finer_than_the_truth_is_scored_against_its_own_input(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", samples=1)
    prediction = make.make_prediction(tmp_path / "fine.zarr", store, side="fine")
    m = matched(store, prediction, downscale={"model": "reslim", "dataset": "era5_week", "input": "fine"})
    sample = next(m.samples())
    assert not m.has_truth and sample.native["reslim"].shape == (288, 576) and sample.models["reslim"].shape == (72, 144)
    assert np.array_equal(sample.truth, store.read("fine", 0)[0].astype(float)) and "no truth" in m.reference


def test_order_of_times_in_the_file_does_not_matter(store, tmp_path):
    whole = make.make_prediction(tmp_path / "a.zarr", store)
    opened = xr.open_zarr(str(whole), consolidated=False).load()
    for name in opened.variables:
        opened[name].encoding = {}
    opened.isel(time=[2, 0, 3, 1]).to_zarr(str(tmp_path / "b.zarr"), zarr_format=3, consolidated=False)
    a, b = (list(matched(store, tmp_path / f"{x}.zarr").samples()) for x in "ab")
    for x, y in zip(a, b, strict=True):
        assert x.time == y.time and np.array_equal(x.models["reslim"], y.models["reslim"], equal_nan=True)


def rewrite(path, new, change):
    opened = xr.open_zarr(str(path), consolidated=False).load()
    for name in opened.variables:
        opened[name].encoding = {}
    change(opened).to_zarr(str(new), zarr_format=3, consolidated=False)
    return new


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d.assign_attrs(finalised=False), "not finalised"),
    (lambda d: d.assign_attrs(task="other"), "another task"),
    (lambda d: d.assign_coords(time=d.time + np.timedelta64(1, "h")), "times that the pair store has not"),
    (lambda d: d.rename({"2m_temperature": "2m_temperatura"}), "did you mean '2m_temperature'"),
    (lambda d: d.assign({"2m_temperature": d["2m_temperature"].assign_attrs(units="degC")}), "wrong units"),
    (lambda d: d.drop_vars(["2m_temperature", "precipitation_rate"]), "no field"),
    (lambda d: d.drop_vars("lat"), "lacks a coordinate"),
    (lambda d: d.drop_vars(["lat_bnds", "lon_bnds"]).assign_coords(lon=d.lon + 1), "do not coincide"),
], ids=["unfinalised", "task", "times", "variable", "units", "empty", "coordinate", "grid"])
def test_what_does_not_fit_is_refused(store, tmp_path, change, message):
    prediction = make.make_prediction(tmp_path / "p.zarr", store, samples=1)
    with pytest.raises(OrbitError, match=message):
        matched(store, rewrite(prediction, tmp_path / "changed.zarr", change))


def test_missing_files_and_fields_are_refused(store, tmp_path):
    with pytest.raises(OrbitError, match="prediction not found"):
        matched(store, tmp_path / "none.zarr")
    (tmp_path / "bad.zarr").mkdir()
    with pytest.raises(OrbitError, match="cannot be read"):
        matched(store, tmp_path / "bad.zarr")
    empty = make.make_prediction(tmp_path / "nan.zarr", store, field=lambda s, side, i, n: np.full(s.grid("fine").shape, np.nan))
    with pytest.raises(OrbitError, match="missing everywhere"):
        list(matched(store, empty).samples())
    good = make.make_prediction(tmp_path / "good.zarr", store, samples=1)
    with pytest.raises(OrbitError, match="name of a baseline"):
        matched(store, good, downscale={"model": "bicubic", "dataset": "era5_week", "input": "coarse"})


def test_large_fields_are_kept_in_single_precision_and_score_the_same(store, tmp_path, monkeypatch):
    m = matched(store, make.make_prediction(tmp_path / "p.zarr", store))
    exact = next(m.samples())
    monkeypatch.setattr("orbit2.metrics.matched.SINGLE", 100)
    single = next(m.samples())
    weights, bins = area_weights(m.grid), domain_bins(m.grid)
    assert {x.dtype for x in (single.truth, *single.models.values())} == {np.dtype(np.float32)}
    assert np.array_equal(single.truth, exact.truth, equal_nan=True)
    assert np.array_equal(single.models["reslim"], exact.models["reslim"], equal_nan=True)  # files hold no more
    for model in exact.models:
        a, b = (deterministic.rmse(moments(x.models[model], x.truth, weights, bins))[0] for x in (exact, single))
        assert b == pytest.approx(a, rel=1e-6)
