"""A task with members has their scores in the table."""

import numpy as np
import pytest
import xarray as xr

from orbit2 import diagnose, evaluate
from orbit2.metrics import member_events, registry
from orbit2.metrics import table as tables
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make

MEMBERS = 3


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    store = make.make_store(folder / "pairs.zarr", degrees=30.0, hole=(slice(2, 4), slice(5, 9)))
    prediction = make.make_prediction(folder / "p.zarr", store, members=MEMBERS)
    config = make.write_slice(folder / "slice.json", "evaluate", baselines=["bilinear"])
    evaluate.run(config=config, prediction=prediction, store=store.path, out=folder / "out")
    opened = xr.open_zarr(prediction, consolidated=False)
    opened.encoding["source"] = prediction
    return store, opened, tables.read(folder / "out/metrics.parquet")


def value(frame, metric, name, space="physical", model="reslim", region="global"):
    rows = frame[(frame["metric"] == metric) & (frame["variable"] == name) & (frame["space"] == space) & (frame["model"] == model)]
    rows = rows[rows["region"] == region]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


CASES = [("2m_temperature", "physical"), ("precipitation_rate", "physical"), ("precipitation_rate", "log1p")]


@pytest.mark.parametrize(("name", "space"), CASES)
def test_scores_are_those_of_the_members_cells(done, name, space):
    store, prediction, frame = done
    to = np.log1p if space == "log1p" else np.asarray
    x = to(prediction[name].values.astype(np.float64))
    o = to(np.stack([make.perfect(store, "fine", i, name) for i in range(len(store.times))]).astype(np.float64))
    w = np.broadcast_to(area_weights(store.grid("fine")), o.shape) * np.isfinite(o)
    apart = sum(np.abs(x[i] - x[j]) for i in range(MEMBERS) for j in range(MEMBERS))
    crps = np.abs(x - o).mean(axis=0) - apart / (2 * MEMBERS * (MEMBERS - 1))
    known = np.isfinite(o)
    assert value(frame, "crps_fair", name, space) == pytest.approx(np.average(crps[known], weights=w[known]), rel=1e-5)
    spread = np.average(x.var(axis=0, ddof=1)[known], weights=w[known])
    error = np.average(((x.mean(axis=0) - o) ** 2)[known], weights=w[known])
    assert value(frame, "spread_skill", name, space) == pytest.approx(np.sqrt(4 / 3 * spread / error), rel=1e-5)


def test_rows_are_the_models_alone_and_registered(done):
    _, _, frame = done
    own = frame[frame["metric"].str.startswith(("crps", "rank_", "brier", "reliability", "spread", "energy", "members"))]
    assert set(own["model"]) == {"reslim"} and not registry.unknown(own["metric"])
    assert value(frame, "members", "2m_temperature") == MEMBERS
    ranks = [value(frame, f"rank_share_{rank}", "2m_temperature") for rank in range(MEMBERS + 1)]
    assert sum(ranks) == pytest.approx(1)
    assert {"brier_1", "brier_fair_5", "brier_skill_1", "reliability_1"} <= set(own[own["variable"] == "precipitation_rate"]["metric"])


def test_distributions_are_of_all_members_not_of_their_mean(done):
    """The mean of members that differ by noise has a lower 99.9 % quantile, and is dry more seldom, than they."""
    store, prediction, frame = done
    name = "precipitation_rate"
    x = prediction[name].values.astype(np.float64)
    o = np.stack([make.perfect(store, "fine", i, name) for i in range(len(store.times))])
    w = np.broadcast_to(area_weights(store.grid("fine")), o.shape) * np.isfinite(o)
    pooled = np.average(x >= 1, weights=np.broadcast_to(w, x.shape))
    assert value(frame, "wet_share_1", name) == pytest.approx(pooled, abs=1e-6)
    assert abs(pooled - np.average(x.mean(axis=0) >= 1, weights=w)) > 0.01
    order = np.argsort(x, axis=None)
    share = np.cumsum(np.broadcast_to(w, x.shape).ravel()[order])
    quantile = x.ravel()[order][np.searchsorted(share, 0.999 * share[-1])]
    assert value(frame, "quantile_0.999", name) == pytest.approx(quantile, rel=2e-3)
    assert "members" in frame.loc[(frame["metric"] == "quantile_0.999") & (frame["model"] == "reslim"), "method"].iloc[0]


def test_reliability_and_spread_curves_are_rows(done):
    _, _, frame = done
    rain = "precipitation_rate"
    area = [value(frame, f"reliability_area_1_{k}", rain) for k in range(MEMBERS + 1)]
    came = [value(frame, f"reliability_frequency_1_{k}", rain) for k in range(MEMBERS + 1)]
    base = value(frame, "brier_1", rain) / (1 - value(frame, "brier_skill_1", rain))  # b (1 - b)
    b = float(np.dot(area, came))
    assert sum(area) == pytest.approx(1) and b * (1 - b) == pytest.approx(base)
    spread = frame[frame["metric"].str.startswith("binned_") & (frame["variable"] == "2m_temperature")]
    assert len(spread) >= 10 and not registry.unknown(spread["metric"])


def test_neighbours_waves_and_edges_are_rows_beside_the_baseline(done):
    _, _, frame = done
    name = "2m_temperature"
    assert value(frame, "mae_differences", name, model="bilinear") > 0 < value(frame, "crps_differences", name)
    assert value(frame, "power_ratio_2_to_3_cells", name) > value(frame, "mean_power_ratio_2_to_3_cells", name)  # noise on a smooth field
    assert value(frame, "block_edge_ratio", name, model="(truth)") > 0 < value(frame, "block_edge_ratio", name)
    assert value(frame, "block_variance_0", name) == pytest.approx(1, abs=0.1)  # noise alike in every cell
    own = frame[frame["metric"].str.contains("_cells|_edge_|block_|differences|2x2")]
    assert not registry.unknown(own["metric"])


def test_land_and_sea_and_the_tropics_have_scores_of_their_own(done):
    _, _, frame = done
    for metric in ("crps_fair", "spread_skill", "rank_outliers"):
        assert {"global", "land", "sea", "tropics"} <= set(frame.loc[frame["metric"] == metric, "region"])
    parts = [value(frame, "crps_fair", "2m_temperature", region=region) for region in ("land", "sea")]
    assert min(parts) <= value(frame, "crps_fair", "2m_temperature") <= max(parts)


def test_members_are_held_against_the_field_that_the_task_refers_to_in_every_region(done, tmp_path):
    store, prediction, _ = done
    plain = make.make_prediction(tmp_path / "plain.zarr", store, task="plain")
    about = {"model": "parent", "prediction": "plain", "model_hash": "0" * 8}
    frames = {}
    for stage, entry, file in (("evaluate", evaluate.run, "metrics"), ("diagnose", diagnose.run, "regions")):
        config = make.write_slice(tmp_path / f"{stage}.json", stage, baselines=["nearest"], parent=about)
        entry(config=config, prediction=prediction.encoding["source"], store=store.path, out=tmp_path / stage, parent=plain)
        frames[stage] = tables.read(tmp_path / stage / f"{file}.parquet")
    whole, regions = frames.values()
    assert {registry.find(metric).name for metric in regions["metric"] if "crps" in metric} == {"crps_fair", "crps_ratio_vs_{baseline}"}
    for name, space in CASES:
        for frame, region in ((whole, "global"), (regions, "SAS"), (regions, "NPO"), (regions, "MED")):
            crps, mae = value(frame, "crps_fair", name, space, region=region), value(frame, "mae", name, space, "parent", region)
            assert value(frame, "crps_ratio_vs_parent", name, space, region=region) == pytest.approx(crps / mae)
    mae = value(whole, "mae_2x2", "2m_temperature", model="parent")
    crps = value(whole, "crps_2x2", "2m_temperature")
    assert value(whole, "crps_2x2_ratio_vs_parent", "2m_temperature") == pytest.approx(crps / mae)
    spectra = xr.open_dataset(tmp_path / "evaluate/spectra.nc")["zonal_power"]
    assert spectra["model"].values[-1] == "one member" and "one member" not in set(whole["model"])  # a curve, not a model that is scored
    short = spectra.sel(field="2m_temperature").isel(band=1, wavenumber=slice(15, None)).mean("wavenumber")
    assert float(short.sel(model="one member")) > 1.5 * float(short.sel(model="reslim"))  # the mean is smoother


def test_probabilities_of_regions_are_rows_of_diagnose(tmp_path, monkeypatch):
    """Of 10 mm/day in every region that is scored: a score where it came often enough, and in how many samples it came in any case."""
    monkeypatch.setattr(member_events, "LEAST_TIMES", 1)
    monkeypatch.setattr(member_events, "LEAST_CELLS", 5)
    store = make.make_store(tmp_path / "pairs.zarr", degrees=30.0)
    prediction = make.make_prediction(tmp_path / "p.zarr", store, members=MEMBERS)
    config = make.write_slice(tmp_path / "slice.json", "diagnose", baselines=["bilinear"])
    diagnose.run(config=config, prediction=prediction, store=store.path, out=tmp_path / "out")
    frame = tables.read(tmp_path / "out/regions.parquet")
    seen = frame[frame["metric"] == "event_samples_1"].set_index("region")["value"]
    scored = frame[(frame["metric"] == "rmse") & (frame["variable"] == "precipitation_rate") & (frame["model"] == "reslim")]
    assert set(seen.index) == set(scored["region"]) and seen.max() <= len(store.times)
    skill = frame[frame["metric"] == "brier_skill_1"]
    assert 0 < len(skill) < len(seen) and set(skill["region"]) <= set(seen.index[seen > 0])
    assert (frame[frame["metric"].str.startswith("brier")]["value"] <= 1).all() and not registry.unknown(frame["metric"])
    reliable = frame[frame["metric"] == "reliability_1"]
    assert set(reliable["region"]) == set(skill["region"]) and (reliable["value"] >= 0).all()
