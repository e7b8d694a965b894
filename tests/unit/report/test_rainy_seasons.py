"""Rainy seasons and days beyond thresholds in the report: from rows and climate.nc as diagnose writes them, in words of days."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from orbit2.climate.domains import TITLES
from orbit2.climate.matrix import COLUMNS, published
from orbit2.grid import global_grid
from orbit2.metrics.table import Table
from orbit2.report.figures import monsoon
from orbit2.report.pages import monsoon as page
from orbit2.report.style import look
from orbit2.report.tables import Scores, plain, uses

RAIN = "precipitation_rate"
SOME = ("south_asia", "australia")


@pytest.fixture(scope="module")
def scores() -> Scores:
    """Two domains: the model 3 and 9 days off, the best baseline 5 and 6; thresholds in two regions."""
    rows = Table("t", "d", "standard", "r", "2001-01-01/2010-12-31", "v")
    for k, domain in enumerate(SOME):
        region = monsoon.PREFIX + domain
        for who, mae in (("net", (3.0, 9.0)[k]), ("delta", (5.0, 6.0)[k]), ("nearest", 12.0)):
            for event in ("onset", "withdrawal"):
                rows.add(who, RAIN, "physical", region, f"monsoon_{event}_mae", "m", mae, ci=(mae - 0.5, mae + 0.5), n=9)
                rows.add(who, RAIN, "physical", region, f"monsoon_{event}_bias", "m", mae / 2, n=9)
                rows.add(who, RAIN, "physical", region, f"monsoon_{event}_within_90", "m", 2 * mae, n=9)
            for c, column in enumerate(COLUMNS):
                if not (column == "hovmoller" and k):  # as where a section cannot discriminate
                    rows.add(who, RAIN, "physical", region, monsoon.metric(column), "m", 99.0 - mae - c, n=9)
    for region, truth, bias, csi, gap in (("WCE", 20.0, 2.0, 0.6, (0.1, 0.3)), ("SAS", 4.0, 3.0, 0.4, (-0.3, -0.1))):
        told = "{}; at least 20 mm; heavy_rain; cells, weighted by area; days of 10 years"
        rows.add("(truth)", RAIN, "physical", region, "threshold_days_rain", told.format("days a year"), truth)
        rows.add("net", RAIN, "physical", region, "threshold_days_bias_rain", told.format("days a year less those of the truth"), bias)
        rows.add("net", RAIN, "physical", region, "threshold_csi_rain", told.format("c"), csi)
        rows.add("delta", RAIN, "physical", region, "threshold_csi_rain", told.format("c"), 0.5)
        rows.add("net", RAIN, "physical", region, "threshold_csi_difference_vs_best_baseline_rain", told.format("c"), csi - 0.5, ci=gap)
    return Scores(rows.frame(), "t")


@pytest.fixture(scope="module")
def climate() -> xr.Dataset:
    """climate.nc of a 6 degree globe: the model's onset is 4 days late everywhere."""
    grid, generator = global_grid(6.0), np.random.default_rng(0)
    shape, models = grid.shape, ["truth", "nearest", "net"]
    base = 120 + 60 * np.sin(np.radians(grid.lat))[:, None] + np.zeros(shape)
    onset = np.stack([np.stack([base + late, np.full(shape, np.nan)]) for late in (0, 9, 4)])
    latitude, pentads = np.arange(5.0, 35.0, 6.0), 1 + 5 * np.arange(73)
    rain = 6 * np.exp(-(((pentads - 200) / 40) ** 2))[None] * np.linspace(0.4, 1, len(latitude))[:, None]
    yearly = 160 + generator.normal(0, 6, (2, 10))
    years = np.stack([yearly, yearly + 9, yearly + 4])
    return xr.Dataset(
        {
            f"{RAIN}_onset": (("model", "season", "lat", "lon"), onset),
            f"{RAIN}_withdrawal": (("model", "season", "lat", "lon"), onset + 90),
            f"{RAIN}_domain_onset": (("model", "domain", "year"), years),
            f"{RAIN}_domain_withdrawal": (("model", "domain", "year"), years + 90),
            f"{RAIN}_section_south_asia": (("model", "south_asia_latitude", "pentad"), np.stack([rain, 0.8 * rain, 1.1 * rain])),
        },
        coords={"model": models, "season": [1, 2], "lat": grid.lat, "lon": grid.lon, "domain": list(SOME), "year": np.arange(2001, 2011),
                "domain_title": ("domain", [TITLES[d] for d in SOME]), "south_asia_latitude": latitude,
                "pentad_begin": ("pentad", pentads)},
    )  # fmt: skip


def test_the_matrix_has_the_rows_values_and_the_published_ones_apart(scores: Scores) -> None:
    with look():
        figure = monsoon.matrix(scores, "net", RAIN, "t")
    assert figure is not None and figure.csv is not None
    lines = [line.split(",") for line in figure.csv.splitlines()]
    values = {(product, domain, column): value for product, domain, column, value in lines}
    assert values["Model: net", "south_asia", "onset"] == "96" and values["Model: net", "australia", "hovmoller"] == ""
    assert values["Best baseline: delta", "south_asia", "entropy"] == "91"
    told = published()
    assert float(values[f"Published: {told.products[0]}", "south_asia", "onset"]) == told.values["south_asia"][told.products[0]][0] == 88.47
    assert "another data set" in figure.caption.lower() and "1998-2021" in figure.caption


def test_dates_are_told_in_days_with_the_baseline_that_is_nearer(scores: Scores) -> None:
    words = plain(page._reading(scores, "net", RAIN))
    assert "is off by 3.0 days (South Asia) to 9.0 days (Australia)" in words and "in 1 of 2 domains" in words
    table = page.dates_table(scores, "net", RAIN, "t")
    assert table is not None and [row[0].text for row in table.rows] == ["South Asia", "Australia"]
    assert table.rows[0][1].value == 3.0 and table.rows[0][4].value == 5.0 and table.rows[0][4].note == "delta"


def test_maps_years_and_sections(scores: Scores, climate: xr.Dataset, tmp_path: Path) -> None:
    with look():
        figures = [monsoon.date_maps(climate, RAIN, "net", "t"), monsoon.year_series(climate, RAIN, "net", "t"),
                   *monsoon.section_figures(climate, scores, RAIN, "net", "t")]  # fmt: skip
    assert [figure.name for figure in figures if figure is not None] == ["season_dates_t", "season_years_t", "section_south_asia_t"]
    dates = figures[0]
    assert dates is not None and dates.pictures[2].alt.endswith("median of the absolute error 4 days.")
    for figure in figures:
        assert figure is not None
        figure.write(tmp_path)
        assert figure.name != "section_south_asia_t" or "No verdict" in figure.caption  # no row says that the section discriminates


def test_no_figure_without_rows_or_seasons(climate: xr.Dataset, made: SimpleNamespace) -> None:
    empty = Scores(Table("t", "d", "standard", "r", "a/b", "v").frame(), "t")
    assert monsoon.matrix(empty, "net", RAIN, "t") is None and page.dates_table(empty, "net", RAIN, "t") is None
    assert monsoon.date_maps(climate.where(climate["season"] > 2), RAIN, "net", "t") is None
    assert 'id="seasons"' not in made.html


def test_years_that_cross_the_new_year_lie_side_by_side() -> None:
    near = monsoon._near(np.array([360.0, 5.0]), np.array([362.0, 2.0]))
    assert near[1] - near[0] == pytest.approx(10)


def test_timing_is_sure_where_intervals_do_not_meet(scores: Scores) -> None:
    tolerance = {"day": 7.0}
    good = uses.dates(scores, "net", RAIN, monsoon.PREFIX + "south_asia", "onset", tolerance)
    bad = uses.dates(scores, "net", RAIN, monsoon.PREFIX + "australia", "onset", tolerance)
    assert good is not None and (good.level, good.error, good.today) == ("yes", 1.5, ("delta", 5.0))
    assert bad is not None and (bad.level, bad.better) == ("care", False)
    assert uses.dates(scores, "net", RAIN, "WCE", "onset", tolerance) is None


def test_days_beyond_a_threshold(scores: Scores) -> None:
    (counted,) = uses.thresholds(scores)
    assert counted == uses.Counted("rain", "heavy_rain", RAIN, "at least 20 mm")
    good, bad = (uses.days(scores, "net", counted, region, {"day": 7.0}) for region in ("WCE", "SAS"))
    assert good is not None and (good.level, good.tolerance, good.own) == ("yes", 7.0, 0.6)
    assert bad is not None and (bad.level, bad.tolerance) == ("no", 2.0)  # 3 days too many of 4 is not within 7
    assert uses.days(scores, "net", counted, "MED", {"day": 7.0}) is None
