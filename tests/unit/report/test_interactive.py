"""What the page's scripts are given: outlines on the map, dates under the slider, pictures in the page or beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.colors import Normalize

from orbit2.grid import global_grid
from orbit2.metrics import table
from orbit2.report.figures import coast
from orbit2.report.figures.panels import Picture
from orbit2.report.interactive import outlines, rasters, regionmap
from orbit2.report.interactive.dates import chosen
from orbit2.report.interactive.regionmap import MISSING, Shown, coloured
from orbit2.report.interactive.shelf import Shelf
from orbit2.report.interactive.widgets import quoted
from orbit2.report.style import look
from orbit2.report.tables import Scores


def area(path: str, whole: str | None = None) -> float:
    """Share of the globe, or of another outline, inside an SVG path (maps are equal-area)."""
    def rings(text: str) -> shapely.Geometry:
        found = [np.array([pair.split() for pair in ring.rstrip("Z").split("L")], dtype=float) for ring in text.split("M")[1:]]
        return shapely.union_all([shapely.make_valid(shapely.Polygon(points)) for points in found])

    return float(rings(path).area / rings(whole or outlines.world().outline).area)


def test_outlines_cover_the_share_of_the_earth_that_regions_have() -> None:
    paths = {name: outlines.world().path(shape) for name, shape in outlines.ar6().items()}
    assert len(paths) == 58
    assert area(paths["SAM"]) == pytest.approx(2.997e6 / 510.1e6, rel=0.03)
    assert sum(map(area, paths.values())) == pytest.approx(1.0, abs=0.02)  # the 58 cover the globe


def test_a_polygon_beyond_the_date_line_is_cut_at_the_edge() -> None:
    across = outlines.world().path(shapely.box(170.0, -20.0, 200.0, 20.0))  # 0..360 and -180..180 alike
    assert across.count("M") == 2
    assert area(across) == pytest.approx(30 / 360 * np.sin(np.radians(20)), rel=0.02)


def test_a_box_is_drawn_by_itself_and_equal_area() -> None:
    box = outlines.Drawing((30.0, 50.0, 350.0, 20.0))  # across Greenwich
    whole = area(box.path(shapely.box(-20, 20, 40, 60)), box.outline)
    half = area(box.path(shapely.box(5, 20, 40, 60)), box.outline)
    assert whole == pytest.approx(1, abs=0.01) and half == pytest.approx(0.5, abs=0.01)
    north = area(box.path(shapely.box(350, 40, 380, 50)), box.outline)
    exact = (np.sin(np.radians(50)) - np.sin(np.radians(40))) / (np.sin(np.radians(50)) - np.sin(np.radians(30)))
    assert north == pytest.approx(exact, abs=0.01) and box.path(shapely.box(100, 0, 110, 10)) == ""
    assert len(box.coasts) > 1000 and re.fullmatch(r"0 0 \d+ \d+", box.view_box)


def test_boxes_have_finer_coasts_than_the_globe() -> None:
    def inside(lines: list[np.ndarray]) -> int:
        return sum(int(((line[:, 0] > 10) & (line[:, 0] < 30) & (line[:, 1] > 55) & (line[:, 1] < 65)).sum()) for line in lines)

    assert inside(coast.in_window(10, 30)) > 4 * inside(coast.in_window(0, 360)) > 0


def test_dates_are_spread_and_hold_the_frame_of_the_maps() -> None:
    assert chosen(4, 8, 1) == [0, 1, 2, 3]
    assert chosen(100, 5, 0) == [0, 25, 50, 74, 99]
    assert 37 in chosen(100, 5, 37) and len(chosen(100, 5, 37)) == 5
    assert chosen(1, 8, 0) == [0] and chosen(10, 0, 0) == [] and chosen(10, 1, 7) == [7]


def test_maps_of_dates_show_each_cell_where_it_is() -> None:
    grid = global_grid(2.0)
    north = np.where(grid.lat[:, None] > 0, 1.0, 0.0) * np.ones(grid.shape)
    with look():
        import matplotlib

        grey = matplotlib.colormaps["gray"]
        globe, box = rasters.world(north, grid, grey, Normalize(0, 1)), rasters.box(north, grid, (-20, 20, 200, 220), grey, Normalize(0, 1))
    half = len(globe) // 2
    assert np.median(globe[: half - 4, 300:500]) == 255 and np.median(globe[half + 4 :, 300:500]) == 0  # north is up
    assert np.median(box[: len(box) // 2 - 9]) == 255 and np.median(box[len(box) // 2 + 9 :]) == 0
    assert abs(box.shape[0] / box.shape[1] - 2) < 0.01 and globe.shape[1] == rasters.WIDTH


def test_colours_of_the_map_follow_the_values() -> None:
    told = coloured(Shown("skill", {"A": -0.5, "B": 0.0, "C": 0.5}, dict.fromkeys("ABC", "x"), diverging=True))
    fills = [told["regions"][code]["fill"] for code in "ABC"]
    legend = [fill for fill, _ in told["legend"]]
    assert fills == [legend[0], legend[4], legend[8]] and legend[9] == MISSING
    worse = coloured(Shown("bias", {"A": -0.5, "C": 0.5}, dict.fromkeys("AC", "x"), diverging=True, reverse=True))
    assert worse["regions"]["C"]["fill"] != fills[2]  # too high is red, not blue


def test_a_full_page_lays_pictures_beside_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    pictures = [Picture(noise, f"picture {i}") for i in range(3)]
    each = len("data:image/webp;base64,") + 4 * -(-len(pictures[0].webp(76)) // 3)
    shelf = Shelf(2 * each)
    shelf.place([("late", pictures[0], 2), ("first", pictures[1], 0), ("then", pictures[2], 1)])
    assert [shelf.address(p).startswith("data:") for p in pictures] == [False, True, True]
    shelf.write(tmp_path)
    assert (tmp_path / shelf.address(pictures[0])).read_bytes() == pictures[0].webp(76)


def test_what_scripts_read_cannot_end_their_element() -> None:
    assert "<" not in quoted({"a": "</script><script>alert(1)</script>"}) and "\\u003c/script>" in quoted("</script>")


def test_rows_of_regions_carry_their_code(made: SimpleNamespace) -> None:
    rows = re.findall(r'<tr data-region="(\w+)"><th scope="row">[^<]+<small>(\w+),', made.html)
    assert len({code for code, _ in rows}) == 58 and all(code == told for code, told in rows)  # some are on the decision page too


def test_regions_of_ones_own_can_be_chosen_by_name() -> None:
    def row(region: str, metric: str, value: float) -> dict[str, object]:
        told = {"task": "t", "model": "m", "variable": "2m_temperature", "space": "physical", "season": "all", "protocol": "standard"}
        return {**dict.fromkeys(table.COLUMNS, ""), **told, "region": region, "metric": metric, "value": value, "ci_low": 0.5,
                "ci_high": 0.9, "n": 1}  # fmt: skip

    scores = Scores(pd.DataFrame([row("SAM", "rmse", 0.7), row("basins:Danube", "rmse", 0.8)]), "t")
    made = regionmap.widget(scores, "m", ["2m_temperature"], {"SAM": "South-American monsoon"}, {})
    assert made is not None
    html = made.html(lambda picture: "")
    assert '<option value="basins:Danube">' in html and html.count("<path data-region=") == 1
    told = json.loads(re.findall(r'<script type="application/json">(.*)</script>', html)[0])
    assert told["0"]["regions"]["basins:Danube"]["text"] == "RMSE 0.800 K (95 % interval 0.500 to 0.900)"
    danube = {"basins:Danube": "POLYGON ((8 42, 30 42, 30 50, 8 50, 8 42))"}
    for box in (None, (30.0, 60.0, 0.0, 40.0)):  # the world, and a task's own box
        drawn = regionmap.widget(scores, "m", ["2m_temperature"], {"SAM": "South-American monsoon"}, danube, box)
        assert drawn is not None
        html = drawn.html(lambda picture: "")
        assert '<path data-region="basins:Danube" class="own" d="M' in html and html.count('value="basins:Danube"') == 1
        assert html.count("<path data-region=") == (2 if box is None else 1)  # America is not in the box
