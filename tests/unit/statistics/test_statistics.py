"""`statistics`: exact under any partition, from training samples only."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2 import statistics
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.statistics import stage
from orbit2.statistics.accumulator import Moments
from tests.data.era5_dataset import build, config_file, provider_files, relist


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_merging_any_partition_equals_one_pass(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    data, weights = 1e5 + random.normal(size=60), random.uniform(0.1, 1, 60)
    data[random.random(60) < 0.2] = np.nan
    data[0] = 1e5
    edges = [0, *sorted(cuts), 60]
    merged = Moments()
    for a, b in pairwise(edges):
        merged += Moments.of(data[a:b], weights[a:b])
    valid = np.isfinite(data)
    mean = np.average(data[valid], weights=weights[valid])
    std = np.sqrt(np.average((data[valid] - mean) ** 2, weights=weights[valid]))
    assert merged.count == valid.sum() and merged.least == data[valid].min() and merged.greatest == data[valid].max()
    assert merged.mean == pytest.approx(mean, rel=1e-14) and merged.std == pytest.approx(std, rel=1e-10, abs=1e-10)


def test_large_offset_does_not_cancel() -> None:
    pressure = 1e9 + np.array([0.0, 1.0, 2.0])
    assert sum((Moments.of(p, np.ones(1)) for p in pressure[:, None]), Moments()).std == pytest.approx(np.sqrt(2 / 3), rel=1e-12)


def test_nothing_valid_is_an_error_not_a_zero() -> None:
    with pytest.raises(OrbitError, match="NaN only"):
        (Moments() + Moments.of(np.array([np.nan]), np.ones(1))).as_dict("field")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stats")
    provider_files(folder / "r")
    build(folder, folder / "r")
    statistics.run(config=folder / "config.json", store=folder / "pairs.zarr", out=folder / "statistics.json")
    return folder


def test_file_holds_area_weighted_values_of_the_training_samples(built: Path) -> None:
    found = json.loads((built / "statistics.json").read_text())
    pairs = PairStore(built / "pairs.zarr")
    assert found["samples"] == 6 and found["period"] == {"start": "2020-01-01T00:00", "end": "2020-01-01T05:00"}
    assert (found["first"], found["last"]) == ("2020-01-01T00:00:00", "2020-01-01T05:00:00")
    for side in ("coarse", "fine"):
        data = np.stack([pairs.read(side, i) for i in range(6)]).astype(np.float64)
        weights = np.broadcast_to(pairs.grid(side).area_km2, (6, *pairs.grid(side).shape))
        for i, name in enumerate(pairs.variables(side)):
            mean = np.average(data[:, i], weights=weights)
            entry = found[side][name]
            assert entry["mean"] == pytest.approx(mean, rel=1e-12)
            assert entry["std"] == pytest.approx(np.sqrt(np.average((data[:, i] - mean) ** 2, weights=weights)), rel=1e-9)
            assert (entry["min"], entry["max"], entry["count"]) == (data[:, i].min(), data[:, i].max(), data[:, i].size)
        rain = found[side]["precipitation_rate"]
        logs = np.log1p(data[:, pairs.variables(side).index("precipitation_rate")])
        assert rain["log1p_mean"] == pytest.approx(np.average(logs, weights=weights), rel=1e-12) and rain["log1p_std"] > 0
        assert "log1p_mean" not in found[side]["2m_temperature"]
        assert set(found["static"][side]) == {"land_sea_mask", "orography", "slope"}
        assert found["static"][side]["land_sea_mask"]["mean"] == pytest.approx(0.289, abs=0.001)
    assert found["provenance"]["stage"] == "statistics"


def test_changing_validation_and_test_samples_changes_nothing_and_training_samples_do(built: Path, tmp_path: Path) -> None:
    reference = json.loads((built / "statistics.json").read_text())

    def changed(hours: slice, folder: Path) -> dict[str, object]:
        path = provider_files(folder / "r")
        with netCDF4.Dataset(path, "a") as file:
            file["t2m"][hours] = file["t2m"][hours] + 10
            file["tp"][hours] = 0.01
        relist(path.parent)
        build(folder, folder / "r")
        statistics.run(config=folder / "config.json", store=folder / "pairs.zarr", out=folder / "s.json")
        found: dict[str, object] = json.loads((folder / "s.json").read_text())
        return found

    other = changed(slice(6, 12), tmp_path / "a")
    assert all(other[key] == reference[key] for key in ("coarse", "fine", "static", "samples", "period"))
    assert changed(slice(5, 6), tmp_path / "b")["fine"] != reference["fine"]


def test_samples_per_part_does_not_change_the_result(built: Path, tmp_path: Path) -> None:
    provider_files(tmp_path / "r")
    build(tmp_path, tmp_path / "r", samples_per_part=2, samples_per_shard=1)
    statistics.run(config=tmp_path / "config.json", store=tmp_path / "pairs.zarr", out=tmp_path / "s.json")
    one, two = (json.loads(p.read_text()) for p in (built / "statistics.json", tmp_path / "s.json"))
    assert one["coarse"] == two["coarse"] and one["fine"] == two["fine"]


def test_threads_and_blocks_do_not_change_a_bit(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, samples = PairStore(built / "pairs.zarr"), np.arange(12)
    monkeypatch.setattr(stage, "BLOCK", 5)
    one, many = (stage.side_statistics(pairs, "fine", samples, threads) for threads in (1, 4))
    assert one == many
    monkeypatch.setattr(stage, "BLOCK", 12)
    whole = stage.side_statistics(pairs, "fine", samples, 1)
    for name, row in whole.items():
        assert one[name] == pytest.approx(row, rel=1e-12)


def test_mistakes_are_named(built: Path, tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="pair store not found"):
        statistics.run(config=built / "config.json", store=tmp_path / "none.zarr", out=tmp_path / "s.json")
    other = config_file(tmp_path / "c.json", min_valid_fraction=0.9)
    with pytest.raises(OrbitError, match="another configuration"):
        statistics.run(config=other, store=built / "pairs.zarr", out=tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "x", "hash": "y"}'])
def test_what_is_no_configuration_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(OrbitError, match=r"c\.json: not a dataset configuration slice"):
        statistics.run(config=tmp_path / "c.json", store=tmp_path / "s.zarr", out=tmp_path / "o.json")

MEASURE = """
import sys
from orbit2.cli import main
from orbit2.statistics import stage  # what the command imports is not its growth
def peak(): return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024
stage.BLOCK = 4
before, pools, real = peak(), [], stage.ThreadPoolExecutor
stage.ThreadPoolExecutor = lambda n: (pools.append(n), real(n))[1]
try: main(sys.argv[1:])
except SystemExit as stop: assert not stop.code, stop.code
print(pools, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_command_keeps_within_the_threads_and_memory_that_it_is_given(tmp_path: Path) -> None:
    """24 samples of 3 MB: what is in memory is one of them a thread, and no more threads than that fits."""
    fine, names = global_grid(0.5), ("2m_temperature", "precipitation_rate")
    sides = [SideSpec(grid, names, (), np.zeros((0, *grid.shape), np.float32)) for grid in (fine.coarsen(4), fine)]
    times = np.datetime64("2020-01-01T00", "s") + np.arange(24) * np.timedelta64(3600, "s")
    initialise(tmp_path / "s.zarr", *sides, times, shard=8)
    for start in range(0, 24, 8):
        write_part(tmp_path / "s.zarr", start, *(np.full((8, 2, *side.grid.shape), 280.0, np.float32) for side in sides))
    finalise(tmp_path / "s.zarr")
    blocks = {"train": ("2020-01-01T00:00", "2020-01-01T23:00"), "validation": ("2020-01-05", "2020-01-06"),
              "test": ("2020-01-07", "2020-01-08")}
    split = {name: {"start": start, "end": end} for name, (start, end) in blocks.items()} | {"gap_days": 0}
    config = config_file(tmp_path / "c.json", inputs=names, outputs=names, statics=[], coarse_grid="global_2", fine_grid="global_0.5",
                         split=split)  # fmt: skip
    store = PairStore(tmp_path / "s.zarr")
    one = stage.sample_bytes(store, "fine") / 2**20
    assert 15 < one < 20
    found = {}
    for memory in (4000, 72):
        command = ["statistics", "--config", str(config), "--store", str(store.path), "--out", str(tmp_path / "s.json"),
                   "--threads", "3", "--memory-mb", str(memory)]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True, timeout=120)
        pools, peak = done.stdout.strip().splitlines()[-1].rsplit(" ", 1)
        found[memory] = pools, float(peak)
    assert [pools for pools, _ in found.values()] == ["[3, 3]", "[3, 2]"]
    base = 40  # MB: opening the store, its codecs and their buffers
    for (_, peak), count in zip(found.values(), (3, 2), strict=True):
        assert peak < base + count * one, found


def test_quantiles_of_the_inputs_come_from_training_samples_alone(built: Path) -> None:
    found = json.loads((built / "statistics.json").read_text())["quantiles"]
    pairs = PairStore(built / "pairs.zarr")
    assert set(found) == {"levels", "coarse"} and set(found["coarse"]) == set(pairs.variables("coarse"))
    values = np.stack([pairs.read("coarse", i)[pairs.variable_index("coarse", "2m_temperature")] for i in range(6)])
    (season, quantiles), = found["coarse"]["2m_temperature"].items()
    assert season == "DJF" and quantiles == sorted(quantiles)
    assert values.min() <= quantiles[0] < quantiles[-1] <= values.max()
