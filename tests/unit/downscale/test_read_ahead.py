"""Whole samples are read beside, before they are asked for: each once, in order, and never more than there is room for."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2 import allowance
from orbit2.data.pairs import PairStore
from orbit2.door.ingest import read_inputs
from orbit2.downscale import run
from orbit2.downscale.samples import FileSamples, FloatArray, Kept, StoreSamples
from orbit2.errors import OrbitError
from orbit2.model.tiles import tiles
from orbit2.variables import variable
from tests.data.small_downscaling import arguments, random_model, shards, task
from tests.data.tiny_training import Tiny

BYTES = 4 * 6


class Source:
    """Samples that hold their own number."""

    def __init__(self) -> None:
        self.read: list[tuple[int, str]] = []
        self.done = {index: threading.Event() for index in range(10)}

    def __call__(self, index: int) -> FloatArray:
        self.read.append((index, threading.current_thread().name.split("_")[0]))
        self.done[index].set()
        if index == 7:
            raise OrbitError("damaged", where="sample 7", hint="copy it again")
        return np.full((1, 2, 3), index, dtype=np.float32)


@pytest.mark.parametrize("together", [1, 2, 3])
def test_what_comes_next_is_read_while_the_last_is_of_use(together: int) -> None:
    source = Source()
    kept = Kept(source, 2 * together * BYTES, together)
    with kept.prefetching(range(7)):
        for start in range(0, 6, together):
            for _ in range(3):  # tiles
                for index in range(start, start + together):
                    assert kept(index).max() == index
                    assert len(kept._kept) + len(kept._coming) <= 2 * together
            for later in range(start + together, min(start + 2 * together, 7)):
                assert source.done[later].wait(10), "nobody asked for it yet, and it is there"
    assert [index for index, _ in source.read] == list(range(7)) and {name for _, name in source.read} == {"ahead"}


def test_nothing_is_read_ahead_where_it_would_drive_out_what_is_of_use() -> None:
    source = Source()
    kept = Kept(source, 3 * BYTES, 2)
    with kept.prefetching(range(6)):
        for start in (0, 2, 4):
            for _ in range(2):
                assert [kept(index).max() for index in (start, start + 1)] == [start, start + 1]
            assert len(source.read) == start + 2 and not kept._coming
    nothing = Kept(source, BYTES - 1)
    with nothing.prefetching([3, 4]):
        assert [nothing(3).max(), nothing(3).max()] == [3, 3] and not nothing._kept


def test_what_fails_is_said_when_it_is_asked_for_and_only_then() -> None:
    kept = Kept(Source(), 4 * BYTES)
    with kept.prefetching([5, 6, 7, 8]):
        assert [kept(5).max(), kept(6).max()] == [5, 6]
        with pytest.raises(OrbitError, match="damaged"):
            kept(7)
    kept = Kept(source := Source(), 4 * BYTES)
    with kept.prefetching([6, 7]):
        kept(6)
        assert source.done[7].wait(10)  # and nobody ever wants it
    assert kept(6).max() == 6 and kept(2).max() == 2, "outside of it as ever"
    assert source.read[-1] == (2, threading.current_thread().name)


@pytest.mark.parametrize("cut", [{"tile": [6, 8], "halo": 2, "time_block": 3}, {"tile": [6, 8], "halo": 2, "blend": 0}])
def test_a_task_reads_each_sample_once_and_of_its_own_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: dict[str, Any]
) -> None:
    seen: list[int] = []
    plain = PairStore.read

    def read(self: PairStore, side: Any, index: int, *more: Any) -> Any:
        seen.append(index)
        return plain(self, side, index, *more)

    monkeypatch.setattr(PairStore, "read", read)
    model = random_model(tmp_path / "model")
    run(**arguments(tiny, model, task(tmp_path / "config", "02", "09", **cut), tmp_path / "p.zarr"))
    first = seen[0]
    assert sorted(set(seen)) == list(range(first, first + 8))
    ahead = seen[-8:]
    assert ahead == list(range(first, first + 8)), "before that, a few to see what they are like"
    assert len(shards(tmp_path / "p.zarr")) > 10


def test_windows_are_read_into_memory_that_is_given(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU's page-locked one: of a store, of a file that is kept, and of one that is read window by window."""
    pairs = PairStore(tiny.store)
    names, grid = pairs.variables("coarse"), pairs.grid("coarse")
    fields = np.stack([pairs.read("coarse", index) for index in range(4)])
    path = tmp_path / "in.nc"
    xr.Dataset({name: (("time", *grid.dims), fields[:, i], {"units": variable(name).units}) for i, name in enumerate(names)},
               {"time": pairs.times[:4], grid.dims[0]: grid.lat, grid.dims[1]: grid.lon}).to_netcdf(path)  # fmt: skip
    window = tiles(grid.shape, True, (6, 8), 2)[3]
    expected = window.take(fields[1:3])
    with xr.open_dataset(path, chunks=None, cache=False) as dataset:
        inputs = read_inputs(dataset, names, path)
        whole = FileSamples(inputs, 2)
        monkeypatch.setattr("orbit2.downscale.samples.KEPT_BYTES", 0)
        monkeypatch.setattr(allowance, "memory_left", lambda: 0)
        for samples in (StoreSamples(pairs, "coarse", range(4), names, 2), whole, FileSamples(inputs, 2)):
            room = np.full(expected.shape, -1, dtype=np.float32)
            assert samples.read(1, 2, window, room) is room
            np.testing.assert_array_equal(room, samples.read(1, 2, window))
            np.testing.assert_allclose(room, expected, rtol=1e-6)
