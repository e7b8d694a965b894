"""What a run asks of each source, and the datasets of the paper's Table I."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orbit2.config import needs, slices
from orbit2.config.load import dataset_hash, from_mapping, load
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.regrid import plan_parts

ROOT = Path(__file__).resolve().parents[3]
RUNS = sorted((ROOT / "config/runs").glob("*.yaml"))


def shipped(name: str, *overrides: str) -> RunConfig:
    return load(ROOT / f"config/runs/{name}.yaml", overrides)


def asked(run: RunConfig, source: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = needs.retrieve(run, source)["needs"]
    return found


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_every_shipped_run_is_valid_and_named_after_its_file(path: Path) -> None:
    run = load(path)
    assert run.label == path.stem
    for name, dataset in run.datasets.items():
        parts = plan_parts(dataset)
        shards = dataset.samples_per_shard
        assert all(part.start % shards == 0 for part in parts) and sum(p.count for p in parts) == parts[-1].start + parts[-1].count
        if not run.label.startswith("demo"):
            days = [part.count * dataset.step_hours / 24 for part in parts[:-1]]
            assert min(days) >= 15 and max(days) <= 48, f"{name}: a part is about a month"


def test_era5_pretraining_is_the_papers_hours_with_leap_days() -> None:
    dataset = shipped("era5_pretrain").datasets["era5_112km"]
    assert sum(part.count for part in plan_parts(dataset)) == 367_920 + 11 * 24 - 24  # without 1 January 1979, which has no day before
    assert len(dataset.inputs) + len(dataset.statics) == 23 and len(dataset.outputs) == 3


def test_foundation_mixes_all_pretraining_sets_in_one_model() -> None:
    run = shipped("foundation")
    assert set(run.models["foundation"].datasets) == {"era5_622km", "era5_112km", "prism_16km", "daymet_16km"}
    chain = shipped("orbit2")
    assert dataset_hash(run, "prism_16km") == dataset_hash(chain, "prism_16km")  # runs share data


def test_hourly_24_hour_fields_need_the_day_before_and_daily_ones_the_midnight_after() -> None:
    (hourly,) = asked(shipped("era5_pretrain"), "era5")
    assert (hourly["first"], hourly["last"], hourly["box"]) == ("1979-01-01", "2020-12-31", None)
    assert len(hourly["variables"]) == 17 and "precipitation_rate" in hourly["variables"]
    assert not {"total_precipitation_24hr", "2m_temperature_max", "2m_temperature_min"} & set(hourly["variables"])
    last = {(need["first"], need["last"]) for need in asked(shipped("imerg_global"), "era5")}
    assert ("2020-01-01", "2021-01-01") in last


def test_extremes_of_the_hour_are_asked_for_when_wanted() -> None:
    (need,) = asked(shipped("era5_pretrain", "sources.era5.extremes=since_previous"), "era5")
    assert {"2m_temperature_max_1hr", "2m_temperature_min_1hr"} <= set(need["variables"])


def test_regional_data_ask_for_a_box_unless_the_globe_is_fetched_anyway() -> None:
    alone = from_mapping({"label": "x", "datasets": {"us": {"include": "datasets/us_28km.yaml"}}, "models": {
        "m": {"datasets": ["us"], "architecture": {"include": "models/reslim_9m.yaml"}}}})
    (need,) = asked(alone, "era5")
    assert need["box"] == [23.0, 51.0, 234.0, 296.0]
    assert all(need["box"] is None for need in asked(shipped("us_finetune"), "era5"))


def test_each_source_gives_only_what_the_others_do_not() -> None:
    run = shipped("us_finetune")
    dataset = run.datasets["us_28km"]
    assert set(needs.names_from(dataset, "era5")) | set(needs.names_from(dataset, "daymet")) == set(dataset.inputs)
    assert set(needs.names_from(dataset, "daymet")) == set(dataset.outputs)
    assert slices.receipts(run, "us_28km") == [slices.receipt(run, source) for source in ("daymet", "era5", "static")]


def test_addresses_and_pace_change_no_hash_and_values_do() -> None:
    before = shipped("daymet_pretrain")
    for override, moves in (("sources.transfer.workers=8", False), ("sources.earthdata.cmr=http://127.0.0.1:9", False),
                            ("sources.daymet.region=hi", True), ("sources.static.source=packaged", True),
                            ("sources.imerg.min_slots=48", False)):
        after = shipped("daymet_pretrain", override)
        assert (dataset_hash(before, "daymet_16km") != dataset_hash(after, "daymet_16km")) == moves, override
        receipts = [slices.receipts(run, "daymet_16km") for run in (before, after)]
        assert (receipts[0] != receipts[1]) == moves, override


@pytest.mark.parametrize(("override", "message"), [
    ("datasets.prism_16km.frequency=hourly", "only era5 has hourly fields, not prism"),
    ("datasets.prism_16km.input_sources={era5: [2m_temperature]}", "which is not among the inputs"),
    ("datasets.prism_16km.split.train=null", "needs train, validation and test"),
    ("datasets.prism_16km.outputs=[]", "trains on 'prism_16km', which has no outputs"),
    ("downscale.prism_16km.observations=nowhere", "downscale.prism_16km.observations names unknown dataset"),
    ("sources.prism.url=https://user:word@host/x", "must not carry a user or password"),
    ("sources.prism.url=here", "not a URL"),
])
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(OrbitError) as caught:
        shipped("prism_pretrain", override)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    if "word" in override:
        assert "user:word" not in str(caught.value)


def test_trailing_days_keep_the_blocks_a_day_apart() -> None:
    with pytest.raises(OrbitError, match="closer than a day, and 2m_temperature_max covers 24 hours"):
        shipped("era5_pretrain", "datasets.era5_622km.split.train.end='2017-12-31'")
