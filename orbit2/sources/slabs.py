"""Reads big compressed arrays in whole chunks, each once while a consumer goes through time in order. Never holds more than its budget.

A month of global ERA5 comes in chunks of about 124 hours x 121 x 240 cells: whoever reads it hour by hour decompresses everything
124 times. Here a slab (all cells of the hours that share chunks) is decoded once and kept until newer slabs need its place.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Condition
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2 import allowance

FloatArray = npt.NDArray[np.float32]
Slab = Sequence[FloatArray]  # one array [time, H, W] per field
BLOCK_BYTES = 16 * 2**20  # of one dask task's result
LEAST_BUDGET, MOST_BUDGET = BLOCK_BYTES, 16 * 2**30
_log = logging.getLogger(__name__)


def budget() -> int:
    """Bytes of decoded slabs to keep: a third of the memory that this process may still take, within bounds."""
    return int(min(MOST_BUDGET, max(LEAST_BUDGET, allowance.memory_left() // 3)))


class Cache:
    """Decoded slabs within `limit` bytes (one slab in any case), the least recently used dropped first.

    Threads that want the same slab wait for one reading of it; those that want another one wait until there is room.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self._size, self._warned = budget() if limit is None else limit, 0, False
        self._slabs: OrderedDict[Hashable, tuple[int, Future[Slab]]] = OrderedDict()
        self._read: set[Hashable] = set()
        self._changed = Condition()
        self.largest = self.work = 0  # bytes of the largest slab, and of what is in memory besides while one is decoded

    def expect(self, slab: int, band: int) -> None:
        """Slabs of this size, decoded band by band, will be asked for."""
        self.largest, self.work = max(self.largest, slab), max(self.work, 3 * band + 2 * BLOCK_BYTES)

    def get(self, key: Hashable, size: int, load: Callable[[], Slab]) -> Slab:
        """The slab of that key, of `size` bytes, which `load` decodes."""
        with self._changed:
            while not (mine := key not in self._slabs) or not self._make_room(size):
                if not mine:
                    self._slabs.move_to_end(key)
                    break
                self._changed.wait()
            if mine:
                self._slabs[key] = size, Future()
                self._size += size
            future = self._slabs[key][1]
        if mine:
            self._fill(key, future, load)
        return future.result()

    def _fill(self, key: Hashable, future: Future[Slab], load: Callable[[], Slab]) -> None:
        try:
            value = load()
        except BaseException as error:
            with self._changed:
                self._size -= self._slabs.pop(key)[0]
                self._changed.notify_all()
            future.set_exception(error)
            raise
        future.set_result(value)
        with self._changed:
            self._changed.notify_all()
            again = key in self._read
            self._read.add(key)
            warn, self._warned = again and not self._warned, self._warned or again
        if warn:
            _log.warning("provider files are read more than once: their chunks span many hours and %.1f GB do not hold them; "
                         "give this job more memory or fewer variables", self.limit / 1e9)

    def _make_room(self, size: int) -> bool:
        """Drop slabs until `size` more bytes fit; False while others are being read that leave no room."""
        for key, (held, future) in list(self._slabs.items()):
            if self._size + size <= self.limit:
                return True
            if future.done():
                self._size -= held
                del self._slabs[key]
        return self._size + size <= self.limit or not self._slabs


class Slabs:
    """An array [time, H, W] float32 that `dask.array.from_array` can slice.

    `load(a, b)` decodes the file's steps a to b of the fields that share chunks, [b - a, H, W] each; `which` is this
    array's field, one of `count`. `edges`: steps of the file at which slabs begin, and the end of the last one.
    """

    def __init__(
        self, load: Callable[[int, int], Slab], which: int, count: int, key: Hashable, edges: list[int], cells: tuple[int, int],
        cache: Cache,
    ) -> None:  # fmt: skip
        self.load, self.which, self.key, self.edges, self.cache = load, which, key, edges, cache
        self.step_bytes = count * cells[0] * cells[1] * 4
        self.shape = (edges[-1] - edges[0], *cells)
        self.dtype, self.ndim = np.dtype(np.float32), 3

    def __getitem__(self, index: tuple[Any, ...]) -> FloatArray:
        first, last, step = index[0].indices(self.shape[0])
        first, last = first + self.edges[0], last + self.edges[0]
        parts = []
        for begin, end in zip(self.edges[:-1], self.edges[1:], strict=True):
            a, b = max(first, begin), min(last, end)
            if a < b:
                slab = self.cache.get((self.key, begin, end), (end - begin) * self.step_bytes, partial(self.load, begin, end))
                parts.append(slab[self.which][a - begin : b - begin])
        whole = np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), dtype=np.float32)  # a copy: slabs can be dropped
        part: FloatArray = whole[(slice(None, None, step), *index[1:])]
        return part

    def lazy(self) -> Any:
        """The dask array, in blocks of at most about 16 MiB that do not cross slabs."""
        from orbit2.lazy import da

        hours = max(1, BLOCK_BYTES // max(1, self.shape[1] * self.shape[2] * 4))
        blocks: list[int] = []
        for begin, end in zip(self.edges[:-1], self.edges[1:], strict=True):
            whole, rest = divmod(end - begin, hours)
            blocks += [hours] * whole + ([rest] if rest else [])
        return da.from_array(  # type: ignore[no-untyped-call]
            self, chunks=(tuple(blocks), self.shape[1], self.shape[2]), name=False, asarray=False, fancy=False, lock=False)


def edges(first: int, last: int, chunk: int, cells: int) -> list[int]:
    """Slab borders between steps `first` and `last` (exclusive): multiples of `chunk`, several small chunks to a slab."""
    length = chunk * max(1, BLOCK_BYTES // max(1, chunk * cells * 4))
    inner = range((first // length + 1) * length, last, length)
    return [first, *inner, last]
