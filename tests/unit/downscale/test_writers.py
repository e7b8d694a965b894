"""Processes that mix and write beside the one that computes: the same bits, and what happens when any of them ends."""

import logging
import os
import pickle
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from orbit2 import allowance
from orbit2.downscale import Settings, run
from orbit2.downscale import writers as writers_module
from orbit2.downscale.job import layout_of
from orbit2.downscale.predictor import Downscaler, load_model
from orbit2.downscale.store import _of_system
from orbit2.downscale.work import work
from orbit2.downscale.writers import DEEPEST, MOST, OWN, QUICK, Writers, depth, fitting
from orbit2.errors import Interrupted, OrbitError
from orbit2.grid import global_grid
from tests.data.small_downscaling import arguments, computed, exit_code, forked, random_model, shards, task
from tests.data.tiny_training import Tiny

CUTS: dict[str, dict[str, Any]] = {
    "blended": {"tile": [5, 7], "halo": 2, "time_block": 5, "batch": 3, "blend": 2},
    "halos thrown away": {"tile": [5, 7], "halo": 2, "blend": 0, "time_block": 5},
    "members": {"tile": [5, 7], "halo": 2, "members": 2, "time_block": 6},
}
BLENDED = CUTS["blended"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"), noise={"channels": 1})


OTHERS: set[int] = set()  # children of whatever ran before


@pytest.fixture(autouse=True)
def others() -> None:
    OTHERS.clear()
    OTHERS.update(child.pid for child in psutil.Process().children())


def writers() -> list[psutil.Process]:
    """This process's own, as long as they live."""
    return [child for child in psutil.Process().children() if child.pid not in OTHERS and child.status() != psutil.STATUS_ZOMBIE]


def predicted(tiny: Tiny, model: Path, out: Path, **settings: Any) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    run(**arguments(tiny, model, task(out.with_suffix(".config"), **settings), out))
    return out


@pytest.mark.parametrize("cut", CUTS)
def test_the_same_bits_from_whichever_process(tiny: Tiny, model: Path, tmp_path: Path, cut: str) -> None:
    alone = predicted(tiny, model, tmp_path / "alone" / "p.zarr", **CUTS[cut])
    several = predicted(tiny, model, tmp_path / "several" / "p.zarr", **CUTS[cut], writers=3)
    assert shards(several) == shards(alone) and len(shards(alone)) > 50
    assert computed(several) == computed(alone)
    wrote = [file for file in several.parent.glob(".p.zarr.*.journal/*.jsonl") if '"item"' in file.read_text()]
    assert len({file.name.split("-")[-2] for file in wrote} - {str(os.getpid())}) > 1, "several wrote, and not this one"
    assert not writers(), "none is left"


def test_fields_are_handed_on_in_memory_that_all_share(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickled through one pipe they take longer than to be written by eight."""
    sizes, plain = list[int](), ProcessPoolExecutor.submit

    def submit(self: ProcessPoolExecutor, act: Any, *given: Any) -> Any:
        sizes.append(len(pickle.dumps(given)))
        return plain(self, act, *given)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    for name, cut in CUTS.items():
        predicted(tiny, model, tmp_path / name / "p.zarr", **cut, writers=2)
    assert len(sizes) > 100 and max(sizes) < 1000


def at_item(number: int, act: Callable[[], object]) -> Callable[..., Any]:
    """`Downscaler.submit` that does `act` before its window `number`."""
    plain, seen = Downscaler.submit, []

    def predict(self: Downscaler, *given: Any, **named: Any) -> Any:
        seen.append(1)
        if len(seen) == number + 1:
            act()
        return plain(self, *given, **named)

    return predict




def test_a_writer_that_is_killed_leaves_its_work_to_others(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = predicted(tiny, model, tmp_path / "alone" / "p.zarr", **BLENDED)
    monkeypatch.setattr(Downscaler, "submit", at_item(14, lambda: os.kill(writers()[0].pid, signal.SIGKILL)))
    with caplog.at_level(logging.WARNING):
        found = predicted(tiny, model, tmp_path / "killed" / "p.zarr", **BLENDED, writers=2)
    assert shards(found) == shards(alone)
    assert "a process that writes was ended" in caplog.text


def test_all_end_with_the_one_that_computes(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9, and started again it goes on where it was: also with other writers."""
    alone = predicted(tiny, model, tmp_path / "alone" / "p.zarr", **BLENDED)
    told, out = tmp_path / "writers", tmp_path / "again" / "p.zarr"

    def end() -> None:
        told.write_text(" ".join(str(each.pid) for each in writers()))
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Downscaler, "submit", at_item(20, end))
        assert exit_code(forked(lambda: predicted(tiny, model, out, **BLENDED, writers=2))) == -signal.SIGKILL
    pids = [int(pid) for pid in told.read_text().split()]
    assert len(pids) == 2
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < until, "a writer lives on"
        time.sleep(0.1)
    before = computed(out)
    assert 0 < len(before) < 36
    predicted(tiny, model, out, **BLENDED, writers=3)
    assert shards(out) == shards(alone)
    assert len(computed(out)) < 36 + len(before), "what was kept is not computed again"


def test_a_signal_to_all_stops_the_one_that_computes_alone(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a terminal's Ctrl-C and a scheduler's warning reach every process of a job: what was computed is written, and the rest goes on."""
    alone = predicted(tiny, model, tmp_path / "alone" / "p.zarr", **BLENDED)
    out = tmp_path / "stopped" / "p.zarr"

    def all_told() -> None:
        for each in (*writers(), psutil.Process()):
            each.send_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Downscaler, "submit", at_item(17, all_told))
        with pytest.raises(Interrupted, match="SIGTERM with 18 of 36 items left"):
            predicted(tiny, model, out, **BLENDED, writers=2)
    assert not writers() and len(computed(out)) == 18
    predicted(tiny, model, out, **BLENDED, writers=2)
    assert shards(out) == shards(alone) and len(computed(out)) == 36


def test_what_goes_wrong_there_is_said_here(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbit2.downscale.store.sync", full)
    for cut in ("blended", "halos thrown away"):
        with pytest.raises(OrbitError, match=r"could not be written.*No space left.*finished items are kept"):
            predicted(tiny, model, tmp_path / cut / "p.zarr", **CUTS[cut], writers=2)
        assert not writers()


def pipeline() -> str:
    """Of a writer's process: what compresses and writes its shards."""
    return str(zarr.config.get("codec_pipeline.path"))


@pytest.mark.parametrize("used", [False, True])
def test_shards_are_made_without_python_where_that_cannot_hang(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    """`zarrs` has threads of its own, which a fork of a process that uses it lacks. The bits are the others' (above)."""
    if find_spec("zarrs") is None:
        pytest.skip("zarrs is not installed")
    found, plain = list[str](), Writers.mix

    def mix(self: Writers, index: int) -> None:
        assert self._pool is not None
        found.append(self._pool.submit(pipeline).result())
        plain(self, index)

    monkeypatch.setattr(Writers, "mix", mix)
    with zarr.config.set({"codec_pipeline.path": QUICK if used else OWN}):
        predicted(tiny, model, tmp_path / "p.zarr", **BLENDED, writers=2)
    assert set(found) == {OWN if used else QUICK} and pipeline() == OWN, "this process is as it was"


@pytest.mark.parametrize("fault", ["zarrs", "process"])
def test_what_cannot_begin_is_done_without(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, fault: str,
) -> None:  # fmt: skip
    def broken(*_: Any) -> None:
        if fault == "process":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ImportError("libfast.so.3: version FAST_3 not found")

    monkeypatch.setattr(writers_module, "get_pipeline_class" if fault == "zarrs" else "_use_zarrs", broken)
    alone = predicted(tiny, model, tmp_path / "alone" / "p.zarr", **BLENDED)
    with caplog.at_level(logging.WARNING):
        several = predicted(tiny, model, tmp_path / "several" / "p.zarr", **BLENDED, writers=2)
    assert shards(several) == shards(alone)
    if fault == "process":
        assert "processes that write cannot begin" in caplog.text


def test_a_system_that_refuses_to_write_is_told_by_its_own_word(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota that the writers' processes have alone, real: shards of at most 1000 bytes."""
    plain = writers_module._use_zarrs

    def limited() -> None:
        plain()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    monkeypatch.setattr(writers_module, "_use_zarrs", limited)
    for cut in ("blended", "halos thrown away"):
        with pytest.raises(OrbitError, match=r"could not be written \(File too large\).*finished items are kept"):
            predicted(tiny, model, tmp_path / cut / "p.zarr", **CUTS[cut], writers=2)
    assert _of_system(RuntimeError("codec failed")) is None and _of_system(OSError(28, "full")).errno == 28  # type: ignore[union-attr]


def test_how_many_write(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a GPU, as cores and memory allow; a processor needs its cores to compute."""
    layout = layout_of(load_model(model), global_grid(4.0), np.array(["2026-01-01"], "datetime64[s]"), Settings(tile=10, halo=2), ())
    monkeypatch.setattr(allowance, "memory_left", lambda: 2**34)
    for threads, most in ((1, 0), (2, 0), (3, 0), (4, 2), (8, 6), (64, MOST)):
        monkeypatch.setattr(allowance, "threads", lambda count=threads: count)
        assert fitting(0, True, layout) == most and fitting(0, False, layout) == 0
        assert fitting(5, True, layout) == fitting(5, False, layout) == 5
    assert depth(0, layout) == 1 and depth(2, layout) == DEEPEST
    window = 4 * 2 * (4 * 14) ** 2
    monkeypatch.setattr(allowance, "memory_left", lambda: 8 * 4 * window * 7)
    assert fitting(0, True, layout) == MOST
    assert depth(2, layout) == 7 and depth(9, layout) == 9
    monkeypatch.setattr(allowance, "memory_left", lambda: 2**10)
    assert fitting(0, True, layout) == 0 and depth(3, layout) == 3


def test_deep_queues_keep_the_order_and_nothing_is_lost() -> None:
    seen: dict[str, list[int]] = {"read": [], "write": []}

    class Numbered:
        def __init__(self, index: int) -> None:
            self.index, self.count = index, 1

    def read(item: Any) -> int:
        seen["read"].append(item.index)
        return int(item.index)

    def write(item: Any, made: int) -> None:
        time.sleep(0.002 * (item.index % 3))
        seen["write"].append(made)

    spent = work([Numbered(k) for k in range(40)], read, lambda item, value: value, write, label="deep", fields_of=lambda item: 1.0,
                 stop=False, writers=3, depth=8)  # type: ignore[arg-type, list-item]  # fmt: skip
    assert seen["read"] == list(range(40)) and sorted(seen["write"]) == list(range(40)) and spent.items == 40
    with pytest.raises(ZeroDivisionError):
        work([Numbered(k) for k in range(40)], read, lambda item, value: 1 // (value - 3), write, label="deep",
             fields_of=lambda item: 1.0, stop=False, writers=3, depth=8)  # type: ignore[arg-type, list-item]  # fmt: skip
    assert seen["read"][-1] < 39, "what nobody will compute is not read"
