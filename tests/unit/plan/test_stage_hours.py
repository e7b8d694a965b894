"""Hours of the stages beside training and prediction: by hand, from rates that are the benchmark's own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from orbit2.config.load import from_mapping, load
from orbit2.config.schema import RunConfig
from orbit2.evaluate.fitting import MOST_SAMPLES
from orbit2.grid import named
from orbit2.plan import disk, remedy, stages
from orbit2.plan.machine import Machine
from orbit2.plan.records import Stored, Work
from orbit2.sources import manifest
from tests.data import scored
from tests.unit.plan.test_estimate import TINY

SERVER = Machine("epyc-7763")  # 64 cores


@pytest.fixture
def config() -> RunConfig:
    return from_mapping(TINY)


def test_rates_are_the_benchmarks_own(root: Path) -> None:
    def results(name: str) -> Any:
        return json.loads((root / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))

    chosen = results("pairstore_read")["candidates"]
    packed = next(one["encode_ms"] for one in chosen if one["chosen"])
    values = next(one["megabytes"] for one in chosen if one["codec"] == "uncompressed") * 1e6 / 2
    assert pytest.approx(packed / 1e3 / values, rel=0.01) == stages.STORED
    year = results("era5_year")
    stored = year["days"] * (4 * math.prod(named("global_1.0").shape) + 3 * math.prod(named("global_0.25").shape))
    field = (year["cores"] * year["ours"]["seconds"] - stages.STORED * stored) / (2 * 24 * year["days"])
    assert stages.REGRID["era5"].each == pytest.approx(field, rel=0.01) and MOST_SAMPLES == stages.FIT_SAMPLES
    told = {(source, rates.each, rates.start) for source, rates in stages.REGRID.items() if rates.basis == stages.SOURCES}
    sources = results("regrid_sources")
    assert {source for source, *_ in told} == set(sources)
    for source, each, start in told:
        assert (each, start) == (pytest.approx(sources[source]["a_field"], rel=0.01), pytest.approx(sources[source]["a_job"], rel=0.01))
    scores = results("stages")["scores"]
    for stage, (one, each, start) in {
        "statistics": ("statistics", "a_sample", "a_job"), "evaluate fit": ("fit", "a_sample", "a_job"),
        "evaluate": ("part", "a_sample", "a_job"), "structure": ("part", "structure", ""), "merge": ("merge", "a_part", "a_task"),
    }.items():  # fmt: skip
        rates, found = stages.STAGES[stage], scores[one]
        assert rates.each == pytest.approx(found[each] / found["values"], rel=0.01), stage
        assert rates.start == pytest.approx(found[start] if start else 0.0, rel=0.01), stage
    assert set(stages.STAGES) == {"statistics", "evaluate fit", "evaluate", "structure", "merge"}
    assert scores["models"] == stages.MODELS and scores["part"]["values"] == len(scored.VARIABLES) * stages.LARGE


def test_a_store_by_hand(root: Path) -> None:
    """Of hourly ERA5 a sample that is a day has 24 hours of each of its raw fields, one that is an hour one; parts begin."""
    hourly = load(root / "config/runs/era5_pretrain.yaml")
    samples, values = 368_160, disk.samples_bytes(hourly, "era5_112km")[0] // 2
    rates = stages.REGRID["era5"]
    raw = 19 - 2  # both extremes are made of hourly temperature, which is an input too
    assert stages.regridding(hourly, "era5_112km", 500) == pytest.approx(
        samples * (stages.STORED * values + raw * rates.each) + 500 * rates.start, rel=1e-3)  # fmt: skip
    daily = load(root / "config/runs/orbit2.yaml")
    values = disk.samples_bytes(daily, "era5_28km")[0] // 2
    assert stages.regridding(daily, "era5_28km", 12) == pytest.approx(
        366 * (stages.STORED * values + 24 * raw * rates.each) + 12 * rates.start, rel=1e-3)  # fmt: skip


def test_jobs_share_the_cores(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """130 jobs of a core second on 64 cores go in three rounds; statistics take eight cores; what is there takes nothing."""
    assert stages._spread("x", "y", 130, 130.0, SERVER, "").wall == 3.0
    rates = {"evaluate": (1e-3, 5.0), "structure": (2e-3, 0.0), "statistics": (1e-3, 3.0), "merge": (4e-3, 7.0)}
    monkeypatch.setattr(stages, "STAGES", {stage: stages.Rates(*each, "here") for stage, each in rates.items()})
    found = {(one.stage, one.name): one for one in stages.works(config, SERVER, (Stored("store", "tiny", 5, 0),))}
    cells = 48 * 96
    assert found["regrid", "tiny"].wall == 0.0 and found["report", ""].untold
    scores, told = found["evaluate", "test"], found["statistics", "tiny"]
    models = 1 + sum(name != "parent" for name in config.evaluate.baselines)
    share = cells * 2 * models / stages.MODELS
    assert scores.core_seconds == pytest.approx(5 + (1e-3 + 2e-3) * share) and scores.wall == scores.core_seconds
    assert found["merge", "test"].core_seconds == pytest.approx(7 + 4e-3 * share)
    assert told.core_seconds == pytest.approx(3 + 1e-3 * 8 * 2 * (cells + 12 * 24)) and told.wall == pytest.approx(told.core_seconds / 8)
    sums = stages.summed([Work("a", "x", 2, 30.0, 3.0), Work("a", "y", 1, 5.0, 5.0), Work("b", "", 1, untold="why")], 4)
    assert sums == {"a": (3, 35.0, 8.75)}


def test_structure_of_every_nth_sample_alone(root: Path) -> None:
    """An hourly year of which every 13th sample has structure; a task beyond the measured cells merges no more of a part."""
    def told(*given: str) -> dict[tuple[str, str], float]:
        config = load(root / "config/runs/era5_pretrain.yaml", list(given))
        return {(one.stage, one.name): one.core_seconds or 0.0 for one in stages._scored(config, SERVER)}

    every, rare = told("evaluate.every=1"), told("evaluate.every=13")
    values = 720 * 1440 * 3
    key = ("evaluate", "era5_112km")
    assert every[key] - rare[key] == pytest.approx(stages.STAGES["structure"].each * values * (8784 - 676), rel=1e-6)
    assert rare["merge", "era5_112km"] == pytest.approx(stages.STAGES["merge"].start + 12 * values * stages.STAGES["merge"].each)


def listed(folder: Path, seconds: list[int]) -> None:
    stamp = "2026-01-01T{:02d}:{:02d}:{:02d}Z"
    files: list[dict[str, Any]] = [{"file": f"{i}.nc", "bytes": 1_000_000, "fetched": stamp.format(*divmod(s // 60, 60), s % 60)}
                                   for i, s in enumerate(seconds)]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder, "era5", files)


def test_downloads_go_on_as_they_went(tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 1 MB every 10 s, with a night between: 0.1 MB/s. Before eight have come nothing is told."""
    folder = tmp_path / "resources" / "era5" / manifest.VERSION
    assert stages.measured_rate(folder) is None
    listed(folder, [0, 10, 20])
    assert stages.measured_rate(folder) is None
    listed(folder, [10 * k for k in range(8)] + [36_000 + 10 * k for k in range(4)])
    assert stages.measured_rate(folder) == pytest.approx(1e5)
    monkeypatch.chdir(tmp_path)
    wanted = (Stored("download", "era5", 10**9, 9 * 10**8, 7), Stored("download", "sample", 5, 5, 1), Stored("download", "imerg", 5, 5, 1))
    found = {one.name: one for one in stages.works(config, SERVER, wanted) if one.stage == "retrieve"}
    assert found["era5"].wall == pytest.approx(9000) and found["sample"].wall == 0.0 and found["imerg"].untold


def test_a_training_of_months_says_what_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 km over the US, whole samples: attention over 224,640 tokens; on its own tiles nothing more is to be had of them."""
    monkeypatch.setattr(remedy.search, "parts_of", lambda shape, patch: [(shape[0] // 4, shape[1] // 4)])
    whole = ["models.daymet_1km.train.tile=0", "models.daymet_1km.train.tiles_per_sample=0"]
    config = load(root / "config/runs/daymet_1km.yaml", whole)
    tiles, compression, devices = remedy.needs(config, "daymet_1km", 2 * remedy.LONG, 16)
    assert tiles.startswith("models.daymet_1km.train.tile: [156, 360] (1/1") and "compression: {mode: budget, ratio: 8}" in compression
    assert devices.startswith("32 devices instead of 16")
    assert remedy.needs(config, "daymet_1km", remedy.LONG, 16) == ()
    shipped = load(root / "config/runs/daymet_1km.yaml")
    assert not any("train.tile" in one for one in remedy.needs(shipped, "daymet_1km", 2 * remedy.LONG, 16))
