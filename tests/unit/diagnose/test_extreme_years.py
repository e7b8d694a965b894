"""The highest year and the change over the years, on fields of which both are known."""

import numpy as np
import pytest

from orbit2.diagnose import extreme_years
from orbit2.diagnose.kept import TRUTH
from orbit2.grid import global_grid
from orbit2.metrics import registry
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.report.figures import extremeyears as drawn
from orbit2.report.style import look
from orbit2.report.tables import Scores, plain
from tests.unit.diagnose.test_own_regions import RAIN, frame, kept, matched, table

GRID = global_grid(30.0)
DAY0 = np.datetime64("1850-01-01")


def years(first, last, step=1.0):
    """Kept days of whole years: the truth is 5 mm, 1 mm more in 2003 and `step` in the last half where lat > 0; the model is 0.5 mm too
    high, in 2003 2 mm; nearest neighbour 1 mm, and without any change."""
    dates = np.arange(np.datetime64(f"{first}-01-01"), np.datetime64(f"{last + 1}-01-01"))
    year = dates.astype("datetime64[Y]").astype(int) + 1970
    after = (year > (first + last) / 2)[:, None, None] & (GRID.lat2d > 0)
    wet = (year == 2003)[:, None, None]
    plain_truth = np.broadcast_to(5.0 + wet * 1.0, (len(dates), *GRID.shape))
    truth = plain_truth + step * after
    fields = {TRUTH: truth, "reslim": truth + np.where(wet, 2.0, 0.5), "bilinear": truth + 1.5, "nearest": plain_truth + 1.0}
    return kept(GRID, fields, numbers=(dates - DAY0).astype(int))


@pytest.fixture(scope="module")
def made():
    found = table()
    assert extreme_years.rows(found, years(2000, 2009), matched(), 20) == []
    return found


def test_the_highest_year_is_the_truths_and_is_scored_apart(made):
    rows = frame(made)["value"]
    assert rows["reslim", extreme_years.HIGHEST, "rmse"] == pytest.approx(2.0)
    assert rows["reslim", extreme_years.OTHERS, "rmse"] == pytest.approx(0.5)
    assert rows["bilinear", extreme_years.HIGHEST, "rmse"] == pytest.approx(1.5)
    methods = {row["method"] for row in made.rows if row["region"] == extreme_years.HIGHEST}
    assert len(methods) == 1 and "2003, the highest area mean of the truth of 10 whole years" in methods.pop()
    assert not registry.unknown({row["metric"] for row in made.rows})


def test_the_change_of_halves_is_what_was_put_in(made):
    """1 mm on the northern half of the globe; 2003 is 1 mm wetter everywhere and lies in the first half: -1/5 mm, but for leap days."""
    rows = frame(made)["value"]
    before = 366 + 365 * 3 + 366
    expected = 0.5 - 365 / before
    assert rows[OF_TRUTH, "global", "change_halves"] == pytest.approx(expected, abs=1e-5)
    assert rows["reslim", "global", "change_halves_pearson_r"] == pytest.approx(1.0, abs=1e-6)
    assert rows["reslim", "global", "change_halves_rmse"] == pytest.approx(1.5 * 365 / before, abs=1e-5)
    assert rows["nearest", "global", "change_halves_rmse"] == pytest.approx(np.sqrt(0.5), abs=1e-5)
    assert ("nearest", "global", "change_halves_pearson_r") not in rows.index  # no change has no correlation


def test_short_records_are_given_back_with_the_reason():
    found = table()
    notes = extreme_years.rows(found, years(2000, 2001), matched(), 20)
    assert [note["has"] for note in notes] == ["2 whole years"] * 2 and not found.rows
    notes = extreme_years.rows(found, years(2001, 2004), matched(), 20)
    assert [note["diagnostic"].partition(" ")[0] for note in notes] == ["change"]
    assert {row["metric"] for row in found.rows} == {"rmse"}


def test_both_are_drawn_and_told(made):
    scores = Scores(made.frame(), "test")
    with look():
        figure = drawn.figure(scores, "reslim", [RAIN], "test")
    assert figure is not None and figure.csv is not None
    others = 0.5 / np.sqrt(1 - 0.5 * 1826 / 3288)  # it lacks 1 mm on half of the globe
    assert figure.csv.splitlines()[1:] == [f"{RAIN},highest year,2003,2,nearest", f"{RAIN},other years,2003,{others:.6g},nearest"]
    words = plain(drawn.reading(scores, "reslim", [RAIN]))
    assert "for 0 of 1 variables; in the other years for 1 of 1" in words
    found = drawn.change_table(scores, "reslim", [RAIN], "test")
    assert found is not None and "2005 to 2009 less 2000 to 2004" in found.caption
    assert found.rows[0][1].value == pytest.approx(0.3, abs=2e-3)
    assert "1 of 1 variables" in plain(drawn.change_reading(scores, "reslim", [RAIN]))
    assert drawn.figure(Scores(table().frame(), "test"), "reslim", [RAIN], "test") is None
