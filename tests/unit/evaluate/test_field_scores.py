"""The paper's protocol, tails, anomalies, fractions skill, SAL, quantiles over time and coherence of a whole task, against plain numpy;
parts in any order are the whole."""

import numpy as np
import pytest
import xarray as xr

from orbit2 import evaluate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.evaluate.collectors import COLLECTORS
from orbit2.evaluate.overtime import OverTime
from orbit2.metrics import paper, quantiles
from orbit2.metrics import table as tables
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from tests.data import scored as make

SAMPLES = 10
MINE = {"paper", "tails", "own_tails", "anomalies", "fss", "sal", "overtime", "spectra", "harmonics", "ssim"}
BOX = {"conus": [20, 60, 220, 290]}


class Training:
    """What a training block would tell."""

    told = "from 9 samples"

    def span(self, name, space="physical"):
        return 60.0

    def limits(self, name, space="physical"):
        return (0.0, 400.0)

    def quantile(self, name, q, space="physical"):
        value = {"2m_temperature": 240 + 50 * q, "precipitation_rate": 6 * q**3}[name]
        return value if space == "physical" else float(np.log1p(value))

    def climatology(self, name, time):
        return np.full((72, 144), 260.0 if name == "2m_temperature" else 0.5) + np.arange(72)[:, None] / 10

    def own_quantiles(self, name):
        return np.stack([self.climatology(name, None) + 10 * i for i in range(4)]).astype(np.float32), (1.0, 0.5, 0.0, 0.0)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    store = make.make_store(folder / "pairs.zarr", degrees=10.0, samples=SAMPLES, hole=(slice(60, 64), slice(0, 10)))
    return store, make.make_prediction(folder / "p.zarr", store)


def collected(task, settings=None, positions=None, baselines=("conservative",)):
    store, prediction = task
    chosen = EvaluateConfig(spectra_boxes=BOX, baselines=list(baselines), **(settings or {}))
    slice_ = {"task": "test", "downscale": {"model": "reslim", "dataset": "era5_week", "split": "test", "input": "coarse"}}
    matched = Matched(slice_, prediction, store.path, chosen.baselines)
    if positions is not None:
        matched.streamed = list(positions)
    made = [kind(matched, Settings(chosen, DiagnoseConfig()), Training()) for kind in COLLECTORS if kind.name in MINE]
    gather(matched, made)
    return matched, made


def table_of(matched, made):
    frames = []
    for protocol in ("standard", "orbit2_paper"):
        one = matched.table(protocol)
        for collector in made:
            collector.rows(one, protocol)
        frames.append(one.frame())
    return tables.concatenate(frames)


@pytest.fixture(scope="module")
def whole(task):
    return table_of(*collected(task))


@pytest.fixture(scope="module")
def fields(task):
    store, prediction = task
    opened = xr.open_zarr(str(prediction), consolidated=False)
    found = {}
    for v, name in enumerate(make.VARIABLES):
        p = opened[name].values.astype(np.float64)
        o = np.stack([store.read("fine", i)[v] for i in range(SAMPLES)]).astype(np.float64)
        found[name] = p, o
    return store.grid("fine"), found


def value(frame, metric, variable="2m_temperature", space="physical", model="reslim", region="global"):
    wanted = {"metric": metric, "model": model, "variable": variable, "space": space, "region": region}
    found = frame[np.logical_and.reduce([frame[key] == text for key, text in wanted.items()])]
    assert len(found) == 1, (wanted, len(found))
    return float(found.iloc[0].value)


def test_the_papers_scores_stand_in_their_protocol_under_their_names(whole, fields):
    grid, found = fields
    assert set(whole[whole.protocol == "orbit2_paper"].metric) == set(paper.METRICS)
    assert not whole[whole.protocol == "standard"].metric.str.startswith("paper_").any()
    p, o = found["precipitation_rate"]
    p, o = (np.nan_to_num(np.where(np.log1p(np.maximum(x, 0)) < np.log(1.25), 0, np.log1p(np.maximum(x, 0)))) for x in (p, o))
    cosine = np.cos(np.radians(grid.lat))[:, None]
    where = {"variable": "precipitation_rate", "space": "log1p"}
    assert value(whole, "paper_rmse", **where) == pytest.approx(np.mean([np.sqrt(np.mean(cosine * d**2)) for d in p - o]), rel=1e-6)
    r = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(p, o, strict=True)])
    assert value(whole, "paper_pearson_r", **where) == pytest.approx(r, rel=1e-6)
    p, o = found["2m_temperature"]  # its gap is left out, not filled
    daily = [np.sqrt(np.nanmean(cosine * d**2)) for d in p - o]
    assert value(whole, "paper_rmse") == pytest.approx(np.mean(daily), rel=1e-6)


def test_tails_are_those_of_the_day_and_of_the_training_block(whole, fields):
    grid, found = fields
    p, o = found["2m_temperature"]
    w = np.broadcast_to(grid.lat_weights[:, None], grid.shape)
    daily = []
    for a, b in zip(p, o, strict=True):
        known = np.isfinite(b)
        threshold = quantiles.weighted_quantiles(b[known], w[known], (0.9545,))[0]
        daily.append(np.sqrt(np.average((a - b)[b >= threshold] ** 2, weights=w[b >= threshold])))
    assert value(whole, "rmse_above_0.9545") == pytest.approx(np.mean(daily), rel=1e-6)
    limit = 240 + 50 * 0.9545
    every = np.broadcast_to(w, o.shape)
    for metric, of in (("rmse_above_clim_0.9545", o), ("rmse_predicted_above_clim_0.9545", np.where(np.isfinite(o), p, np.nan))):
        assert value(whole, metric) == pytest.approx(np.sqrt(np.average((p - o)[of >= limit] ** 2, weights=every[of >= limit])), rel=1e-6)
    assert set(whole[whole.metric.str.startswith("rmse_above_wet")].variable) == {"precipitation_rate"}


def test_tails_above_each_cells_own_threshold(whole, fields):
    grid, found = fields
    p, o = found["2m_temperature"]
    w = np.broadcast_to(grid.lat_weights[:, None], o.shape)
    limit = (270 + np.arange(72)[:, None] / 10).astype(np.float32)
    for metric, of in (("rmse_above_own_0.9545", o), ("rmse_predicted_above_own_0.9545", np.where(np.isfinite(o), p, np.nan))):
        assert value(whole, metric) == pytest.approx(np.sqrt(np.average((p - o)[of >= limit] ** 2, weights=w[of >= limit])), rel=1e-6)
    warm = whole[whole.variable == "2m_temperature"]
    methods = [warm[warm.metric == f"tail_rmse_own_{q}"].method.iloc[0] for q in (0.6827, 0.9545, 0.9973)]
    assert "elsewhere" not in methods[0] and "(50% of the area); elsewhere" in methods[1] and "too few samples" in methods[2]


def test_anomalies_are_about_the_training_blocks_climatology(whole, fields):
    grid, found = fields
    p, o = (x - (260 + np.arange(72)[:, None] / 10) for x in found["2m_temperature"])
    w = np.broadcast_to(grid.lat_weights[:, None], grid.shape)
    daily = []
    for a, b in zip(p, o, strict=True):
        known = np.isfinite(b)
        c = np.cov(a[known], b[known], aweights=w[known])
        daily.append(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]))
    assert value(whole, "acc") == pytest.approx(np.mean(daily), rel=1e-8)


def test_quantiles_over_time_are_each_cells(whole, fields):
    grid, found = fields
    p, o = found["2m_temperature"]
    difference = np.quantile(p, 0.5, axis=0) - np.quantile(o, 0.5, axis=0)
    w = np.where(np.isfinite(difference), grid.lat_weights[:, None], 0)
    assert value(whole, "quantile_bias_0.5") == pytest.approx(np.average(np.nan_to_num(difference), weights=w), abs=1e-6)
    assert not (whole.metric == "quantile_bias_0.99").any()  # ten values say nothing of it


def test_long_records_are_followed_on_fewer_cells(task, monkeypatch):
    monkeypatch.setattr("orbit2.evaluate.overtime.MOST_VALUES", 6 * SAMPLES * 700)
    matched, made = collected(task)
    kept = next(one for one in made if isinstance(one, OverTime))
    assert np.prod(kept.lattice.kept) <= 700 and kept.lattice.step == 4
    rows = table_of(matched, [kept])
    assert rows.method.str.contains("every 4th row and column").all()


def test_rain_has_fractions_objects_and_scales(whole):
    rain = {"variable": "precipitation_rate"}
    assert 0 < value(whole, "fss_1mm_1px", **rain) < value(whole, "fss_1mm_9px", **rain) <= 1
    assert value(whole, "fss_useful_km_q0.95", **rain) / (2.5 * np.pi / 180 * 6371) in (1, 3, 5)
    assert -2 < value(whole, "sal_structure", region="conus", **rain) < 2
    assert not ((whole.metric == "sal_structure") & (whole.region == "global")).any()
    assert set(whole[whole.metric.str.startswith(("fss", "sal"))].variable) == {"precipitation_rate"}


def test_spectra_tell_resolution_and_coherence(whole, task):
    north = {"region": "30N-60N"}
    assert value(whole, "coherent_resolution_km", **north) <= value(whole, "effective_resolution_km", **north)
    assert not (whole[whole.metric == "effective_resolution_km"].region == "conus").any()  # 16 x 28 cells: not resolvable
    assert (whole.metric == "lsd_db").any()
    _, made = collected(task)
    spectra = next(one for one in made if one.name == "spectra").datasets()["spectra.nc"]
    together = spectra.zonal_coherence.sel(model="reslim", field="2m_temperature", band="30N-60N").values
    assert together[0] > 0.99 and np.nanmax(together) <= 1


def test_every_nth_sample_has_its_turn_whatever_the_part(task):
    rows = table_of(*collected(task, {"every": 5}))
    assert rows[rows.metric == "paper_rmse"].n.eq(2).all() and rows[rows.metric == "ssim"].method.str.contains("every 5 samples one").all()
    part, _ = collected(task, {"every": 5}, positions=range(4, 9)), None
    assert next(one for one in part[1] if one.name == "paper").statistics["2m_temperature", "reslim"].rows.keys() == {
        "2026-04-01T05:00:00"}  # fmt: skip


def test_parts_in_any_order_are_the_whole(task, whole):
    matched, made = collected(task, positions=[3, 0])
    for positions in ([9, 8], [], range(4, 8), [1, 2]):
        _, part = collected(task, positions=positions)
        for one, other in zip(made, part, strict=True):
            one.merge(other.state())
    merged = table_of(matched, made)
    assert merged.drop(columns="value").equals(whole.drop(columns="value"))
    assert merged.value.to_numpy() == pytest.approx(whole.value.to_numpy(), rel=1e-12, abs=1e-12)


def test_a_perfect_prediction(tmp_path):  # T1
    store = make.make_store(tmp_path / "pairs.zarr", degrees=10.0, samples=2)
    prediction = make.make_prediction(tmp_path / "p.zarr", store, field=make.perfect, names=("precipitation_rate",))
    config = make.write_slice(tmp_path / "slice.json", "evaluate", settings={"spectra_boxes": BOX}, baselines=["nearest"])
    evaluate.run(config=config, prediction=prediction, store=store.path, out=tmp_path / "out")
    frame = tables.read(tmp_path / "out" / "metrics.parquet")
    own = frame[(frame.model == "reslim") & (frame.space == "physical")].set_index("metric").value
    ones = own[own.index.str.startswith(("fss_1mm", "fss_q", "kge", "paper_pearson", "paper_ssim", "pearson", "r2_cod"))]
    assert len(ones) > 12 and ones.to_numpy() == pytest.approx(1, abs=1e-9)
    zeros = own[own.index.str.startswith(("rmse_above", "paper_rmse", "sal_", "lsd"))]
    assert len(zeros) > 12 and zeros.to_numpy() == pytest.approx(0, abs=1e-9)
