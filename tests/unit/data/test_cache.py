"""Shards on a node's own disk: read there the next time, never stale, never more than allowed, and never in the way."""

import logging
import multiprocessing
import os
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from orbit2.data.cache import of_node
from orbit2.data.pairs import SIDES, PairStore, SideSpec, finalise, initialise, reopen, write_part
from orbit2.grid import global_grid

NAMES = ("2m_temperature", "mean_sea_level_pressure")
SAMPLES, SHARD = 24, 4
Fields = dict[tuple[str, int], npt.NDArray[np.int16]]


def build(path: Path, seed: int) -> Path:
    coarse = global_grid(30.0)
    random = np.random.default_rng(seed)
    sides = [SideSpec(grid, NAMES, (), np.empty((0, *grid.shape), np.float32)) for grid in (coarse, coarse.refine(4))]
    initialise(path, *sides, np.datetime64("2026-01-01", "s") + np.arange(SAMPLES) * np.timedelta64(24, "h"), shard=SHARD)
    write(path, range(0, SAMPLES, SHARD), random)
    finalise(path)
    return path


def write(path: Path, starts: range, random: np.random.Generator) -> None:
    for start in starts:
        shapes = [(SHARD, 1, *grid.shape) for grid in (global_grid(30.0), global_grid(30.0).refine(4))]
        parts = [np.concatenate([250 + 50 * random.random(s), 100_000 + 1000 * random.random(s)], 1).astype(np.float32) for s in shapes]
        write_part(path, start, *parts)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build(tmp_path / "pairs.zarr", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "nvme"


def everything(opened: PairStore) -> Fields:
    return {(side, k): opened.read_packed(side, k) for side in SIDES for k in range(SAMPLES)}


def same(found: Fields, expected: Fields) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in expected)


def copies(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "bytes"]


def counted(folder: Path) -> int:
    return int(next(folder.glob("*/bytes")).read_text())


def shards(store: Path) -> list[Path]:
    return [path for path in store.glob("*/fields/c/*/0/0/0") if path.is_file()]


def test_what_was_read_once_is_read_here_the_next_time(store: Path, folder: Path) -> None:
    plain = everything(PairStore(store))
    assert same(everything(PairStore(store, str(folder), 1.0)), plain)
    assert Counter(p.read_bytes() for p in copies(folder)) == Counter(p.read_bytes() for p in shards(store))  # whole files, one each
    assert counted(folder) == sum(path.stat().st_size for path in shards(store))
    opened = PairStore(store, str(folder), 1.0)
    for side in SIDES:
        shutil.rmtree(store / side / "fields" / "c")
    assert same(everything(opened), plain)


def test_only_shards_that_were_read_are_kept(store: Path, folder: Path) -> None:
    opened = PairStore(store, str(folder), 1.0)
    opened.read("fine", 5)
    opened.read("fine", 6)
    opened.read("coarse", 23)
    assert sorted(f"{path.parent.name}/{path.name}" for path in copies(folder)) == ["coarse/5", "fine/1"]


@pytest.mark.parametrize("how", ["built anew", "a part written again"])
def test_a_store_that_was_built_again_is_never_served_from_before(store: Path, folder: Path, how: str) -> None:
    before = everything(PairStore(store, str(folder), 1.0))
    if how == "built anew":
        shutil.rmtree(store)
        build(store, 1)
    else:
        reopen(store)
        write(store, range(8, 12, SHARD), np.random.default_rng(1))
        finalise(store)
    plain = everything(PairStore(store))
    assert not same(before, plain) and same(everything(PairStore(store, str(folder), 1.0)), plain)
    assert len(copies(folder)) == len(shards(store))  # what is of no use any more is gone


def test_two_stores_do_not_mix(store: Path, folder: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other.zarr", 2)
    for _ in range(2):
        for path in (store, other):
            assert same(everything(PairStore(path, str(folder), 1.0)), everything(PairStore(path)))


def test_it_is_bounded_and_says_so_once(store: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain, limit = everything(PairStore(store)), sum(path.stat().st_size for path in shards(store)) // 2
    with caplog.at_level(logging.WARNING):
        assert same(everything(PairStore(store, str(folder), limit / 1e9)), plain)
    assert ["it is full" in record.message for record in caplog.records] == [True]
    size = sum(path.stat().st_size for path in copies(folder))
    assert 0.6 * limit < size <= limit and counted(folder) == size
    other = build(tmp_path / "other.zarr", 2)  # the bound is for all stores
    assert same(everything(PairStore(other, str(folder), limit / 1e9)), everything(PairStore(other)))
    assert sum(path.stat().st_size for path in copies(folder)) <= limit


def test_what_a_killed_process_left_is_put_right(store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, plain = PairStore(store, str(folder), 1.0), everything(PairStore(store))
    opened.read("fine", 0)
    (kept,) = copies(folder)
    part = kept.with_name(".1.part")
    part.write_bytes(b"half of it")
    (sums,) = folder.glob("*/bytes")
    sums.write_text("999999999999")
    assert same({("fine", 4): PairStore(store, str(folder), 1.0).read_packed("fine", 4)}, {("fine", 4): plain["fine", 4]})
    assert not kept.with_name("1").exists() and part.exists()  # somebody may be at it
    assert counted(folder) < 100_000
    os.utime(part, (0, 0))
    for _ in range(2):
        assert np.array_equal(PairStore(store, str(folder), 1.0).read_packed("fine", 4), plain["fine", 4])
    assert kept.with_name("1").read_bytes() == (store / "fine/fields/c/1/0/0/0").read_bytes() and not part.exists()


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "empty"])
def test_a_damaged_copy_is_not_believed(store: Path, folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = everything(PairStore(store, str(folder), 1.0))
    kept = next(path for path in copies(folder) if path.parent.name == "fine" and path.name == "2")
    content = kept.read_bytes()
    kept.write_bytes({"truncated": content[: len(content) // 2], "zeroed": bytes(len(content)), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert same(everything(PairStore(store, str(folder), 1.0)), plain)
    assert sum("cannot be used" in record.message for record in caplog.records) == 1
    assert kept.read_bytes() == content  # made again


def test_a_cache_that_vanishes_is_a_warning(store: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain, opened = everything(PairStore(store)), PairStore(store, str(folder), 1.0)
    opened.read("fine", 0)
    shutil.rmtree(folder)
    with caplog.at_level(logging.WARNING):
        assert same(everything(opened), plain)
    assert ["nothing more is kept" in record.message for record in caplog.records] == [True]


def test_a_disk_that_is_full_is_a_warning(
    store: Path, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, opened = everything(PairStore(store)), PairStore(store, str(folder), 1.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with caplog.at_level(logging.WARNING):
        assert same(everything(opened), plain)
    assert ["No space left on device" in record.message for record in caplog.records] == [True]
    assert not copies(folder) and counted(folder) == 0  # as it was counted before the first


def test_no_cache_is_a_warning(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = everything(PairStore(store))
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.delenv("NO_SUCH_DISK", raising=False)
    for where, reason in ((str(tmp_path / "file" / "x"), "Not a directory"), ("$NO_SUCH_DISK/x", "$NO_SUCH_DISK is not set here")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert same(everything(PairStore(store, where, 1.0)), plain)
        assert [reason in record.message for record in caplog.records] == [True]
    assert not (Path.cwd() / "$NO_SUCH_DISK").exists()
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    assert same(everything(PairStore(store, "${NODE_DISK}/here", 1.0)), plain) and copies(tmp_path / "disk" / "here")


def read_all(path: Path, folder: Path, seed: int, limit: float) -> dict[tuple[str, int], bytes]:
    opened, found = PairStore(path, str(folder), limit), {}
    for k in np.random.default_rng(seed).permutation(SAMPLES):
        for side in SIDES:
            found[side, int(k)] = opened.read_packed(side, int(k)).tobytes()
    return found


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_many_processes_at_once(store: Path, folder: Path, share: float) -> None:
    """Six at a time, each opening, counting and copying in an order of its own; the bound holds for all of them together."""
    plain = {key: codes.tobytes() for key, codes in everything(PairStore(store)).items()}
    size = sum(path.stat().st_size for path in shards(store))
    with ProcessPoolExecutor(6, mp_context=multiprocessing.get_context("fork")) as pool:
        found = [pool.submit(read_all, store, folder, seed, share * size / 1e9) for seed in range(12)]
        assert all(future.result() == plain for future in found)
    kept = copies(folder)
    assert all(path.read_bytes() == (store / path.parent.name / "fields/c" / path.name / "0/0/0").read_bytes() for path in kept)
    assert sum(path.stat().st_size for path in kept) <= share * size + 6 * size / len(shards(store))  # counted amid copies: a shard each
    assert len(kept) == len(shards(store)) if share > 1 else 0 < len(kept) < len(shards(store))


def test_the_place_that_a_nodes_set_up_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for runs that name none."""
    assert of_node(None, 100.0) == (None, 100.0)
    monkeypatch.setenv("ORBIT2_CACHE", "/mnt/bb/me/samples")
    assert of_node(None, 100.0) == ("/mnt/bb/me/samples", 100.0)
    monkeypatch.setenv("ORBIT2_CACHE_GB", "1500")
    assert of_node(None, 100.0) == ("/mnt/bb/me/samples", 1500.0) and of_node("/tmp/mine", 100.0) == ("/tmp/mine", 100.0)
