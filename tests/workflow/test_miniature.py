"""The whole system in small: four providers on local servers, from retrieve to the report, with values known from a formula.

It goes the way of `foundation`, `us_finetune`, `imerg_global` and `orbit2` with small networks, boxes and a few days; its foundation
learns on ERA5 and PRISM (as `era5_pretrain` and `prism_pretrain` do), and the last task is predicted on tiles. It has no pair of
DAYMET alone (`daymet_pretrain`, `daymet_1km`) and no 18 outputs: the shipped files themselves go all the way in
test_shipped_miniature.py (slow), and their networks and tasks are walked at real size, without data, in
tests/unit/config/test_shipped_runs.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from orbit2.data.pairs import PairStore, Side
from orbit2.grid import Grid
from tests.data import miniature
from tests.data.miniature import LEAST, MOST, RAIN, SECRETS
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow  # five minutes: `make test-shipped`


def cell_means(name: str, day: np.datetime64, grid: Grid) -> np.ndarray:
    """Area means of the formula over each cell, from 8 x 8 points."""
    fine = grid.refine(8)
    values = miniature.daily(name, day, *np.meshgrid(fine.lat, fine.lon, indexing="ij")) * fine.lat_weights[:, None]
    rows, columns = grid.shape
    total = values.reshape(rows, 8, columns, 8).sum((1, 3))
    return total / (fine.lat_weights.reshape(rows, 8).sum(1) * 8)[:, None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run, done: (folder, what Snakemake printed, configuration, requests the services saw)."""
    folder = tmp_path_factory.mktemp("miniature")
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(folder / "cache"))
        run = providers.run()
        (folder / "mini.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        done = project("all", "--configfile", "mini.yaml", timeout=600)
        yield folder, done.stdout + done.stderr, run, project


def store(folder: Path, name: str, file: str = "pairs.zarr") -> PairStore:
    (found,) = (folder / "results/data").glob(f"{name}-????????")
    return PairStore(found / file)


@pytest.mark.parametrize(("dataset", "file"), [("us_pairs", "pairs.zarr"), ("prism_pairs", "pairs.zarr"), ("imerg", "observations.zarr")])
@pytest.mark.parametrize("side", ["coarse", "fine"])
def test_daily_stores_hold_the_formula(finished: Any, dataset: str, file: str, side: Side) -> None:
    pairs = store(finished[0], dataset, file)
    names = [name for name in (RAIN, LEAST, MOST) if name in pairs.variables(side)]
    checked = 0
    for index in np.flatnonzero(pairs.usable):
        fields = pairs.read(side, int(index))
        for name in names:
            expected = cell_means(name, pairs.times[index], pairs.grid(side))
            found = fields[pairs.variable_index(side, name)]
            # the providers' cells are means of one point each: an error of second order in their size
            np.testing.assert_allclose(found, expected, atol=0.02 if side == "fine" or name != RAIN else 0.03)
            checked += 1
    assert checked == len(names) * int(pairs.usable.sum()) and (not names or checked)


def test_hourly_pairs_hold_the_trailing_day(finished: Any) -> None:
    pairs = store(finished[0], "era5_pairs")
    assert pairs.times[0] == np.datetime64("2020-02-26T00:00") and len(pairs.times) == 24 * 10
    for stamp in ("2020-02-29T06:00", "2020-03-01T00:00", "2020-03-06T23:00"):
        (index,) = pairs.indices(stamp, stamp)
        time = np.datetime64(stamp)
        today, yesterday = time.astype("datetime64[D]"), time.astype("datetime64[D]") - 1
        hours = int((time - today) / np.timedelta64(1, "h"))
        grid = pairs.grid("coarse")
        expected = (cell_means(RAIN, today, grid) * hours + cell_means(RAIN, yesterday, grid) * (24 - hours)) / 24
        fields = pairs.read("coarse", int(index))
        np.testing.assert_allclose(fields[pairs.variable_index("coarse", RAIN)], expected, atol=0.1)  # point values at 0.25 degrees
        # at 06:00 the last 24 hours hold today's minimum (03:00) and yesterday's maximum (15:00)
        low = cell_means(LEAST, today if hours >= 3 else yesterday, grid)
        high = cell_means(MOST, today if hours >= 15 else yesterday, grid)
        np.testing.assert_allclose(fields[pairs.variable_index("coarse", LEAST)], low, atol=0.05)
        np.testing.assert_allclose(fields[pairs.variable_index("coarse", MOST)], high, atol=0.05)


def test_a_day_that_the_provider_does_not_have_is_a_recorded_gap(finished: Any) -> None:
    pairs = store(finished[0], "prism_pairs")
    assert [str(t)[:10] for t in pairs.times[~pairs.usable]] == ["2020-02-27"]
    (receipt,) = (finished[0] / "resources/prism/requests").glob("prism_pairs-*.done.json")
    assert "20200227" in receipt.read_text()
    assert not any(str(t).startswith("2020-02-27") for t in pairs.times[pairs.indices("2020-02-26", "2020-03-01")])


def test_scores_are_against_imerg_on_its_own_grid(finished: Any) -> None:
    scores = pd.read_parquet(finished[0] / "results/mini/evaluate/metrics.parquet")
    rows = scores[(scores["task"] == "global_7km") & (scores["metric"] == "rmse") & (scores["space"] == "physical")]
    rows = rows[~rows["model"].str.startswith("obs:")]  # other products know fewer cells
    assert set(rows["reference"]) == {"IMERG 0.1 deg (own grid)"} and set(rows["variable"]) == {RAIN}
    by_model = dict(zip(rows["model"], rows["value"], strict=True))
    assert {"us", "nearest", "bilinear", "bicubic", "conservative"} <= set(by_model)
    assert by_model["bicubic"] < by_model["nearest"]  # the truth is smooth
    assert by_model["bicubic"] < 0.15 and np.isfinite(by_model["us"])
    assert set(rows["n"]) == {2 * 20 * 30}


def test_the_report_shows_all_of_it(finished: Any) -> None:
    page = (finished[0] / "results/mini/report/index.html").read_text(encoding="utf-8")
    assert "Against IMERG" in page and "era5: 00:00 to 24:00 UTC of the date" in page and "imerg: 00:00 to 24:00 UTC" in page
    assert "coarse copies" in page.lower() or "super-resolution" in page


def test_no_secret_is_left_anywhere(finished: Any) -> None:
    folder, printed, _, _ = finished
    for secret in SECRETS.values():
        assert secret not in printed
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in (".json", ".log", ".html", ".tsv", ".yaml", ".md", ".jsonl", ".txt", ".part"):
                assert secret not in path.read_text(encoding="utf-8", errors="replace"), path


def test_a_second_run_has_nothing_to_do(finished: Any) -> None:
    _, _, _, project = finished
    assert project.planned("all", "--configfile", "mini.yaml") == {}
