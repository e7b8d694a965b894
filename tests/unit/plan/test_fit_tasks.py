"""`orbit2 plan --fit` finds batch, items and jobs of a task, says when it is good as it stands, and what it needs where nothing fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orbit2.cli import main
from orbit2.config.load import from_mapping, merge
from orbit2.config.schema import RunConfig
from orbit2.model.inspect import build
from orbit2.plan import fit, fit_tasks
from orbit2.plan.devices import DEVICES
from orbit2.plan.estimate import prediction
from orbit2.plan.fit import Judged
from orbit2.plan.fit_tasks import TaskFit, Way, fit_task
from orbit2.plan.machine import Machine
from orbit2.plan.records import Memory, Time
from orbit2.plan.search import configured
from orbit2.plan.tiling import edges
from tests.data import tiny_training

pytestmark = pytest.mark.usefixtures("no_library")
TINY = tiny_training.tiny_run(2, {"batch_size": 2, "steps": 10})
TINY["datasets"]["tiny"]["split"] = {"train": {"start": "2026-01-01T00:00", "end": "2026-01-01T02:00"}, "gap_days": 0,
                                     "validation": {"start": "2026-01-01T03:00", "end": "2026-01-01T03:00"},
                                     "test": {"start": "2026-01-01T04:00", "end": "2026-01-01T11:00"}}  # fmt: skip
TINY["downscale"] = {"test": {"model": "small", "dataset": "tiny"}}


def run(**task: Any) -> RunConfig:
    return from_mapping(merge(TINY, {"downscale": {"test": task}}))


OWN = configured(from_mapping(TINY), "small", 1)


class Plan:
    def __init__(self, memory: Memory, time: Time) -> None:
        self.memory, self.time = memory, time


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plan says: a byte for each cell of a pass; `hours(batch, time_block)` of one device, divided by the devices."""
    monkeypatch.setitem(DEVICES, "a100", replace(DEVICES["a100"], memory=1e4, per_node=4))

    def pretend(hours: Callable[[int, int], float], memory: float = 1e4) -> None:
        monkeypatch.setitem(DEVICES, "a100", replace(DEVICES["a100"], memory=memory))

        def told(config: RunConfig, name: str, _: object, on: Machine) -> Plan:
            task = config.downscale[name]
            rows, columns = (min(edge or whole, whole) for edge, whole in zip(edges(task.tile), (12, 24), strict=True))
            devices = on.count if task.blocks > 1 else 1
            wall = 3600 * hours(min(task.batch, task.time_block), task.time_block) / devices
            return Plan(Memory({"all": min(task.batch, task.time_block) * rows * columns}, on.memory), Time(devices, wall))

        monkeypatch.setattr(fit_tasks, "prediction", told)

    return pretend


def test_a_batch_as_large_as_it_is_worth_in_items_that_hold_it(pretended: Callable[..., None]) -> None:
    """Two together take half of the time, four no less than that; a node has four devices."""
    pretended(lambda batch, _: 8.0 / min(batch, 2))
    found = fit_task(run(), "test", Machine("a100", 4))
    assert found.best is not None and found.own is not None
    assert found.best.changed == {"batch": 2, "time_block": 2, "blocks": 4} and found.best.hours == 1.0 and found.best.device_hours == 4.0
    assert (found.own.changed, found.own.hours, found.own.devices) == ({}, 8.0, 1)
    text = "\n".join(fit_tasks.lines(found))
    assert "4 device(s) in 4 jobs: 1.0 h, 4 device-hours" in text and "{time_block: 2, batch: 2, blocks: 4}" in text


def test_memory_is_kept(pretended: Callable[..., None]) -> None:
    """The whole field is 288 cells: of 1,000 bytes, a tenth to spare, three fields together; batches double."""
    pretended(lambda batch, _: 8.0 / batch, memory=1000)
    found = fit_task(run(), "test", Machine("a100", 1))
    assert found.best is not None and found.best.changed["batch"] == 2 and found.best.memory == 576


@pytest.mark.parametrize(("gain", "changes"), [(0.015, False), (0.05, True)])
def test_what_costs_the_same_stays_as_it_is(pretended: Callable[..., None], gain: float, changes: bool) -> None:
    pretended(lambda batch, block: 8.0 * (1 - gain * (batch > 1 or block > 1)))
    found = fit_task(run(), "test", Machine("a100", 1))
    assert found.best is not None and bool(found.best.changed) == changes
    assert ("nothing to change" in "\n".join(fit_tasks.lines(found))) != changes


def test_as_few_devices_as_end_in_time(pretended: Callable[..., None]) -> None:
    pretended(lambda batch, block: 8.0)
    four = fit_task(run(), "test", Machine("a100", 16), hours=2.0)
    assert four.best is not None and (four.best.devices, four.best.blocks, four.best.hours) == (4, 4, 2.0)
    nodes = fit_task(run(), "test", Machine("a100", 16), hours=0.9)
    assert nodes.best is not None and (nodes.best.devices, nodes.best.blocks) == (12, 3)  # jobs of full nodes
    late = fit_task(run(), "test", Machine("a100", 16), hours=0.4)
    assert not late.fits and late.nearest is not None and late.nearest.hours == 0.5 and "not in 0.4 h" in str(late.advice)


def test_where_no_field_fits_whole_tiles_do(pretended: Callable[..., None]) -> None:
    pretended(lambda batch, _: 8.0, memory=100)
    found = fit_task(run(), "test", Machine("a100", 1))
    assert not found.fits and found.needs is not None and found.needs.changed["tile"] == (6, 12) and found.needs.memory == 72
    text = "\n".join(fit_tasks.lines(found))
    assert "does NOT fit" in text and "would need (changes what is predicted)" in text and "tile: [6, 12]" in text
    told = fit_tasks.to_json(found)
    assert not told["fits"] and told["needs"]["downscale"]["tile"] == (6, 12) and json.dumps(told)
    allowed = fit_task(run(), "test", Machine("a100", 1), allow=["tile"])
    assert allowed.best is not None and allowed.best.changed["tile"] == (6, 12)


def test_what_is_pasted_is_what_plan_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """By plan itself."""
    monkeypatch.setattr(fit_tasks, "MOST", 2)
    found = fit_task(run(), "test", Machine("a100", 2))
    assert found.best is not None and found.best.changed
    pasted = from_mapping(merge(TINY, yaml.safe_load(fit_tasks.snippet("test", found.best))))
    told = prediction(pasted, "test", build(pasted, "small"), Machine("a100", 2))
    assert (told.memory.need, told.time.devices, told.blocks) == (found.best.memory, found.best.devices, found.best.blocks)
    assert found.best.hours is not None and told.time.wall == pytest.approx(3600 * found.best.hours)


def test_the_command_tells_models_and_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 when either does not fit."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    monkeypatch.setattr(fit, "fit", lambda config, name, machine, **_: fit.Fit(name, machine, None, (Judged(OWN, None, 1, 1.0),)))
    way = Way({"batch": 2}, 1, 1, 10, 1.0)
    for best, code in ((way, 0), (None, 2)):
        monkeypatch.setattr(fit_tasks, "fit_task", lambda _, name, machine, best=best, **__: TaskFit(name, "small", machine, None, best))
        with pytest.raises(SystemExit) as stop:
            main(["plan", str(path), "--fit", "--json", "--device", "a100"])
        told = json.loads(capsys.readouterr().out)
        assert (stop.value.code or 0) == code and told["fits"] == (code == 0) and told["tasks"][0]["fits"] == (code == 0)
        with pytest.raises(SystemExit):
            main(["plan", str(path), "--fit", "--device", "a100"])
        assert f"task test on 8 a100: {'fits' if best else 'does NOT fit'}" in capsys.readouterr().out
