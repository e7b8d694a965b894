"""How sure: tables follow from rows, the viewer from members read one by one, and without members the page says why there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import headline
from orbit2.grid import global_grid
from orbit2.metrics.table import TRUTH, Table
from orbit2.report.inputs import Task
from orbit2.report.interactive import members as viewer
from orbit2.report.pages import members, probabilities, sure
from orbit2.report.pages.assembly import rendered
from orbit2.report.pages.blocks import Block, Section, paragraph
from orbit2.report.style import look
from orbit2.report.tables import Scores, plain
from tests.unit.report.test_traced import Rows, agree, untraced

NAME, RAIN, M = "2m_temperature", "precipitation_rate", 4
ZOOM = (-60.0, 60.0, 30.0, 200.0)


def scores(more: tuple[tuple[str, str, float], ...] = ()) -> Scores:
    """Rows of a task with members, held against `plain`."""
    rows = Table("t", "d", "standard", "r", "2020-01-01T00:00/2020-12-31T00:00", "v")
    for region, ratio in (("global", 0.7), ("land", 0.75), ("sea", 0.68), ("tropics", 0.71)):
        for metric, value in (("crps_ratio_vs_plain", ratio), ("spread_skill", 1.3 - ratio), ("rank_outliers", 1.1), ("crps_fair", 0.4)):
            rows.add("net", NAME, "physical", region, metric, "m", value, ci=(value - 0.1, value + 0.1) if region == "land" else None)
    for name in (NAME, RAIN):
        rows.add("net", name, "physical", "global", "members", "m", M)
    rows.add("plain", NAME, "physical", "global", "mae", "m", 0.57)
    for k, (area, came) in enumerate([(0.8, 0.01), (0.05, 0.3), (0.05, 0.5), (0.05, 0.7), (0.05, 0.98)]):
        rows.add("net", RAIN, "physical", "global", f"reliability_area_10_{k}", "m", area)
        rows.add("net", RAIN, "physical", "global", f"reliability_frequency_10_{k}", "m", came)
    rows.add("net", RAIN, "physical", "global", "brier_skill_10", "m", 0.4)
    for model, metric, value in more:
        rows.add(model, RAIN, "physical", "global", metric, "m", value)
    return Scores(rows.frame(), "t")


def task(**more: Any) -> Any:
    return SimpleNamespace(name="t", members=M, variables=[NAME, RAIN], **more)


def test_what_is_said_follows_from_the_rows() -> None:
    words = plain(sure.reading(scores(), "net", [NAME, RAIN], M))
    for part in ("0.70 (2 m temperature)", "mean absolute error of plain", "0.60", "too sure of itself"):
        assert part in words
    said = plain(sure.of_number(scores(), "net", [NAME, RAIN], 16))
    assert "1/16" in said and "12 %" in said and "6.2 %" in said


def test_every_area_has_its_scores_with_their_intervals() -> None:
    table = sure.area_table(scores(), "net", [NAME], task())
    assert [cell.value for cell in table.rows[0][1:5]] == [0.7, 0.75, 0.68, 0.71]
    assert plain(table.rows[0][2].note) == "0.650 to 0.850" and not table.rows[0][1].note
    assert table.columns[1:5] == tuple(f"CRPS ÷ MAE of plain, {area}" for area in ("all", "land", "sea", "tropics"))


def test_a_share_of_members_stands_beside_how_often_it_came() -> None:
    table = probabilities.probabilities(scores(), "net", [NAME, RAIN], task())
    assert table is not None and len(table.rows) == 1
    event, *bins, skill = table.rows[0]
    assert event.text.endswith("≥ 10 mm/day") and skill.value == 0.4
    assert [cell.value for cell in bins] == pytest.approx([1, 30, 50, 70, 98])
    assert plain(bins[1].note).startswith("said 25 %")
    assert probabilities.probabilities(scores(), "net", [NAME], task()) is None


def test_no_number_about_members_lacks_its_rows(tmp_path: Path) -> None:
    """Every sentence, table and small print of `How sure is it?`, on its own page and on the one to decide from."""
    more = ((TRUTH, "rx1day_return_20", 90.0), ("net", "rx1day_return_20", 85.0), ("net", "rx1day_return_20_lowest", 80.0),
            ("net", "rx1day_return_20_highest", 97.0), ("net", "crps_differences", 0.3), ("net", "power_ratio_2_to_3_cells", 1.04),
            ("net", "mean_power_ratio_2_to_3_cells", 0.4), ("plain", "power_ratio_2_to_3_cells", 0.31), (TRUTH, "block_edge_ratio", 1.01),
            ("net", "area_mean_range", 1.4), ("net", "area_mean_inside", 0.62), ("net", "crps_fair", 0.7), ("net", "brier_fair_10", 0.05),
            ("bicubic", "mae", 0.92))  # fmt: skip
    given = scores(more)
    inputs: Any = SimpleNamespace(tasks={"t": task(has_truth=True, config=SimpleNamespace(dataset="d", model="net"))}, scores=given.frame,
                                  regions=None)  # fmt: skip
    names, main = [NAME, RAIN], inputs.tasks["t"]
    own = [paragraph(sure.reading(given, "net", names, M)), paragraph(sure.of_number(given, "net", names, M)),
           Block("table", table=sure.area_table(given, "net", names, main)), *sure._structure(given, "net", names, main)]  # fmt: skip
    own += [block for block in members.ensemble_blocks(given, "net", names, "t") if block.kind != "figure"]
    with look():
        decide = Section("decision", "Decide", "Decide", probabilities.blocks(inputs, main))
        page = rendered("Members", "report", ["", ""], [decide, Section("sure", "How sure", "How sure", own)], "rows").html
    assert untraced(page) == [] and page.count("<table") == 7
    ways = agree(Rows(given.frame, tmp_path), page)
    assert ways >= {"value", "percent", "sum", "weighted", "products", "foreseen", "share", "outside", "inside"}


def test_return_levels_have_the_band_of_their_members() -> None:
    more = ((TRUTH, "rx1day_return_20", 90.0), ("net", "rx1day_return_20", 85.0), ("net", "rx1day_return_20_lowest", 80.0),
            ("net", "rx1day_return_20_highest", 97.0))  # fmt: skip
    table = probabilities.return_bands(scores(more), "net", task())
    assert table is not None and [cell.value for cell in table.rows[0][1:]] == [90, 85, 80, 97]
    assert probabilities.return_bands(scores(), "net", task()) is None


def test_without_members_the_page_says_why() -> None:
    one = SimpleNamespace(has_truth=True, members=0, config=SimpleNamespace(dataset="d"))
    inputs: Any = SimpleNamespace(tasks={"t": one})
    heading, words = probabilities.blocks(inputs, one)  # type: ignore[arg-type]
    assert heading.text == "How sure is it?" and "no task of the run has members" in words.text
    assert sure.sections(inputs, one) == [] and sure.headline(inputs, one) == []  # type: ignore[arg-type]


def test_the_headline_adds_the_crps() -> None:
    lines = headline.members(scores().rows)
    assert lines[0].startswith("  CRPS (fair) of 4 members") and lines[2].split() == [NAME, "0.4", "0.57", "0.700", "0.60"]
    assert headline.members(scores().rows.query("metric == 'mae'")) == []


@pytest.fixture
def drawn() -> Any:
    return of_noise()


def of_noise() -> Any:
    """A task whose truth and members are noise on a coarse globe."""
    grid, generator = global_grid(15.0), np.random.default_rng(0)
    fields = {name: (("member", "time", "lat", "lon"), generator.gamma(2.0, 3.0, (M, 2, *grid.shape)) + (270 if name == NAME else 0))
              for name in (NAME, RAIN)}  # fmt: skip
    data = xr.Dataset(fields)
    found = task(grid=grid, times=np.array(["2020-01-01T00", "2020-01-01T12"], dtype="datetime64[s]"), prediction=data,
                 truth=lambda name, at: data[name].values[0, at])  # fmt: skip
    found.ensemble = lambda name, at, most=3: Task.ensemble(found, name, at, most)
    return found


def test_mean_and_spread_are_of_all_members(drawn: Any) -> None:
    mean, spread, first = drawn.ensemble(NAME, 1)
    x = drawn.prediction[NAME].values[:, 1]
    np.testing.assert_allclose(mean, x.mean(axis=0))
    np.testing.assert_allclose(spread, x.std(axis=0, ddof=1))
    assert len(first) == 3 and np.array_equal(first[2], x[2])


def test_the_viewer_has_every_map_of_every_date(drawn: Any) -> None:
    with look():
        widget = viewer.widget(drawn, ZOOM, 2, 0)
        figure = sure.figure(drawn, RAIN, 0, ZOOM, "16")
        assert widget is not None and viewer.widget(drawn, ZOOM, 0, 0) is None
        address = {id(picture): f"p{i}" for i, picture in enumerate(widget.pictures)}
        html = widget.html(lambda picture: address[id(picture)])
    told = json.loads(html.split('<script type="application/json">')[1].split("</script>")[0])
    assert set(told["pictures"]) == {f"{name}/{i}/{key}" for name in (NAME, RAIN) for i in (0, 1) for key in told["layers"]}
    assert list(told["layers"]) == ["truth", "mean", "member0", "member1", "member2", "spread"]
    assert len(widget.first) == 8 and html.count("<figcaption>") == 6  # the first date and its two colour bars
    assert len(figure.pictures) == 6 and figure.columns == 3
