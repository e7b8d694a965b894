"""The section about seams: there for tiled tasks only, its numbers are rows of the table, its map shows a border."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from orbit2 import evaluate
from orbit2.config import slices
from orbit2.config.load import from_mapping
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.grid import global_grid, uniform
from orbit2.metrics import table
from orbit2.report.figures import maps
from orbit2.report.figures import seams as drawn
from orbit2.report.inputs import Inputs, read
from orbit2.report.pages import seams
from orbit2.report.pages.blocks import Section
from orbit2.report.style import look


@pytest.fixture(scope="module")
def tiled(made: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The tiny run as if its zero-shot task had been predicted on 4 x 8 tiles."""
    inputs, folder = read(made.slice, made.root), tmp_path_factory.mktemp("tiled")
    raw = inputs.config.model_dump(mode="json", exclude_unset=True)
    raw["downscale"]["finer"] |= {"tile": 12, "halo": 3}
    config, task = from_mapping(raw), inputs.tasks["finer"]
    write_json(folder / "slice.json", slices.evaluate(config, "finer"))
    evaluate.run(config=folder / "slice.json", prediction=task.prediction_path, store=task.store.path, out=folder / "out")
    task = replace(task, config=config.downscale["finer"], evaluate=folder / "out")
    scores = pd.concat([inputs.scores[inputs.scores["task"] != "finer"], table.read(folder / "out" / "metrics.parquet")])
    return replace(inputs, config=config, tasks={**inputs.tasks, "finer": task}, scores=scores)


@pytest.fixture(scope="module")
def section(tiled: Inputs) -> Section:
    with look():
        (found,) = seams.sections(tiled, tiled.tasks["finer"])
    return found


def test_only_tiled_tasks_have_a_section(tiled: Inputs, made: SimpleNamespace) -> None:
    assert seams.sections(tiled, tiled.tasks["test"]) == []
    assert "Do the tiles show?" not in made.html


def test_the_numbers_are_rows_of_the_table(tiled: Inputs, section: Section) -> None:
    rows = tiled.scores[tiled.scores["metric"].str.startswith("seam_ratio")]
    (shown,) = section.tables()
    values = {cell.value for row in shown.rows for cell in row if cell.value is not None}
    assert shown.name not in {figure.name for figure in section.figures()}  # their CSV files lie in one folder
    assert len(values) == 15 and values == set(rows[rows["model"] == "reslim"]["value"])
    words = section.blocks[1].text
    near = int((np.abs(rows[rows["model"] == "reslim"]["value"] - 1) <= 0.05).sum())
    assert words.startswith(f"Of 15 ratios, {near} lie within 1 ± 0.05")
    assert "tiles of 12 × 12 coarse cells, each with 3 more" in section.blocks[0].text
    assert "bicubic interpolation, which was never cut" in section.blocks[0].text


def test_a_seam_is_named_with_its_step(tiled: Inputs) -> None:
    scores = tiled.scores.copy()
    row = (scores["metric"] == "seam_ratio_wrap") & (scores["variable"] == "2m_temperature") & (scores["model"] == "reslim")
    scores.loc[row, ["value", "ci_low", "ci_high"]] = 7.0, 6.0, 8.0
    with look():
        (found,) = seams.sections(replace(tiled, scores=scores), tiled.tasks["finer"])
    words = found.blocks[1].text
    assert "There the tiles show. The largest is 7.00, 2 m temperature west–east, where the grid closes (0°)" in words
    assert "neighbouring cells differ by" in words and "K on average" in words
    assert found.figures()[1].title.endswith("2 m temperature")


@pytest.mark.parametrize(("control", "seam"), [(6.5, False), (5.0, True), (np.nan, True)])
def test_what_the_place_does_without_tiles_is_no_seam(tiled: Inputs, control: float, seam: bool) -> None:
    """A ratio beyond 1 whose interval holds that of the same border in a field that was never cut."""
    scores = tiled.scores.copy()
    row = (scores["metric"] == "seam_ratio_wrap") & (scores["variable"] == "2m_temperature")
    scores.loc[row & (scores["model"] == "reslim"), ["value", "ci_low", "ci_high"]] = 7.0, 6.0, 8.0
    scores.loc[row & (scores["model"] == "bicubic"), "value"] = control
    with look():
        (found,) = seams.sections(replace(tiled, scores=scores), tiled.tasks["finer"])
    assert ("There the tiles show. The largest is 7.00" in found.blocks[1].text) == seam
    others = ["as far from 1 as what was never cut" in block for block in found.blocks[1].text.split(", ")]
    assert sum(others) == 1  # another ratio of the fixture does so anyway: counted together
    count = int(found.blocks[1].text.split(", ")[others.index(True)].removeprefix("and ").split()[0])
    assert count == (1 if seam else 2)


def test_figures_and_csv(tiled: Inputs, section: Section, tmp_path: Path) -> None:
    curves, around = section.figures()
    for figure in (curves, around):
        figure.write(tmp_path)
        assert all(len(picture.alt) > 40 for picture in figure.pictures)
    frame = pd.read_csv(tmp_path / "tables" / "seams_finer.csv")
    assert set(frame["direction"]) == {"meridians", "parallels", "wrap"} and frame["offset"].min() == -24 and frame["offset"].max() == 24
    row = tiled.scores[(tiled.scores["metric"] == "seam_difference_wrap") & (tiled.scores["variable"] == "2m_temperature")
                       & (tiled.scores["model"] == "reslim")]  # fmt: skip
    drawn = frame[(frame["field"] == "2m_temperature") & (frame["direction"] == "wrap") & (frame["offset"] == 0)]
    assert drawn["model"].item() == pytest.approx(row["value"].item(), rel=1e-5)
    assert len(curves.pictures) == 12 and len(around.pictures) == 2
    assert np.std(around.pictures[0].pixels) > 5


def test_the_map_is_around_a_crossing_of_borders() -> None:
    globe, lats = global_grid(1.0), np.array([-45.0, 0.0, 45.0])
    south, north, west, east = drawn.around((30.0, 48.0, 355.0, 20.0), globe, lats, np.arange(8) * 45.0, 6.0)
    assert (south, north) == (39, 51) and west == pytest.approx(360 - 6 * np.sqrt(2)) and east == pytest.approx(6 * np.sqrt(2))
    south, north, west, east = drawn.around((-90.0, 90.0, 100.0, 120.0), globe, np.array([]), np.array([0.0, 180.0]), 6.0)
    assert (south, north, west, east) == (-6, 6, 174, 186)


def test_a_missing_file_is_named_with_its_stage(tiled: Inputs, tmp_path: Path) -> None:
    task = replace(tiled.tasks["finer"], evaluate=tmp_path)
    with pytest.raises(OrbitError, match=r"seams\.nc.*run the evaluate stage"):
        seams.sections(tiled, task)


def test_the_slice_says_how_it_was_tiled(made: SimpleNamespace) -> None:
    assert read_json(made.root / "results/tiny/config/evaluate_finer.json")["downscale"]["tile"] == 0


def test_the_crossing_shown_is_on_the_grid_wherever_the_zoom_is() -> None:
    region, europe, none = uniform(38, 40, 253, 256, 32, 48), (30.0, 48.0, 355.0, 20.0), np.array([])
    for lats, lons in ((np.array([39.5]), np.array([254.5])), (np.array([39.5]), none), (none, np.array([254.5])), (none, none)):
        for zoom in (europe, (38.5, 39.0, 253.5, 254.0), (0.0, 10.0, 100.0, 110.0)):
            box = drawn.around(zoom, region, lats, lons, 1.5)
            assert maps.overlaps(region, box)
            assert not len(lats) or box[:2] == (38.0, 41.0)
            assert not len(lons) or (box[2] + box[3]) / 2 == pytest.approx(254.5)
            assert maps.cut(np.zeros(region.shape), region, box)[0].size
    assert drawn.around(europe, global_grid(1.0), none, none, 2.0)[:2] == (37.0, 41.0)
