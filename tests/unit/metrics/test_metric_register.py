"""The register of metrics: names are found, each once; tables of the stages hold nothing that it does not know."""

import re
from collections import Counter

import pytest

from orbit2 import diagnose, evaluate
from orbit2.metrics import deterministic, registry, seams
from orbit2.metrics import table as tables
from orbit2.metrics.entries.entry import PLACES, Entry
from tests.data import scored as make

EXAMPLES = {"baseline": "bicubic_log1p", "direction": "wrap", "diagram": "longitude", "q": "0.999", "mm": "0.1", "scale": "9px",
            "years": "20", "rank": "3", "dataset": "prism_4km", "lag": "1", "metric": "rmse", "threshold": "frost_day",
            "which": "mean_", "event": "onset", "index": "dsi", "days": "5", "column": "entropy",
            "axis": "longitude", "power": "1e-3", "waves": "2_to_3", "kind": "hottest"}  # fmt: skip


def test_every_place_has_an_example_that_it_takes():
    assert set(EXAMPLES) == set(PLACES)
    assert all(re.fullmatch(PLACES[place], text) for place, text in EXAMPLES.items())


def test_names_are_found_each_by_its_own_entry():
    entries = registry.entries()
    assert max(Counter(entry.name for entry in entries).values()) == 1
    for entry in entries:
        assert registry.find(entry.name.format(**EXAMPLES)) is entry
        assert entry.formula and entry.source and entry.spaces and set(entry.spaces) <= set(tables.SPACES)


@pytest.mark.parametrize(
    ("metric", "entry"),
    [("rmse_skill_vs_best_baseline", "rmse_skill_vs_best_baseline"), ("rmse_skill_vs_9m_parent", "rmse_skill_vs_{baseline}"),
     ("quantile_0.0001", "quantile_{q}"), ("seam_ratio_meridians", "seam_ratio_{direction}"), ("wet_share_1", "wet_share_{mm}")],
)  # fmt: skip
def test_the_nearest_entry_is_found(metric, entry):
    assert registry.find(metric).name == entry


@pytest.mark.parametrize("metric", ["rmsee", "rmse_skill_vs_", "quantile_99", "seam_ratio_diagonal", "xrmse", "rmse_skill_vs_a b"])
def test_what_nobody_registered_is_unknown(metric):
    assert registry.find(metric) is None and registry.unknown(["rmse", metric]) == [metric]


def test_a_direction_or_unit_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="upwards"):
        Entry("x", "x", "x", "1", "upwards")


def test_names_made_elsewhere_are_registered():
    made = [metric.name for metric in deterministic.METRICS] + [f"seam_ratio_{name}" for name in seams.DIRECTIONS]
    assert not registry.unknown(made)


@pytest.mark.parametrize(("stage", "run", "file"), [("evaluate", evaluate.run, "metrics"), ("diagnose", diagnose.run, "regions")])
def test_tables_of_the_stages_hold_only_what_is_registered_for_them(tmp_path, stage, run, file):
    store = make.make_store(tmp_path / "pairs.zarr", degrees=30.0)
    prediction = make.make_prediction(tmp_path / "p.zarr", store)
    config = make.write_slice(tmp_path / "slice.json", stage)
    run(config=config, prediction=prediction, store=store.path, out=tmp_path / "out")
    frame = tables.read(tmp_path / f"out/{file}.parquet")
    assert not registry.unknown(frame["metric"])
    found = {registry.find(metric) for metric in frame["metric"]}
    assert len(found) > 5 and all(stage in entry.stages for entry in found)
