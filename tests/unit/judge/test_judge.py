"""`orbit2 evaluate A B`: products of other grids, names, units and calendars against float64 numpy; what is left out is said."""

import json
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from orbit2.baselines.interpolation import block_mean
from orbit2.cli.command import run as command
from orbit2.cli.judge import names_products
from orbit2.door.ingest import Reading
from orbit2.errors import OrbitError
from orbit2.grid import Grid, global_grid, uniform
from orbit2.judge import run
from orbit2.judge.grids import shared, under
from orbit2.judge.judged import Judged, clock
from orbit2.judge.page import names_of
from orbit2.judge.product import Product
from orbit2.metrics import table
from tests.data.scored import weather

GRID = global_grid(12.0)
DAYS = 12


def fields(grid: Grid = GRID) -> np.ndarray:
    """[T, 2, H, W]: temperature (K), precipitation (mm/day)."""
    return np.stack([weather(grid, i) for i in range(DAYS)])


def product(values: np.ndarray, grid: Grid, times: object, names=("t2m", "pr"), units=("K", "mm/day"), offset=0.0) -> xr.Dataset:
    data = {name: (("time", "lat", "lon"), values[:, i] + (offset if i == 0 else 0), {"units": unit})
            for i, (name, unit) in enumerate(zip(names, units, strict=True))}  # fmt: skip
    axes = {"lat": ("lat", grid.lat, {"units": "degrees_north"}), "lon": ("lon", grid.lon, {"units": "degrees_east"})}
    return xr.Dataset(data, coords={"time": times, **axes})


def days(first: str = "2019-02-20T12:00", count: int = DAYS) -> np.ndarray:
    return np.datetime64(first, "ns") + np.arange(count) * np.timedelta64(1, "D")


def turned(dataset: xr.Dataset) -> xr.Dataset:
    """North first, longitudes from -180."""
    moved = dataset.assign_coords(lon=("lon", (dataset.lon.values + 180) % 360 - 180, dataset.lon.attrs))
    return moved.sortby("lon").isel(lat=slice(None, None, -1))


@pytest.fixture
def files(tmp_path):
    def written(name: str, dataset: xr.Dataset) -> Path:
        path = tmp_path / name
        dataset.to_zarr(str(path), consolidated=False) if name.endswith(".zarr") else dataset.to_netcdf(path)
        return path

    return written


def judged(*paths: Path, **said) -> Judged:
    from contextlib import ExitStack

    stack = ExitStack()
    return Judged([Product.open(name, path, Reading(**said), stack) for name, path in zip(names_of(paths), paths, strict=True)])


def test_another_s_product_is_scored_on_the_same_dates_and_cells(files, tmp_path):
    truth = fields()
    noise = np.random.default_rng(0).normal(0, 1, truth.shape) * np.array([1.0, 0.1])[:, None, None]
    theirs = np.where(np.arange(2)[:, None, None] == 1, np.maximum(truth + noise, 0), truth + noise)
    stamps = [cftime.Datetime360Day(2019, 2, 20 + i) for i in range(11)] + [cftime.Datetime360Day(2019, 3, 1)]  # 29 and 30 February too
    order = [*range(9), 0, 0, 9]  # what is stamped 29 and 30 February is nonsense, 1 March is the tenth day
    other = turned(product(theirs[order], GRID, stamps, ("tas", "rain"), ("degC", "mm/day"), offset=-273.15))
    a = files("model.zarr", other)
    b = files("truth.nc", product(truth, GRID, days()))
    coarse = GRID.coarsen(3)
    c = files("coarse.nc", product(block_mean(truth, GRID.lat_weights, 3), coarse, days())[["t2m"]].assign_attrs(synthetic="made up"))
    left = run(a, b, [c], tmp_path / "out", Reading({"rain": "precipitation_rate"}))
    frame = table.read(tmp_path / "out/metrics.parquet")

    def value(metric, model, variable, space="physical"):
        rows = frame[(frame.metric == metric) & (frame.model == model) & (frame.variable == variable) & (frame.space == space)
                     & (frame.region == "global") & (frame.season == "all") & (frame.protocol == "standard")]  # fmt: skip
        assert len(rows) == 1, (metric, model, variable, len(rows))
        return float(rows.value.iloc[0])

    weights = np.broadcast_to(GRID.lat_weights[:, None], GRID.shape)
    kept = slice(0, 10)
    error = (theirs.astype(np.float32) - truth)[kept].astype(np.float64)
    for i, name in enumerate(("2m_temperature", "precipitation_rate")):
        rmse = np.sqrt(np.average(error[:, i] ** 2, weights=np.broadcast_to(weights, error[:, i].shape)))
        assert value("rmse", "model", name) == pytest.approx(rmse, rel=1e-4)
    spread = np.repeat(np.repeat(block_mean(truth[kept, 0], GRID.lat_weights, 3), 3, 1), 3, 2)
    rmse = np.sqrt(np.average((spread - truth[kept, 0]) ** 2, weights=np.broadcast_to(weights, spread.shape)))
    assert value("rmse", "coarse", "2m_temperature") == pytest.approx(rmse, rel=1e-4)
    assert value("rmse_skill_vs_coarse", "model", "2m_temperature") < 1
    assert "coarse" not in set(frame[frame.variable == "precipitation_rate"].model)
    said = " ".join(left)
    for words in ("2 of 12 times of model are no dates", "360_day", "2 of 12 times of truth have no counterpart", "matched by date"):
        assert words in said
    regions = table.read(tmp_path / "out/regions.parquet")
    assert {"SAS", "NEN"} & set(regions.region) and set(regions.task) == {"judged"}
    page = (tmp_path / "out/report/index.html").read_text()
    assert "model judged against truth" in page and "360_day" in page and "too short for a confidence interval" in page
    assert "it has a lower RMSE than every baseline for" in page
    assert '<p class="banner" role="note">coarse: made up</p>' in page  # what is no weather says so, and is named
    assert json.loads((tmp_path / "out/judged.json").read_text())["matched_by"] == "date"


def test_the_finer_product_is_averaged_by_area_to_the_coarser(files):
    truth, coarse = fields(), GRID.coarsen(3)
    means = block_mean(truth, GRID.lat_weights, 3)
    a, b = files("fine.nc", product(truth, GRID, days())), files("coarse.nc", turned(product(means, coarse, days())))
    for first, second in ((a, b), (b, a)):
        matched = judged(first, second)
        assert matched.grid.same_place(coarse) and matched.region == "global"
        for scored in matched.samples():
            own = scored.models[matched.model]
            assert np.abs(own - scored.truth).max() < 1e-4 * max(1, np.abs(scored.truth).max())
        assert any("averaged by area" in note for note in matched.notes)


def test_a_region_across_greenwich_is_scored_where_both_are(files):
    part = uniform(-42, 54, 336, 420, 8, 7)  # 24 W to 60 E, cells of 12 degrees
    truth = fields()
    rows, columns = GRID.window((-42, 54, 336, 60))
    inside = truth[..., rows, :][..., np.arange(columns.start, columns.stop) % GRID.shape[1]]
    a, b = files("globe.nc", product(truth + 1, GRID, days())), files("region.nc", turned(product(inside, part, days())))
    matched = judged(a, b)
    assert matched.grid.same_place(part) and matched.region == "domain"
    errors = [float(np.nanmax(np.abs(s.models["globe"] - s.truth - 1))) for s in matched.samples() if s.variable == "2m_temperature"]
    assert len(errors) == DAYS and max(errors) < 1e-3
    assert matched.land_fraction.shape == part.shape and 0 < matched.land_fraction.mean() < 1


def test_a_field_that_one_misses_is_left_out_and_cells_count_for_all_alike(files):
    truth = fields()
    gappy = truth.copy()
    gappy[3, 0] = np.nan
    gappy[:, 1, :4] = np.nan
    matched = judged(files("a.nc", product(truth, GRID, days())), files("b.nc", product(gappy, GRID, days())))
    scored = list(matched.samples())
    assert len(scored) == 2 * DAYS - 1 and matched.empty == {"2m_temperature": 1}
    assert all(np.isnan(s.models["a"][:4]).all() for s in scored if s.variable == "precipitation_rate")


def spans(*times: np.ndarray):
    notes: list[str] = []
    names = [Product(name, Path(name), xr.Dataset(), Reading(), []) for name in "abc"[: len(times)]]
    return clock(names, [t.astype("datetime64[s]") for t in times], notes), notes


def test_daily_fields_meet_by_date_others_by_instant():
    found, notes = spans(days("2019-01-01T12:00", 5), days("2019-01-03T00:00", 5))
    assert found.by_date and len(found.times) == 3 and any("stamped at different hours" in note for note in notes)
    assert [where[found.times[0]] for where in found.positions] == [2, 0]
    hours = np.datetime64("2019-01-01", "s") + np.arange(12) * np.timedelta64(6, "h")
    found, notes = spans(hours, days("2019-01-01T12:00", 3))
    assert not found.by_date and len(found.times) == 3 and any("no match for an instant" in note for note in notes)
    with pytest.raises(OrbitError, match="no time in common"):
        spans(hours, days("2019-01-01T01:30", 3))


@pytest.mark.parametrize(
    ("change", "match"),
    [(lambda d: d.rename(t2m="x", pr="y"), "share no variable"), (lambda d: d.assign_coords(time=days("1999-01-01")), "no time in common"),
     (lambda d: d.isel(lat=slice(0, 3)), "overlap"), (lambda d: d.assign_attrs(finalised=0), "not finished"),
     (lambda d: d.assign(t2m=d.t2m.assign_attrs(units="apples")), "unit")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_a_line(files, change, match):
    good = product(fields(), GRID, days())
    other = good.isel(lat=slice(8, None)) if match == "overlap" else good
    with pytest.raises(OrbitError, match=match):
        judged(files("a.nc", change(good)), files("b.nc", other))


def test_the_command_line_ends_with_2(files, tmp_path, capsys):
    a = files("a.nc", product(fields(), GRID, days()))
    for words in ([str(a), str(tmp_path / "no.nc"), "-o", str(tmp_path / "o")],
                  [str(a), str(a), "-o", str(tmp_path / "o"), "--rename", "zz=2m_temperature"]):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            command(["evaluate", *words])
        assert stop.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "products"),
    [("a.zarr b.zarr -o x", True), ("fit --config c", False), ("--config c --store s", False), ("--baseline c a b -o x", True),
     ("merg x", False), ("-h", False), ("", False), ("a.nc -h", False)],
)  # fmt: skip
def test_which_command_lines_are_about_products(words, products):
    assert names_products(words.split(), ("fit", "merge", "judge")) is products


def test_names_are_told_apart():
    assert names_of([Path("x/model.zarr"), Path("y/model.zarr"), Path("a b.nc")]) == ["model", "y/model", "a_b"]


@pytest.mark.parametrize("west", [0, 170, 350])
def test_cells_under_and_inside_each_other(west):
    globe, part = global_grid(2.0), uniform(-9, 11, west, west + 30, 10, 15)
    rows, columns = under(globe, part)
    around = globe.crop(rows, columns)
    assert around.lat_edges[0] <= -9 + 1e-9 and around.lat_edges[-1] >= 11 - 1e-9 and around.shape[1] <= 17
    inner = shared(globe, [part])
    assert inner.shape[0] in (9, 10) and inner.shape[1] in (14, 15)
    assert under(part, inner)[1].stop <= 15
