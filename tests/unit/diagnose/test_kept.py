"""Days kept on blocks of cells: against the fields themselves, from parts in any order, of whole days only."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import shapely

from orbit2 import diagnose
from orbit2.config.load import read_slice, validate
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSTICS
from orbit2.diagnose.kept import INPUT, TRUTH, Kept, read
from orbit2.diagnose.kept.blocks import Blocks
from orbit2.errors import OrbitError
from orbit2.grid import Grid, global_grid
from orbit2.metrics import parts, stream
from orbit2.metrics import table as tables
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from tests.data import scored as make
from tests.unit.diagnose.test_own_regions import geojson

BASELINES = ["nearest", "bilinear"]
DAYS = np.datetime64("2026-02-26T00:00:00", "s") + np.arange(5) * np.timedelta64(24 * 3600, "s")
SIX_HOURS = np.datetime64("2026-03-30T06:00:00", "s") + np.arange(7) * np.timedelta64(6 * 3600, "s")
RAIN = "precipitation_rate"


class World:
    """A global task, 40 x 80 cells, with a hole; its parts on blocks of 3 x 3 (the last 1 and 2 cells wide)."""

    def __init__(self, folder, times, keep, members=0, baselines=BASELINES):
        self.folder = folder
        hole = slice(0, 5), slice(30, 40)
        self.store = make.make_store(folder / "pairs.zarr", degrees=18.0, times=times, samples=len(times), hole=hole)
        self.prediction = make.make_prediction(folder / "p.zarr", self.store, members=members)
        self.config = make.write_slice(folder / "part.json", "part", settings={}, baselines=baselines)
        self.settings = Settings(EvaluateConfig(baselines=baselines), DiagnoseConfig(keep=keep))
        self.baselines = baselines

    def matched(self, streamed=None):
        found = Matched(read_slice(self.config), self.prediction, self.store.path, self.baselines)
        found.streamed = found.streamed if streamed is None else streamed
        return found

    def kept(self, streamed=None):
        matched = self.matched(streamed)
        kept = Kept(matched, self.settings)
        gather(matched, [kept])
        return kept

    def parts(self, division):
        folder = self.folder / "parts"
        for number, streamed in enumerate(division):
            matched = self.matched(streamed)
            kept = Kept(matched, self.settings)
            gather(matched, [kept])
            parts.write(folder / f"{number}.h5", matched, read_slice(self.config), self.settings, [kept])
        return folder

    def fields(self):
        """[T] of dicts variable -> (truth, models, input)."""
        matched, made = self.matched(), {}
        for scored in matched.samples():
            coarse = matched.input_field(scored.index, scored.variable)
            made[scored.position, scored.variable] = scored.truth.copy(), dict(scored.models), np.kron(coarse, np.ones((4, 4)))
        return made


@pytest.fixture(scope="module")
def daily(tmp_path_factory):
    return World(tmp_path_factory.mktemp("daily"), DAYS, 14 * 27)


def block(grid, field, i, j):
    cells = np.s_[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
    known = np.isfinite(field[cells])
    area = grid.area_km2[cells]
    return (field[cells][known] * area[known]).sum() / area[known].sum() if known.any() else np.nan, (area * known).sum() / area.sum()


def test_blocks_hold_means_squared_errors_and_the_cell_in_their_middle(daily):
    days = daily.kept().days()
    grid = daily.store.grid("fine")
    assert days.step == 3
    assert days.grid.shape == (14, 27)
    assert days.times.tolist() == DAYS.astype("datetime64[ns]").tolist()
    assert days.models_of(RAIN) == (TRUTH, "reslim", "nearest", "bilinear", "bilinear_log1p", INPUT)
    np.testing.assert_allclose(days.area.sum(), grid.area_km2.sum())
    fields = daily.fields()
    for (t, name), (truth, models, _) in list(fields.items())[:4]:
        known, share_known = days.means(name)[t].load(), days.share(name)[t].load()
        found = {model: [getattr(days, what)(name, model)[t].load() for what in ("means", "squared", "values")]
                 for model in ("reslim", "bilinear")}  # fmt: skip
        for i, j in ((0, 0), (0, 11), (1, 10), (6, 13), (13, 26)):
            expected, share = block(grid, truth, i, j)
            np.testing.assert_allclose(known[i, j], expected, rtol=1e-6)
            np.testing.assert_allclose(share_known[i, j], share, rtol=1e-6)
            for model, (means, squares, values) in found.items():
                np.testing.assert_allclose(means[i, j], block(grid, models[model], i, j)[0], rtol=1e-6)
                squared = block(grid, (models[model] - truth) ** 2, i, j)[0]
                np.testing.assert_allclose(squares[i, j], squared, rtol=1e-5, atol=1e-12)
                row, column = min(3 * i + 1, 39), min(3 * j + 1, 79)
                np.testing.assert_allclose(values[i, j], models[model][row, column], rtol=1e-6)
            assert abs(grid.lat[row] - days.lat[i]) <= grid.resolution / 2 + 1e-9
    assert np.isnan(days.means(RAIN)[0, 0, 11])  # in the hole
    assert days.share(RAIN)[0, 0, 11] == 0


def test_the_input_is_the_baseline_that_repeats_it_or_kept_where_that_is_not_scored(daily, tmp_path):
    days = daily.kept().days()
    np.testing.assert_array_equal(days.values(RAIN, INPUT), days.values(RAIN, "nearest"))
    world = World(tmp_path, DAYS[:2], 14 * 27, baselines=["bilinear"])
    other = world.kept().days()
    assert "nearest" not in other.models
    np.testing.assert_allclose(other.means(RAIN, INPUT), days.means(RAIN, "nearest")[:2], rtol=1e-6)


def test_cells_themselves_are_kept_once_where_there_are_few(daily, tmp_path):
    world = World(tmp_path, DAYS[:2], 40 * 80)
    kept = world.kept()
    assert {path.split("/")[-1] for path in kept.state() if RAIN in path} == {"values", "days", "samples"}
    days = kept.days()
    (truth, models, _) = world.fields()[1, RAIN]
    np.testing.assert_array_equal(days.means(RAIN, "reslim")[1], models["reslim"].astype(np.float32))
    np.testing.assert_allclose(days.squared(RAIN, "reslim")[1], (models["reslim"] - truth) ** 2, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(days.share(RAIN)[1], np.isfinite(truth))


def test_parts_in_any_order_are_the_same_days_and_nothing_is_read_before_it_is_asked_for(daily):
    folder = daily.parts([[3, 4], [0, 1, 2]])
    days, whole = read(folder), daily.kept().days()
    assert days.variables == tuple(sorted(whole.variables))
    assert set(days.models) == set(whole.models)
    for name in whole.variables:
        for model in (TRUTH, "reslim"):
            for what in ("values", "means", *(["squared"] if model != TRUTH else [])):
                one, other = getattr(days, what)(name, model), getattr(whole, what)(name, model)
                assert one.chunks is not None
                assert len(one.chunks[0]) == 1
                np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(days.land_fraction, whole.land_fraction)
    with pytest.raises(OrbitError, match="reslim"):
        days.values(RAIN, "reslam")


def test_rows_are_what_the_lazy_arrays_hold(daily, tmp_path):
    """Of days that follow one another in a part and of days that do not, of blocks and of cells."""

    def alike(days):
        for stretch in (slice(0, 3), slice(5, days.grid.shape[0])):
            for name in days.variables:
                for what in ("values", "means", "squared"):
                    found = days.rows(what, name, "reslim", stretch)
                    assert found.dtype == np.float32
                    np.testing.assert_array_equal(found, getattr(days, what)(name, "reslim")[:, stretch])
                    np.testing.assert_array_equal(days.day(what, name, "reslim", 1)[stretch], found[1])
                np.testing.assert_array_equal(days.rows("share", name, TRUTH, stretch), days.share(name)[:, stretch])

    for division in ([[0, 3], [4, 1, 2]], [[3, 4], [0, 1, 2]]):
        alike(read(daily.parts(division)))
    alike(daily.kept([0, 1, 3]).days())
    alike(World(tmp_path, DAYS[:2], 40 * 80).kept().days())


def test_a_long_record_is_put_aside_and_is_the_same(daily, monkeypatch):
    whole = daily.kept()
    monkeypatch.setattr("orbit2.diagnose.kept.collector.MOST_BYTES", 60_000)
    kept = daily.kept()
    assert len(kept.earlier) >= 2
    assert kept.bytes <= 60_000
    one, other = kept.state(), whole.state()
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    for name in kept.days().variables:
        for what in ("values", "squared"):
            np.testing.assert_array_equal(getattr(kept.days(), what)(name, "reslim"), getattr(whole.days(), what)(name, "reslim"))


def test_a_part_of_one_month_is_what_the_stage_writes(daily, tmp_path):
    slice_ = read_slice(daily.config)
    out = tmp_path / "202602.h5"
    stream.run(config=daily.config, prediction=daily.prediction, store=daily.store.path, part="202602", out=out, kinds=[Kept])
    assert validate(DiagnoseConfig, slice_["diagnose"]).keep == 16_384
    assert read(tmp_path).times.astype("datetime64[D]").astype(str).tolist() == ["2026-02-26", "2026-02-27", "2026-02-28"]


def test_samples_of_less_than_a_day_are_averaged_and_days_that_lack_one_are_left_out(tmp_path):
    world = World(tmp_path, SIX_HOURS, 14 * 27)  # 30 March has three samples, 31 March four
    fields, grid = world.fields(), world.store.grid("fine")
    for days in (world.kept().days(), read(world.parts([[6, 1, 2], [5, 3], [4, 0]]))):
        assert days.times.astype("datetime64[D]").astype(str).tolist() == ["2026-03-31"]
        means = np.mean([block(grid, fields[t, RAIN][1]["reslim"], 6, 13)[0] for t in range(3, 7)])
        np.testing.assert_allclose(days.means(RAIN, "reslim")[0, 6, 13], means, rtol=1e-5)
        errors = [block(grid, (fields[t, RAIN][1]["reslim"] - fields[t, RAIN][0]) ** 2, 6, 13)[0] for t in range(3, 7)]
        np.testing.assert_allclose(days.squared(RAIN, "reslim")[0, 6, 13], np.mean(errors), rtol=1e-5)
        np.testing.assert_allclose(days.day("means", RAIN, "reslim", 0), days.means(RAIN, "reslim")[0], rtol=1e-6)


def test_other_regions_and_thresholds_are_asked_of_the_parts_that_are_there(daily, tmp_path):
    folder = tmp_path / "parts"
    for month in ("202602", "202603"):
        stream.run(config=daily.config, prediction=daily.prediction, store=daily.store.path, part=month, out=folder / f"{month}.h5",
                   kinds=DIAGNOSTICS)  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    path = geojson(tmp_path / "b.geojson", Box=shapely.box(0, 0, 90, 45), Hole=shapely.box(137, -89, 150, -80))
    config = make.write_slice(tmp_path / "d.json", "diagnose", settings={"regions": {"own": str(path)}}, baselines=BASELINES)
    told = {**json.loads(config.read_text()), "thresholds": {"wet": {"use": "rain", "variable": "precipitation", "above": 1.0}}}
    config.write_text(json.dumps(told))
    given = {"config": config, "prediction": daily.prediction, "store": daily.store.path}
    diagnose.run(**given, out=tmp_path / "summed", parts=folder)
    diagnose.run(**given, out=tmp_path / "streamed")
    found, other = (tables.read(tmp_path / how / "regions.parquet") for how in ("summed", "streamed"))
    own = found[found.region.str.startswith("own:")]
    assert set(own.region) == {"own:Box"}
    assert {"rmse", "bias", "pearson_r", "daily_mean_r", "rmse_skill_vs_best_baseline"} <= set(own.metric)
    np.testing.assert_allclose(own.value, other[other.region.str.startswith("own:")].value, rtol=1e-9)
    notes = json.loads((tmp_path / "summed" / "notes.json").read_text())["notes"]
    assert {"scores of the region own:Hole", "days of the threshold wet (rain)"} <= {note["diagnostic"] for note in notes}
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_of_an_ensemble_values_are_the_first_members(tmp_path):
    world = World(tmp_path, DAYS[:2], 40 * 80, members=2)
    days = world.kept().days()
    matched = world.matched()
    scored = next(s for s in matched.samples() if s.variable == RAIN)
    np.testing.assert_allclose(days.values(RAIN, "reslim")[0], scored.members(matched)[0], rtol=1e-6)
    np.testing.assert_allclose(days.means(RAIN, "reslim")[0], scored.models["reslim"], rtol=1e-6)
    np.testing.assert_allclose(days.squared(RAIN, "reslim")[0], (scored.models["reslim"] - scored.truth) ** 2, rtol=1e-5)


def test_a_day_that_two_parts_hold_is_refused(daily, tmp_path):
    folder = tmp_path / "twice"
    for number in range(2):
        kept = daily.kept([0])
        parts.write(folder / f"{number}.h5", daily.matched([0]), read_slice(daily.config), daily.settings, [kept])
    with pytest.raises(OrbitError, match="two parts keep the same day"):
        read(folder)
    with pytest.raises(OrbitError, match="no days are kept here"):
        read(tmp_path / "nothing")


def test_other_calendars_have_their_own_days(tmp_path):
    path = tmp_path / "199902.h5"
    with h5py.File(path, "w") as file:
        state = {"about/calendar": np.array(b"360_day"), "about/samples_a_day": np.array(1), "about/step": np.array(1),
                 "about/lat_edges": np.array([0.0, 1.0]), "about/lon_edges": np.array([0.0, 1.0]),
                 "about/land_fraction": np.ones((1, 1)), "about/land_fraction_of_cells": np.ones((1, 1)),
                 f"{RAIN}/days": np.array([149 * 360 + 59]), f"{RAIN}/samples": np.array([1]),
                 f"{RAIN}/truth/values": np.ones((1, 1, 1), dtype=np.float32)}  # fmt: skip
        for name, array in state.items():
            file[f"diagnose/kept/{name}"] = array
    (time,) = read(tmp_path).times
    assert (time.year, time.month, time.day, time.calendar) == (1999, 2, 30, "360_day")


def test_nothing_is_kept_of_samples_further_apart_than_a_day():
    matched = SimpleNamespace(has_truth=True, step_hours=120.0, grid=global_grid(45.0), times=DAYS, variables=(RAIN,))
    kept = Kept(matched, Settings(EvaluateConfig(), DiagnoseConfig()))
    assert not kept.active
    assert kept.state() == {}
    assert kept.days() is None


def test_the_smallest_blocks_that_are_few_enough():
    assert Blocks.of(global_grid(0.25), 16_384).step == 8
    assert Blocks.of(global_grid(0.0625), 16_384).step == 32
    assert Blocks.of(Grid(np.linspace(0, 1, 11), np.linspace(0, 1, 11)), 100).step == 1
