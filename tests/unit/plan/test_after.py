"""What plan says of work that was done, on the device that the record names."""

from typing import Any

import pytest
import torch

from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.plan import plan
from orbit2.plan.after import SHEETS, foresee, rate
from orbit2.plan.devices import DEVICES
from orbit2.timing import device_name

NAMES = ["2m_temperature", "precipitation_rate"]


def small() -> RunConfig:
    """15 -> 3.75 degrees."""
    split = {"train": {"start": "2026-03-25T00:00", "end": "2026-03-26T23:00"}, "validation": {"start": "2026-03-28", "end": "2026-03-28"},
             "test": {"start": "2026-03-30", "end": "2026-03-30"}}  # fmt: skip
    week = {"source": "sample", "inputs": NAMES, "outputs": NAMES, "coarse_grid": "global_15", "fine_grid": "global_3.75", "split": split}
    model = {"datasets": ["week"], "architecture": {"embed_dim": 16, "depth": 1, "heads": 2}, "train": {"steps": 60}}
    return from_mapping({"label": "small", "datasets": {"week": week}, "models": {"reslim": model},
                         "downscale": {"test": {"model": "reslim", "dataset": "week"}}})  # fmt: skip


def record(device: str, ranks: int = 1) -> dict[str, Any]:
    return {"tries": [{"device": "another", "ranks": 7, "threads": 1}, {"device": device, "ranks": ranks, "threads": 1}]}


def test_every_device_s_own_name_leads_to_a_sheet_and_others_to_none() -> None:
    assert set(SHEETS.values()) <= set(DEVICES)
    assert (
        rate("NVIDIA H200", "bfloat16") == DEVICES["h200"].rates["bf16"] and rate("NVIDIA H200", "float32") == DEVICES["h200"].rates["fp32"]
    )
    assert rate("NVIDIA H100 PCIe", "bfloat16") is None and rate("Abacus", "float32") is None


def test_it_is_what_orbit2_plan_says_of_that_machine() -> None:
    config = small()
    told = plan(config, device="h200", devices=1)
    name, task = next(iter(config.models)), next(iter(config.downscale))
    trained = foresee(config, "training", name, record("NVIDIA H200"))
    model = next(one for one in told.models if one.name == name)
    assert (trained.seconds, trained.split, trained.count) == (model.time.wall, model.time.split, model.steps)
    assert trained.device_bytes == max(one.memory.need for one in model.trainings) and trained.rate == model.time.rate
    predicted = foresee(config, "prediction", task, record("NVIDIA H200"))
    same = next(one for one in told.tasks if one.name == task)
    assert (predicted.seconds, predicted.count, predicted.device_bytes) == (same.time.wall, same.samples, same.memory.need)


def test_a_device_without_a_sheet_is_not_guessed_at() -> None:
    config = small()
    found = foresee(config, "training", next(iter(config.models)), record("Abacus"))
    assert found.seconds is None and found.untold == "no data sheet of Abacus"


def test_this_processor_is_measured_with_the_record_s_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    config, here = small(), device_name(torch.device("cpu"))
    monkeypatch.setattr("orbit2.plan.here._fastest", lambda *_: 1e-3 * torch.get_num_threads())
    found = foresee(config, "training", next(iter(config.models)), record(here))
    assert found.seconds and found.untold is None
