"""Both stages on grids and calendars that are not the usual ones: areas and days come from Grid and times, from nowhere else."""

import cftime
import numpy as np
import pytest
import xarray as xr

from orbit2 import diagnose, evaluate, times
from orbit2.baselines.interpolation import block_mean
from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSTICS
from orbit2.diagnose.hovmoller import periods
from orbit2.evaluate.collectors import COLLECTORS as SCORES
from orbit2.grid import Grid
from orbit2.metrics import table as tables
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from tests.data import scored as make

BASELINES = ["bilinear"]


def stretched():
    """A box whose cells grow to the north and to the east, as those of a stretched grid do."""
    return Grid(30 + np.cumsum(np.concatenate([[0.0], np.linspace(1.0, 3.0, 10)])), 10 + np.cumsum(np.r_[0.0, np.linspace(2, 5, 12)]))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder, store) of two samples on such a grid."""
    folder = tmp_path_factory.mktemp("stretched")
    coarse, fine = stretched(), stretched().refine(make.FACTOR)
    specs = [SideSpec(grid, make.VARIABLES, make.STATICS, np.ones((2, *grid.shape), dtype=np.float32)) for grid in (coarse, fine)]
    stamps = np.array(["2026-02-28T00:00", "2026-03-01T00:00"], dtype="datetime64[s]")
    initialise(folder / "pairs.zarr", *specs, stamps, shard=2, attributes={"source": "sample"})
    fields = np.stack([make.weather(fine, i) for i in range(2)])
    write_part(folder / "pairs.zarr", 0, block_mean(fields, fine.lat_weights, make.FACTOR).astype(np.float32), fields)
    finalise(folder / "pairs.zarr")
    return folder, PairStore(folder / "pairs.zarr")


def test_a_stretched_grid_goes_through_both_stages(world):
    folder, store = world
    prediction = make.make_prediction(folder / "p.zarr", store)
    for stage, run in (("evaluate", evaluate.run), ("diagnose", diagnose.run)):
        run(config=make.write_slice(folder / f"{stage}.json", stage, baselines=BASELINES), prediction=prediction, store=store.path,
            out=folder / stage)  # fmt: skip
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0] for i in range(2)]).astype(np.float64)
    w = np.broadcast_to(store.grid("fine").area_km2, o.shape)
    frame = tables.read(folder / "evaluate/metrics.parquet")
    found = frame[(frame.model == "reslim") & (frame.variable == "2m_temperature") & (frame.region == "domain") & (frame.season == "all")]
    found = found.set_index("metric").value
    assert found["rmse"] == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    assert found["bias"] == pytest.approx(np.average(p - o, weights=w), rel=1e-6) and 0 < found["ssim"] < 1
    regions = tables.read(folder / "diagnose/regions.parquet")
    areas = regions[(regions.metric == "scored_area_km2") & (regions.variable == "2m_temperature")].value
    assert 0 < areas.sum() <= store.grid("fine").area_km2.sum() * (1 + 1e-9)


def test_areas_that_are_no_product_of_latitude_and_longitude_weigh_the_scores(world, monkeypatch):
    """As on a projected grid: whatever `Grid.area_km2` says is what counts, in every collector that weighs."""
    folder, store = world
    prediction = make.make_prediction(folder / "q.zarr", store)
    slice_ = read_slice(make.write_slice(folder / "part.json", "part", baselines=BASELINES))
    settings = Settings(validate(EvaluateConfig, slice_["evaluate"], "slice"), DiagnoseConfig())
    matched = Matched(slice_, prediction, store.path, BASELINES)
    areas = matched.grid.area_km2 * np.random.default_rng(0).uniform(0.2, 3.0, matched.grid.shape)
    true = Grid.area_km2.fget
    monkeypatch.setattr(Grid, "area_km2", property(lambda grid: areas if grid.shape == areas.shape else true(grid)))
    collectors = [kind(matched, settings, None) for kind in (*SCORES, *DIAGNOSTICS)]
    gather(matched, collectors)
    table = matched.table("standard")
    for collector in collectors:
        collector.rows(table, "standard")
    frame = table.frame()
    p = xr.open_zarr(str(prediction), consolidated=False)["2m_temperature"].values.astype(np.float64)
    o = np.stack([store.read("fine", i)[0] for i in range(2)]).astype(np.float64)
    named = (frame.model == "reslim") & (frame.variable == "2m_temperature") & (frame.season == "all")
    found = frame[named & (frame.region == "domain")].set_index("metric").value
    w = np.broadcast_to(areas, o.shape)
    assert found["rmse"] == pytest.approx(np.sqrt(np.average((p - o) ** 2, weights=w)), rel=1e-9)
    assert found["mae"] == pytest.approx(np.average(np.abs(p - o), weights=w), rel=1e-9)
    order = np.argsort(p, axis=None)
    share = np.cumsum(w.ravel()[order])
    median = p.ravel()[order][np.searchsorted(share, 0.5 * share[-1])]
    assert found["quantile_0.5"] == pytest.approx(median, abs=0.01)
    areas_of = frame[(frame.metric == "scored_area_km2") & (frame.variable == "2m_temperature")].set_index("region").value
    regions = next(each for each in collectors if each.name == "regions")
    for region, value in areas_of.items():
        assert value == pytest.approx((areas * regions.shares.field(regions.regions.abbreviations.index(region))).sum())


@pytest.mark.parametrize(
    ("calendar", "last", "length"),
    [("360_day", (2000, 2, 30), 360), ("noleap", (2000, 2, 28), 365), ("standard", (2000, 2, 29), 366)],
)
def test_days_and_seasons_of_any_calendar(calendar, last, length):
    day = cftime.datetime(*last, 12, calendar=calendar)
    stamp = times.stamp(day)
    assert stamp == "{:04d}-{:02d}-{:02d}T12:00:00".format(*last) and times.season(stamp) == "DJF" and times.month_name(stamp) == "200002"
    assert times.calendar_of(np.array([day])) == calendar
    first, following = times.numbers([stamp, "2000-03-01T12:00:00"], calendar)
    assert following - first == 1.0  # the day after
    assert times.day_of_year("2000-12-30", calendar) == length - (calendar != "360_day")
    assert times.pentad("2000-12-30", calendar) == (71 if calendar == "360_day" else 72)
    daily = [times.stamp(cftime.num2date(i, "days since 2000-01-01", calendar=calendar)) for i in range(2 * length)]
    per, found = periods(daily * 3, calendar)
    assert per == "days" and len(set(found)) == 2 * length
    assert [times.season(sample) for sample in ("2000-03-01", "2000-08-30", "2000-11-30", "2000-12-01")] == ["MAM", "JJA", "SON", "DJF"]
