"""What a run asks of each source, and the datasets of the paper's Table I."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orbit2.config import needs, slices
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import dataset_hash, from_mapping, load
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.regrid import plan_parts
from orbit2.retrieve.plan import needs as plan_needs
from orbit2.retrieve.plan import requests
from orbit2.sources.catalogue import source
from orbit2.sources.source import Request
from orbit2.sources.times import plan_times
from tests.data.shipped import RUNS

ROOT = Path(__file__).resolve().parents[3]


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
    before, during = sorted(asked(shipped("era5_pretrain"), "era5"), key=lambda need: need["first"])
    assert (before["first"], before["last"], before["box"]) == ("1979-01-01", "2020-12-31", None)
    assert before["variables"] == ["2m_temperature", "precipitation_rate"]  # what 24 hours are made of; the moment needs no day before
    assert (during["first"], during["last"], len(during["variables"])) == ("1979-01-02", "2020-12-31", 15)
    assert not {"total_precipitation_24hr", "2m_temperature_max", "2m_temperature_min"} & {*before["variables"], *during["variables"]}
    last = {name: need["last"] for need in asked(shipped("imerg_global"), "era5") for name in need["variables"] if need["first"] > "2019"}
    assert last.pop("precipitation_rate") == "2021-01-01" and set(last.values()) == {"2020-12-31"}


def test_extremes_of_the_hour_are_asked_for_when_wanted() -> None:
    names = {name for need in asked(shipped("era5_pretrain", "sources.era5.extremes=since_previous"), "era5") for name in need["variables"]}
    assert {"2m_temperature_max_1hr", "2m_temperature_min_1hr"} <= names


def test_regional_data_ask_for_a_box_unless_the_globe_is_fetched_anyway() -> None:
    alone = from_mapping({"label": "x", "datasets": {"us": {"include": "datasets/us_28km.yaml"}}, "models": {
        "m": {"datasets": ["us"], "architecture": {"include": "models/reslim_9m.yaml"}}}})
    assert all(need["box"] == [23.0, 51.0, 234.0, 296.0] for need in asked(alone, "era5"))
    run = shipped("us_finetune")
    planned = requests(source("era5", run.sources), plan_needs(asked(run, "era5"), "here"))
    assert {r.box for r in planned} == {None}, "the foundation's globe holds the United States, but for a day at the end"


EUROPE = {"coarse_grid": "global_1.0@35,60,-10,30", "fine_grid": "global_0.25@35,60,-10,30"}
GLOBE = {"coarse_grid": "global_1.0", "fine_grid": "global_0.25"}


def small(inputs: list[str], **grids: object) -> dict[str, Any]:
    return {"source": "era5", "inputs": inputs, "outputs": inputs, "statics": ["land_sea_mask"], **grids, "split": {
        "train": {"start": "1990-01-01", "end": "1991-12-31"}, "validation": {"start": "1992-01-10", "end": "1992-01-20"},
        "test": {"start": "2020-01-01", "end": "2020-12-31"}}}


def planned(**datasets: dict[str, Any]) -> list[Request]:
    run = from_mapping({"label": "x", "datasets": datasets, "models": {"m": {
        "datasets": [next(iter(datasets))], "architecture": {"include": "models/reslim_9m.yaml"}}}})
    return requests(source("era5", run.sources), plan_needs(asked(run, "era5"), "here"))


def test_holes_between_blocks_are_not_asked_for_and_the_moment_needs_no_day_before() -> None:
    months = [str(r.first)[:7] for r in planned(a=small(["2m_temperature"], **EUROPE))]
    assert len(months) == 25 + 12 and months[0] == "1990-01" and months[24:26] == ["1992-01", "2020-01"], "not 372"
    rain = planned(a=small(["2m_temperature", "total_precipitation_24hr"], **EUROPE))
    assert {str(r.first)[:7]: r.variables for r in rain if r.first.astype(str) < "1990-02"} == {
        "1989-12": ("precipitation_rate",), "1990-01": ("2m_temperature", "precipitation_rate")}
    assert [str(r.first)[:7] for r in rain].count("2019-12") == 1
    daily = planned(a=small(["2m_temperature", "precipitation_rate"], frequency="daily", **EUROPE))
    assert {r.variables for r in daily if str(r.first)[:7] == "2021-01"} == {("precipitation_rate",)}  # the hour that ends at midnight
    times = plan_times(DatasetConfig.model_validate(small(["2m_temperature"], **EUROPE)))
    parts = plan_parts(DatasetConfig.model_validate(small(["2m_temperature"], **EUROPE)))
    assert len(times) == (730 + 20 + 366) * 24 and len(parts) == 37


def test_one_global_dataset_does_not_make_every_box_global() -> None:
    far = small(["2m_temperature", "10m_u_component_of_wind"], **EUROPE)
    both = planned(europe=far, globe=small(["2m_temperature"], **GLOBE))
    assert sum(r.bytes for r in both) < 1.1 * sum(r.bytes for r in planned(globe=small(["2m_temperature"], **GLOBE)))
    assert {r.variables for r in both if r.box} == {("10m_u_component_of_wind", "2m_temperature")}, "what is read together is of one box"
    assert not any(r.box for r in planned(europe=far, globe=small([*far["inputs"], "mean_sea_level_pressure"], **GLOBE)))


def test_each_source_gives_only_what_the_others_do_not() -> None:
    run = shipped("us_finetune")
    dataset = run.datasets["us_28km"]
    assert set(needs.names_from(dataset, "era5")) | set(needs.names_from(dataset, "daymet")) == set(dataset.inputs)
    assert set(needs.names_from(dataset, "daymet")) == set(dataset.outputs)
    assert list(slices.receipts(run, "us_28km")) == ["daymet", "era5", "static"]


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
    with pytest.raises(OrbitError, match="1 s apart, less than 23 hours, and 2m_temperature_max covers 24 hours"):
        shipped("era5_pretrain", "datasets.era5_622km.split.train.end='2017-12-31'", "datasets.era5_622km.split.gap_days=0")
