"""Where the time went, on the page: every number is the record's, or the quotient that its column names, beside what plan says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orbit2 import timing
from orbit2.report.pages import costs
from orbit2.report.style import look
from orbit2.report.tables import Table
from orbit2.timing import Foreseen

FACTS = {"device": "AMD EPYC", "precision": "float32", "threads": 2, "host_bytes": 2_000_000_000}


def told(kind: str, **more: Any) -> dict[str, Any]:
    """A record of two tries, the second on two ranks."""
    seconds = {
        "setup": 1.0,
        "waiting": 2.0,
        "forward": 4.0,
        "backward": 8.0,
        "optimiser": 1.0,
        "saving": 3.0,
        "validation": 0.5,
        "other": 0.5,
    }
    one = {**FACTS, "elapsed": 20.0, "seconds": seconds, "samples": 40.0, "steps": 10, "flops": 4e12, "rate": None, "joules": None,
           "device_bytes": None, **more}  # fmt: skip
    tries = [{**one, "try": 1, "began": 0.0, "ranks": 1}, {**one, "try": 2, "began": 500.0, "ranks": 2}]
    return {"format": timing.FORMAT, "kind": kind, "tries": tries, "total": timing.total(tries)}


def inputs(target: float = 0.0, **records: dict[str, Any]) -> Any:
    curve = [{"step": 10, "validation_loss": 0.9, "seconds": 12.0}, {"step": 15, "loss": 3.0},
             {"step": 20, "validation_loss": 0.7, "seconds": 31.0}, {"step": 30, "validation_loss": 0.8, "seconds": 38.0}]  # fmt: skip
    config = SimpleNamespace(finetune_from=None, train=SimpleNamespace(target=target))
    model = SimpleNamespace(name="reslim", config=config, about={}, curve=curve, timing=records.get("model", {}), origin="")
    return SimpleNamespace(config=None, models={"reslim": model}, tasks=_tasks(records))


def _tasks(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from orbit2.grid import named

    coarse = named("global_15")
    task = SimpleNamespace(name="test", input_grid=coarse, grid=coarse.refine(4), times=range(40), timing=records.get("task", {}),
                           prediction=SimpleNamespace(attrs={}))  # fmt: skip
    return {"test": task}


def section(given: Any, foresee: costs.Foresee | None = None) -> dict[str, Table]:
    with look():
        return {table.name: table for table in costs.cost_section(given, foresee).tables()}


def test_parts_are_added_over_tries_and_shares_are_of_the_whole() -> None:
    (row,) = section(inputs(model=told("training")))["cost_time"].rows
    cells = dict(zip(section(inputs(model=told("training")))["cost_time"].columns, row, strict=True))
    assert cells[""].text == "training of reslim" and cells[""].note == "AMD EPYC, 2 ranks, float32"
    assert cells["elapsed"].value == 40 and cells["backward"].value == 16 and cells["backward"].note == "40%"
    assert "copy" not in cells  # nobody has any


def test_plan_stands_beside_what_was_measured() -> None:
    asked = []

    def foresee(config: Any, kind: str, name: str, record: Any) -> Foreseen:
        asked.append((kind, name, record["kind"]))
        split = {"forward": 30.0, "backward": 60.0, "waiting for data": 10.0, "validation": 55.0, "writing": 20.0}
        return Foreseen(sum(split.values()), split, 100.0, 5_000_000_000, 7.2e6, 2e12)

    found = section(inputs(model=told("training"), task=told("prediction", joules=3.6e6, rate=1e12)), foresee)["cost_plan"]
    training, prediction = (dict(zip(found.columns, row, strict=True)) for row in found.rows)
    assert asked == [("training", "reslim", "training"), ("prediction", "test", "prediction")]
    assert training["seconds each"].value == pytest.approx(2 * 15 / 20) and training["seconds each"].note == "plan 1.20"
    assert prediction["seconds each"].value == pytest.approx(2 * 18 / 80)  # writing is a prediction's work, and a training's saving is not
    assert training["samples/s"].value == 80 / 40 and training["TFLOP/s"].value == pytest.approx(8 / 60)
    assert training["TFLOP/s"].note == "plan 2.00"  # no data sheet: no share
    assert training["% of rate"].text == "n/a" and prediction["% of rate"].value == pytest.approx(100 * 8e12 / 60 / 1e12)
    assert training["device, GB"].text == "n/a" and training["device, GB"].note == "plan 5.00"
    assert training["kWh"].text == "n/a" and prediction["kWh"].value == 2 and prediction["kWh"].note == "plan 2.00"


def test_what_plan_cannot_tell_is_said() -> None:
    found = section(inputs(model=told("training")), lambda *_: Foreseen(untold="no data sheet of Abacus"))["cost_plan"]
    assert found.rows[0][1].note == "no data sheet of Abacus"


@pytest.mark.parametrize(
    ("target", "stated", "reached"), [(0.0, "none stated", "n/a"), (0.75, "0.750", "31.0"), (0.5, "0.500", "not reached")]
)
def test_time_to_a_stated_quality(target: float, stated: str, reached: str) -> None:
    (row,) = section(inputs(target))["cost_quality"].rows
    assert [cell.text for cell in row] == ["reslim", stated, reached, "0.700", "31.0"] and row[-1].note == "step 20"


def test_without_a_record_the_page_says_so() -> None:
    found = costs.cost_section(inputs())
    assert "timing.json" in found.blocks[-1].text and "cost_time" not in {table.name for table in found.tables()}
