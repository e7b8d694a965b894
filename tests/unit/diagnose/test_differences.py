"""Regions beside their best baseline: intervals, p-values and marks that are given together; none for a short record."""

import json

import numpy as np
import pytest

from orbit2 import diagnose
from orbit2.diagnose.notes import INTERVALS, SEASONS
from orbit2.metrics import table as tables
from orbit2.metrics.significance import discoveries
from tests.data import scored as make

DAYS = 62
DIFFERENCE, P, MARKED = (f"rmse_{name}_vs_best_baseline" for name in ("difference", "p", "marked"))


def sharper(store, side, index, name):
    """Much nearer to the truth than every interpolation in the east, bicubic with a little noise in the west."""
    good, plain = make.perfect(store, side, index, name), make.bicubic(store, side, index, name)
    noise = np.random.default_rng(index).normal(0, 0.02 * plain.std(), plain.shape)
    east = store.grid("fine").lon > 180
    return np.where(east, 0.7 * good + 0.3 * plain, plain + noise)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("differences")
    store = make.make_store(folder / "pairs.zarr", degrees=20.0, samples=DAYS * 24 // 7)
    prediction = make.make_prediction(folder / "p.zarr", store, field=sharper, names=("2m_temperature",))
    config = make.write_slice(folder / "slice.json", "diagnose", baselines=["nearest", "bicubic"])
    diagnose.run(config=config, prediction=prediction, store=store.path, out=folder / "out")
    noted = [note["diagnostic"] for note in json.loads((folder / "out" / "notes.json").read_text())["notes"]]
    assert INTERVALS not in noted and SEASONS in noted
    return tables.read(folder / "out" / "regions.parquet").set_index(["metric", "model", "region"]).sort_index()


def test_differences_are_those_of_the_table_and_have_intervals(found):
    table = found.loc[DIFFERENCE, "reslim"]
    assert len(table) > 15 and table["ci_low"].notna().all() and (table["ci_low"] <= table["value"]).all()
    for region, row in table.iterrows():
        best = row["method"].removeprefix("rmse minus rmse of ")
        expected = found.loc[("rmse", "reslim", region), "value"] - found.loc[("rmse", best, region), "value"]
        assert row["value"] == pytest.approx(expected, abs=1e-9)


def test_marks_are_given_to_all_regions_together(found):
    p, marked, difference = (found.loc[name, "reslim"]["value"] for name in (P, MARKED, DIFFERENCE))
    assert len(p) == len(marked) == len(difference)
    np.testing.assert_array_equal(discoveries(p), marked == 1)
    assert marked.any() and (difference[marked == 1] < 0).any()
    assert (p[marked == 0] > 0.05).all() or (p < 0.05).sum() > marked.sum()


def test_a_short_record_has_differences_without_marks(tmp_path):
    store = make.make_store(tmp_path / "pairs.zarr", degrees=15.0)
    prediction = make.make_prediction(tmp_path / "p.zarr", store, names=("2m_temperature",), field=sharper)
    config = make.write_slice(tmp_path / "slice.json", "diagnose", baselines=["nearest", "bicubic"])
    diagnose.run(config=config, prediction=prediction, store=store.path, out=tmp_path / "out")
    frame = tables.read(tmp_path / "out" / "regions.parquet")
    assert frame[frame.metric == DIFFERENCE].ci_low.isna().all() and len(frame[frame.metric == DIFFERENCE])
    assert not frame.metric.isin([P, MARKED]).any()
    assert INTERVALS in [note["diagnostic"] for note in json.loads((tmp_path / "out" / "notes.json").read_text())["notes"]]
