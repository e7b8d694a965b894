"""Two runs beside each other: differences from sums by day of both, judged only where both saw the same truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from orbit2.cli.command import app
from orbit2.config.sources import SYNTHETIC
from orbit2.errors import OrbitError
from orbit2.metrics import table
from orbit2.metrics.statistics import Moments
from orbit2.report.compare import run, sides
from orbit2.report.compare.page import nearer

DAYS = pd.date_range("2001-01-01", periods=120)
RNG = np.random.default_rng(0)
WEATHER = RNG.normal(280, 5, len(DAYS))
SHARED = RNG.gamma(4, 0.25, len(DAYS))  # bad days are bad for both


def moments(error: float, truth: float = 0.0) -> np.ndarray:
    """[T, 9, 1] with a mean squared error of `error` by day, over a weight of 1."""
    one = np.ones(len(DAYS))
    noise = 1 + 0.02 * RNG.normal(size=len(DAYS))
    found = Moments(100 * one, one, WEATHER + 0.1, WEATHER + truth, 4 * one, 4 * one, 3.5 * one, error * SHARED * noise, one)
    return np.moveaxis(found.stacked(), 0, 1)[..., None]


def fake(folder: Path, error: float, truth: float = 0.0, model: str = "reslim", source: str = "era5") -> Path:
    """A run folder with one task, its table and two parts."""
    values = moments(error, truth)
    (folder / "config").mkdir(parents=True)
    told = {"downscale": {"test": {"model": model}}, "datasets": {"week": {"source": source}}}
    (folder / "config/report.json").write_text(json.dumps({"label": folder.name, "run": told}))
    parts = folder / "evaluate/test/parts"
    parts.mkdir(parents=True)
    for name, use in (("200101", slice(0, 60)), ("200103", slice(60, None))):
        with h5py.File(parts / f"{name}.h5", "w") as file:
            group = file.create_group(f"evaluate/scores/2m_temperature/{model}/domain")
            group["samples"] = np.array([f"{day:%Y-%m-%dT12:00:00}" for day in DAYS[use]], dtype="S")
            group["moments"] = values[use]
    rows = table.Table("test", "week", "standard", "ERA5 1 deg", "2001-01-01/2001-04-30", "0")
    for metric, value in (("rmse", float(np.sqrt(values[:, 7].mean()))), ("mae", error), ("bias", 0.1), ("pearson_r", 0.9 - error / 100)):
        rows.add(model, "2m_temperature", "physical", "global", metric, "method", value, n=100)
    table.write(rows.frame(), folder / "evaluate/metrics.parquet")
    return folder


def test_a_small_difference_on_the_same_days_stands(tmp_path: Path) -> None:
    """4 % less squared error is far beyond chance where the days are the same: both share the weather's good and bad days."""
    first, second = fake(tmp_path / "one", 1.0), fake(tmp_path / "two", 0.96)
    found = sides.paired(sides.opened(first, "one"), sides.opened(second, "two"), "test", "2m_temperature",
                         "evaluate/scores/{label}/{model}/domain")  # fmt: skip
    assert found is not None and found.days == 120
    exact = np.sqrt(0.96) - 1
    assert found.interval.value[0] == pytest.approx(exact, rel=0.15)
    low, high = found.interval.low[0], found.interval.high[0]
    assert low < exact < high < 0 and found.p < 0.001
    run(first, second, tmp_path / "out")
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "two has a lower RMSE in 1 of 1 fields. Beyond chance it is nearer to the truth in 1, and farther from it in 0." in html
    frame = pd.read_csv(tmp_path / "out/tables/compare_test.csv")
    assert frame["difference"][0] == pytest.approx(frame["reslim, two"][0] - frame["reslim, one"][0])
    card = pd.read_csv(tmp_path / "out/tables/compare_card_test.csv").set_index("score")["nearer"]
    assert card["MAE"] == "two" and card["correlation"] == "two" and card["bias"] == "neither"


def test_another_truth_is_not_judged(tmp_path: Path) -> None:
    first, second = fake(tmp_path / "one", 1.0), fake(tmp_path / "two", 0.5, truth=0.3)
    run(first, second, tmp_path / "out")
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "no difference is judged" in html and "Beyond chance it is nearer to the truth in 0" in html
    assert not re.search(r"may be chance</small>", html)


def test_a_run_of_no_real_world_is_named_above_the_page(tmp_path: Path) -> None:
    first, second = fake(tmp_path / "one", 1.0), fake(tmp_path / "two", 0.9, source="synthetic")
    run(first, second, tmp_path / "out")
    assert f'<p class="banner" role="note">two is {SYNTHETIC}</p>' in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    first = fake(tmp_path / "one", 1.0)
    with pytest.raises(OrbitError, match="compared with itself"):
        run(first, first, tmp_path / "out")
    with pytest.raises(OrbitError, match="not the folder of a run"):
        run(first, tmp_path, tmp_path / "out")
    done = CliRunner().invoke(app, ["report", "--compare", str(first), str(fake(tmp_path / "two", 0.9)), "--out", str(tmp_path / "page")])
    assert done.exit_code == 0 and (tmp_path / "page/index.html").is_file()


def test_nearer_knows_what_a_score_should_be() -> None:
    assert nearer("mae", 2.0, 1.0, None) is True and nearer("pearson_r", 0.9, 0.8, None) is False
    assert nearer("bias", -0.5, 0.2, None) is True and nearer("bias", 0.2, -0.2, None) is None
    assert nearer("pearson_r", 0.9, 0.9 + 1e-14, None) is None and nearer("bias", 1.5e-5, 1.5e-5 + 6e-14, None) is None  # rounding
    assert nearer("quantile_0.99", 40.0, 30.0, 31.0) is True and nearer("quantile_0.99", 40.0, 30.0, None) is None
