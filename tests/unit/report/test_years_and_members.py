"""Tables of long tasks and of ensembles: each number is a row's, and a task that has none gets none."""

from __future__ import annotations

import pytest

from orbit2.metrics import table
from orbit2.metrics.extremes import MEANINGS
from orbit2.report.pages import members, years
from orbit2.report.tables import Scores, plain

RAIN = "total_precipitation_24hr"


def scores(rows: list[tuple[str, str, str, float]], name: str = RAIN) -> Scores:
    built = table.Table("t", "d", "standard", "truth", "2020-01-01T00:00/2020-12-31T00:00", "v")
    for model, space, metric, value in rows:
        built.add(model, name, space, "global", metric, "m", value)
    return Scores(built.frame(), "t")


def test_indices_stand_beside_the_truths_and_the_best_baselines() -> None:
    rows = [(model, "physical", metric, value) for model, of_model in {
        "(truth)": {"rx1day": 60.0, "rx1day_return_20": 90.0, "p11": 0.5}, "net": {"rx1day": 55.0, "rx1day_rmse": 8.0, "p11": 0.6},
        "bilinear": {"rx1day": 30.0, "rx1day_rmse": 20.0}, "delta": {"rx1day": 35.0, "rx1day_rmse": 15.0, "p11": 0.9, "p11_rmse": 0.3},
    }.items() for metric, value in of_model.items()]  # fmt: skip
    found = years.index_table(scores(rows), "net", RAIN, "t")
    assert found is not None
    assert [row[0].text for row in found.rows] == ["Rx1day", "wet day after a wet one, probability"]  # the model has no level
    assert [cell.value for cell in found.rows[0][1:]] == [60.0, 55.0, 35.0, 8.0, 15.0]
    assert found.rows[0][3].note == "delta" and found.rows[0][4].good
    assert years.title("rx1day_return_20") == "Rx1day once in 20 years"
    assert set(years.NAMES) == set(MEANINGS) - {"annual_mean"}


def test_distances_stand_beside_the_best_baselines() -> None:
    rows = [("net", "physical", "perkins", 0.9), ("bilinear", "physical", "perkins", 0.7), ("bicubic", "physical", "perkins", 0.8),
            ("net", "physical", "wasserstein", 0.2), ("bicubic", "physical", "wasserstein", 0.5)]  # fmt: skip
    found = years.distance_table(scores(rows), "net", [RAIN], "t")
    assert found is not None
    assert [cell.value for cell in found.rows[0][1:]] == [0.9, 0.2, None]
    assert found.rows[0][1].note.startswith("0.800") and found.rows[0][2].note.startswith("0.500")


def test_an_ensemble_has_its_scores_and_a_rank_histogram() -> None:
    rows = [("net", "physical", "members", 3.0), ("net", "physical", "crps_fair", 1.2), ("net", "log1p", "crps_fair", 0.2),
            ("bicubic", "physical", "mae", 1.9), ("net", "physical", "brier_fair_5", 0.1), ("net", "physical", "brier_skill_5", 0.3),
            *(("net", "physical", f"rank_share_{rank}", share) for rank, share in enumerate((0.4, 0.2, 0.2, 0.2)))]  # fmt: skip
    blocks = members.ensemble_blocks(scores(rows), "net", [RAIN], "t")
    tables = [block.table for block in blocks if block.table is not None]
    assert [cell.text for cell in tables[0].rows[0]][1:3] == ["1.20", "n/a"]
    assert plain(tables[0].rows[0][1].note) == "MAE 1.90 bicubic"
    assert [cell.value for cell in tables[1].rows[0]] == [None, 0.1, 0.3, None]
    figure = next(block.figure for block in blocks if block.figure is not None)
    assert figure.csv is not None and figure.csv.splitlines()[1] == f"{RAIN},0,1.6"
    assert plain(blocks[1].text).count("3 members") == 2 and "{" not in plain(blocks[1].text)


@pytest.mark.parametrize("rows", [[("net", "physical", "rmse", 1.0), ("bicubic", "physical", "rmse", 2.0)]])
def test_a_short_task_without_members_has_neither(rows: list[tuple[str, str, str, float]]) -> None:
    assert not years.climate_blocks(scores(rows), "net", [RAIN], "t")
    assert not members.ensemble_blocks(scores(rows), "net", [RAIN], "t")
