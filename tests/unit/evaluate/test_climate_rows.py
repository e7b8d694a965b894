"""Climate indices and the order of minimum and maximum, as rows; parts come together in any order."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.evaluate.climate import ClimateIndices, day_of, levels
from orbit2.evaluate.order import Order, ends
from orbit2.grid import global_grid
from orbit2.metrics import registry
from orbit2.metrics.collector import Settings
from orbit2.metrics.extremes import Day
from orbit2.metrics.matched import Scored
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

RAIN = "total_precipitation_24hr"
GRID = global_grid(45.0)
SETTINGS = Settings(EvaluateConfig(), DiagnoseConfig())


class Matched(SimpleNamespace):
    """What collectors ask of a task: three models of daily samples."""

    def models(self, name):
        return ("reslim", "bilinear")


def task(variables, count, hours=24, calendar=None):
    times = np.datetime64("2021-01-01T00:00:00", "s") + np.arange(count) * np.timedelta64(hours, "h")
    if calendar is not None:
        times = np.array(xr.date_range("2021-01-01", periods=count, freq="D", calendar=calendar, use_cftime=True))
    return Matched(grid=GRID, times=times, variables=variables, has_truth=True, members=0, region="global", observations=None,
                   model="reslim", step_hours=hours)


def stream(matched, fields):
    """`fields` name -> [T, 3, H, W]: truth, reslim, bilinear."""
    for position, time in enumerate(matched.times):
        for name in matched.variables:
            truth, *models = fields[name][position]
            yield Scored(position, time, name, truth, dict(zip(matched.models(name), models, strict=True)), {}, position)


def rows(collector):
    table = Table("t", "d", "standard", "r", "p", "v")
    collector.rows(table, "standard")
    collector.rows(table, "orbit2_paper")  # has none
    return {(row["model"], row["metric"]): row for row in table.rows}


def rain(count):
    generator = np.random.default_rng(0)
    return np.where(generator.random((count, 3, *GRID.shape)) < 0.4, generator.gamma(0.6, 14, (count, 3, *GRID.shape)), 0.0)


class Training:
    """Heavy rain is 20 mm in every cell."""

    told = "from 9 samples"

    def wet_quantile(self, name, q, rows, columns):
        return np.full((len(rows), len(columns)), 20.0) if q == 0.95 else None


def test_rows_of_a_year_are_means_by_area_and_parts_come_in_any_order():
    matched, fields = task((RAIN,), 365), rain(365)
    whole, merged = (ClimateIndices(matched, SETTINGS, Training()) for _ in range(2))
    parts = [ClimateIndices(matched, SETTINGS, Training()) for _ in range(12)]
    for scored in stream(matched, {RAIN: fields}):
        whole.update(scored)
        parts[int(scored.sample[5:7]) - 1].update(scored)
    for i in np.random.default_rng(1).permutation(12):
        merged.merge(parts[i].state())
    one, other = rows(whole), rows(merged)
    assert one.keys() == other.keys() and not registry.unknown({metric for _, metric in one})
    for key, row in one.items():
        assert other[key]["value"] == pytest.approx(row["value"], rel=1e-12), key
    w = area_weights(GRID)
    highest = np.average(fields.max(axis=0), weights=np.broadcast_to(w, fields.shape[1:]), axis=(1, 2))
    heavy = np.average(np.where(fields > 20, fields, 0).sum(axis=0), weights=np.broadcast_to(w, fields.shape[1:]), axis=(1, 2))
    for i, model in enumerate(("(truth)", "reslim", "bilinear")):
        assert one[model, "rx1day"]["value"] == pytest.approx(highest[i], rel=1e-6)
        assert one[model, "r95p"]["value"] == pytest.approx(heavy[i], rel=1e-6)
    error = np.sqrt(np.average((fields[:, 1].max(axis=0) - fields[:, 0].max(axis=0)) ** 2, weights=w))
    assert one["reslim", "rx1day_rmse"]["value"] == pytest.approx(error, rel=1e-6)
    assert ("(truth)", "rx1day_rmse") not in one and ("reslim", "r99p") not in one
    assert not [metric for _, metric in one if "return" in metric or "interannual" in metric]  # one year
    assert "thresholds from 9 samples" in one["reslim", "r95p"]["method"] and one["reslim", "cdd"]["n"] == GRID.lat.size * GRID.lon.size


def test_a_year_of_360_days_is_a_year():
    matched = task((RAIN,), 360, calendar="360_day")
    collector = ClimateIndices(matched, SETTINGS)
    for scored in stream(matched, {RAIN: np.full((360, 3, *GRID.shape), 2.0)}):
        collector.update(scored)
    assert rows(collector)["(truth)", "cwd"]["value"] == pytest.approx(360)


@pytest.mark.parametrize(("count", "hours"), [(200, 24), (365 * 4, 6)])
def test_less_than_a_year_or_samples_that_are_no_days_have_no_rows(count, hours):
    matched = task((RAIN,), count, hours)
    collector = ClimateIndices(matched, SETTINGS)
    for scored in stream(matched, {RAIN: np.zeros((count, 3, *GRID.shape))}):
        collector.update(scored)
    assert not collector.state() and not rows(collector)


def test_return_levels_need_twenty_years_in_a_cell():
    maxima = np.random.default_rng(0).gamma(2, 20, (22, 1, 3)).astype(np.float32)
    maxima[:3, :, 2] = np.nan
    found = levels(maxima)
    assert set(found) == {5, 10, 20} and not levels(maxima[:19])
    assert np.isfinite(found[20][0, :2]).all() and np.isnan(found[20][0, 2])
    assert (found[5] < found[20])[0, :2].all()


def test_days_of_a_calendar():
    assert day_of("2020-12-31T12:00:00").number - day_of("2020-01-01T00:00:00").number == 365
    day = day_of("2021-12-30T00:00:00", "360_day")
    assert (day.last - day.first, day.number) == (359, day.last) and isinstance(day, Day)
    assert day_of("2020-03-01T00:00:00", "noleap").number - day_of("2020-02-28T00:00:00", "noleap").number == 1


def test_minimum_above_maximum_is_counted():
    assert ends(("2m_temperature_max", "2m_temperature", "2m_temperature_min_1hr", "2m_temperature_min")) == [
        ("2m_temperature_min", "2m_temperature_max")]  # fmt: skip
    matched = task(("2m_temperature_max", "2m_temperature_min"), 2)
    high, low = np.full((2, 3, *GRID.shape), 290.0), np.full((2, 3, *GRID.shape), 280.0)
    low[0, 1, 0, 0], low[1, 2], low[:, :, 1, 1] = 293.0, 291.0, np.nan
    whole, merged = Order(matched, SETTINGS), Order(matched, SETTINGS)
    for scored in stream(matched, {"2m_temperature_max": high, "2m_temperature_min": low}):
        whole.update(scored)
    for day in (1, 0):
        piece = Order(matched, SETTINGS)
        for scored in stream(matched, {"2m_temperature_max": high, "2m_temperature_min": low}):
            if scored.position == day:
                piece.update(scored)
        merged.merge(piece.state())
    w = area_weights(GRID)
    for found in (rows(whole), rows(merged)):
        assert found["(truth)", "order_violations"]["value"] == 0 and ("(truth)", "order_violation_size") not in found
        assert found["reslim", "order_violations"]["value"] == pytest.approx(w[0, 0] / (2 * (w.sum() - w[1, 1])))
        assert found["reslim", "order_violation_size"]["value"] == pytest.approx(3)
        assert found["bilinear", "order_violations"]["value"] == pytest.approx(0.5)
