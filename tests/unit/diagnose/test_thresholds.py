"""Days above or below thresholds: counts and scores against plain counting, runs, and what cannot be told."""

import numpy as np
import pandas as pd
import pytest
import shapely
from pydantic import ValidationError

from orbit2.config.schema import ReportConfig
from orbit2.config.thresholds import DEFAULT, ThresholdConfig
from orbit2.diagnose import areas, thresholds
from orbit2.diagnose.kept import TRUTH
from orbit2.grid import global_grid
from orbit2.metrics import registry
from tests.unit.diagnose.test_own_regions import MODELS, RAIN, geojson, kept, matched, table, weather

HEAVY = ThresholdConfig(use="heavy_rain", variable="precipitation", above=1.0, units="cm")


def test_which_variables_a_threshold_is_asked_of():
    asked = {label: [name for name in ("2m_temperature", "2m_temperature_max", "2m_temperature_min", "temperature_850", RAIN,
                                       "precipitation_rate", "10m_u_component_of_wind") if one.applies(name)]
             for label, one in DEFAULT.items()}  # fmt: skip
    assert asked == {
        "heavy_rain_20mm": [RAIN, "precipitation_rate"], "hot_day_35c": ["2m_temperature_max"], "hot_mean_28c": ["2m_temperature"],
        "frost_day": ["2m_temperature_min"], "freezing_mean": ["2m_temperature"], "dry_spell_10d": [RAIN, "precipitation_rate"],
    }  # fmt: skip
    assert DEFAULT["hot_day_35c"].value("2m_temperature_max") == pytest.approx(308.15)
    assert HEAVY.value(RAIN) == HEAVY.value("precipitation_rate") == pytest.approx(10.0)
    assert HEAVY.told == "at least 1 cm"


@pytest.mark.parametrize(("given", "message"), [
    ({"above": 1.0, "below": 2.0}, "not both"), ({}, "not neither"), ({"above": 1.0, "variable": "rainfall"}, "no canonical name"),
    ({"above": 1.0, "units": "km"}, "cannot be converted"), ({"over": 1.0}, "Extra inputs"),
])  # fmt: skip
def test_a_threshold_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        ReportConfig.model_validate({"thresholds": {"mine": {"use": "heat", "variable": "air_temperature", **given}}})


def test_runs_of_days_end_at_dry_days_and_at_days_that_are_not_there():
    series = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1], dtype=bool)[:, None]
    expected = [0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert thresholds.in_runs(series, 3, np.arange(9))[:, 0].tolist() == expected
    broken = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9])  # no day 5: runs of two and two
    assert not thresholds.in_runs(series, 3, broken).any()


def test_counts_and_scores_are_those_of_plain_counting(tmp_path):
    grid = global_grid(30.0)
    fields = weather(grid, days=400)
    for model in fields:
        fields[model][10:20, 2, 3] = np.nan
    days = kept(grid, fields)
    path = geojson(tmp_path / "a.geojson", mine=shapely.box(60, -30, 120, 0))
    where = areas.given(days, "global") + areas.own(days, {"own": str(path)})
    made = table()
    assert thresholds.rows(made, days, where, {"heavy": HEAVY}, matched(), draws=100) == []
    found = pd.DataFrame(made.rows).set_index(["model", "region", "metric"]).sort_index()
    for region, cells in (("global", np.s_[:, :, :]), ("own:mine", np.s_[:, 2:3, 2:4])):
        w = np.broadcast_to(grid.area_km2, fields[TRUTH].shape)[cells]
        known = np.isfinite(fields[TRUTH][cells])
        o = fields[TRUTH].astype(np.float32)[cells] >= 10
        of_truth = 365.25 * (w * o).sum() / (w * known).sum()
        assert found.loc["(truth)", region, "threshold_days_heavy"].value == pytest.approx(of_truth, rel=1e-6)
        for model in MODELS:
            p = fields[model].astype(np.float32)[cells] >= 10
            a, b, c = (float((w * x).sum()) for x in (p & o, p & ~o, ~p & o))
            row = found.loc[model, region].value
            expected = {"hit_rate": a / (a + c), "false_alarm_ratio": b / (a + b), "csi": a / (a + b + c),
                        "days": 365.25 * (a + b) / (w * known).sum(), "days_bias": 365.25 * (b - c) / (w * known).sum()}  # fmt: skip
            for metric, value in expected.items():
                assert row[f"threshold_{metric}_heavy"] == pytest.approx(value, rel=1e-6, abs=1e-9), (model, metric)
        csi = found.loc["reslim", region, "threshold_csi_heavy"]
        assert csi.ci_low < csi.value < csi.ci_high
        beside = found.loc["reslim", region, "threshold_csi_difference_vs_best_baseline_heavy"]
        assert beside.value == pytest.approx(csi.value - found.loc["bilinear", region, "threshold_csi_heavy"].value, abs=1e-9)
        assert region != "global" or beside.ci_low > 0  # the noise of the model is half of that of the best baseline
    assert not registry.unknown({row["metric"] for row in made.rows})
    assert "at least 1 cm; heavy_rain" in csi.method


def test_a_perfect_model_has_every_day_and_one_without_events_has_no_ratio():
    grid = global_grid(45.0)
    fields = weather(grid, days=400)
    days = kept(grid, {TRUTH: fields[TRUTH], "reslim": fields[TRUTH], "bilinear": np.zeros_like(fields[TRUTH])})
    made = table()
    thresholds.rows(made, days, areas.given(days, "global"), {"heavy": HEAVY}, matched(("reslim", "bilinear")), draws=0)
    found = pd.DataFrame(made.rows).set_index(["model", "region", "metric"]).value
    assert found["reslim", "global", "threshold_csi_heavy"] == 1.0
    assert found["reslim", "global", "threshold_false_alarm_ratio_heavy"] == pytest.approx(0.0, abs=1e-12)
    assert found["bilinear", "global", "threshold_hit_rate_heavy"] == 0.0
    assert ("bilinear", "global", "threshold_false_alarm_ratio_heavy") not in found.index


def test_short_records_and_absent_variables_are_told_not_counted():
    grid = global_grid(45.0)
    days = kept(grid, weather(grid, days=100))
    made = table()
    notes = thresholds.rows(made, days, areas.given(days, "global"), {"heavy": HEAVY, **DEFAULT}, matched(), draws=10)
    assert made.rows == []
    assert {note["status"] for note in notes} == {"not computed: the record is too short"}
    days = kept(grid, weather(grid, days=400))
    notes = thresholds.rows(made, days, areas.given(days, "global"), {"frost": DEFAULT["frost_day"]}, matched(), draws=0)
    assert made.rows == []
    assert notes[0]["status"] == "not computed: no such variable"
