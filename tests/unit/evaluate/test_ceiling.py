"""Another observational product beside a model: its own scores, on the cells both have; no other score changes, nobody competes with it."""

import json

import numpy as np
import pandas as pd
import pytest

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.data.pairs import SideSpec, finalise, initialise, write_part
from orbit2.evaluate.ceiling import Ceiling
from orbit2.evaluate.scores import Scores
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.matched import Matched
from orbit2.metrics.others import Product
from orbit2.metrics.verdict import judge
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make

WARMTH = "2m_temperature"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The truth, and a product of twice its resolution that is 1 K warmer, knows no rain, lacks the last time and a region."""
    folder = tmp_path_factory.mktemp("products")
    truth = make.make_store(folder / "pairs.zarr", degrees=15.0, samples=3)
    fine = truth.grid("fine").refine(2)
    initialise(folder / "other.zarr", SideSpec(truth.grid("fine"), (), (), np.empty((0, *truth.grid("fine").shape), np.float32)),
               SideSpec(fine, (WARMTH,), (), np.empty((0, *fine.shape), np.float32)), truth.times[:2], shard=2, attributes={})  # fmt: skip
    values = np.stack([truth.read("fine", i)[:1].repeat(2, 1).repeat(2, 2) + 1 for i in range(2)])
    values[..., :40, :] = np.nan
    write_part(folder / "other.zarr", 0, np.empty((2, 0, *truth.grid("fine").shape), np.float32), values)
    finalise(folder / "other.zarr")
    return truth, folder / "other.zarr"


def scores(folder, truth, other):
    """The table of the plain scores and of this collector, streamed in two parts."""
    prediction = folder / "p.zarr"
    if not prediction.exists():
        make.make_prediction(prediction, truth)
    told = json.loads(make.write_slice(folder / "slice.json", "evaluate").read_text())
    told |= {"others": {"prism_16km": str(other)}} if other is not None else {}
    settings = Settings(EvaluateConfig(baselines=("bicubic",), bootstrap=0), DiagnoseConfig())
    matched = Matched(told, prediction, truth.path, ("bicubic",))
    whole, part = ([kind(matched, settings) for kind in (Scores, Ceiling)] for _ in range(2))
    gather(matched, part)
    table = matched.table("standard")
    for empty, full in zip(whole, part, strict=True):
        empty.merge(full.state())
        empty.rows(table, "standard")
    return table.frame()


def test_a_product_is_scored_where_both_know_something_and_changes_nothing_else(stores, tmp_path):
    truth, other = stores
    with_it, without = scores(tmp_path, truth, other), scores(tmp_path, truth, None)
    own = with_it[with_it.model == "obs:prism_16km"].set_index("metric")
    assert set(own.variable) == {WARMTH} and set(own.index) == {"rmse", "mae", "bias", "pearson_r"}
    cells = (truth.grid("fine").shape[0] - 20) * truth.grid("fine").shape[1] * 2
    assert set(own.n) == {cells} and f"{cells:,} cells in 2 times" in own.method.iloc[0]
    assert own.value["rmse"] == pytest.approx(1, abs=0.01) and own.value["bias"] == pytest.approx(1, abs=0.01)
    new = with_it[(with_it.model == "obs:prism_16km") | (with_it.metric == "rmse_beside_prism_16km")]
    rest = with_it.drop(new.index).reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without.reset_index(drop=True))
    assert judge(with_it) == judge(without)


def test_the_models_number_beside_it_is_on_the_same_cells(stores, tmp_path):
    truth, other = stores
    found = scores(tmp_path, truth, other)
    grid = truth.grid("fine")
    errors = [make.bicubic(truth, "coarse", i, WARMTH)[20:] - truth.read("fine", i)[0, 20:] for i in range(2)]
    expected = np.sqrt(np.average(np.square(errors), weights=np.broadcast_to(area_weights(grid)[20:], np.shape(errors))))
    assert found[found.metric == "rmse_beside_prism_16km"].value.item() == pytest.approx(expected, rel=1e-5)


def test_what_a_product_has_not_is_none(stores):
    truth, other = stores
    product = Product(other, truth.grid("fine"))
    assert product.field("precipitation_rate", truth.times[0]) is None and product.field(WARMTH, truth.times[2]) is None
    found = product.field(WARMTH, truth.times[1])
    assert np.isnan(found[:20]).all()
    np.testing.assert_allclose(found[20:], truth.read("fine", 1)[0, 20:] + 1, atol=0.01)
