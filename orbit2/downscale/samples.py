"""What an item reads: the inputs of its times on its window, and the fine statics under it. What is small is kept whole; memory for
the rest goes with the window, never with the domain. Used by one reader thread, which another one may read ahead for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from orbit2 import allowance
from orbit2.data.pairs import PairStore, Side
from orbit2.door.ingest import Inputs
from orbit2.grid import AnyGrid, Grid
from orbit2.model.tiles import Window
from orbit2.sources.static import open_static, open_window

FloatArray = npt.NDArray[np.float32]
KEPT_BYTES = 256 * 2**20  # of whole inputs (or a band of them), and of whole statics
WIDE = 2  # windows: chunks of this width are worth a band


class Samples(Protocol):
    """Inputs on windows. `names` are the V variables in the order that `read` gives them."""

    names: tuple[str, ...]

    def read(self, start: int, count: int, window: Window, out: FloatArray | None = None) -> FloatArray:
        """Times `start : start + count` on the window, [T, V, h, w], canonical units, NaN where missing; into `out` where it is given."""
        ...

    def prefetching(self, times: Sequence[int]) -> AbstractContextManager[None]:
        """Within it these times are read in this order, each for all that is wanted of it: the next ones may be read beside."""
        ...

    def took(self) -> Mapping[str, float]:
        """Seconds of reading and decoding, as far as they are known apart."""
        ...


def kept_bytes(time_block: int) -> int:
    """What may be kept of inputs where every item has `time_block` times: KEPT_BYTES for each, as far as that is no more than an eighth of
    the memory that is left. A block that does not fit is read again for every tile."""
    return max(KEPT_BYTES, min(KEPT_BYTES * time_block, allowance.memory_left() // 8))


class Kept:
    """Whole samples, the last few that fit into `most` bytes; `together` are asked for at once."""

    def __init__(self, read: Callable[[int], FloatArray], most: int = KEPT_BYTES, together: int = 1) -> None:
        self._read, self._kept, self._most, self._together = read, OrderedDict[int, FloatArray](), most, together
        self._order, self._place = list[int](), dict[int, int]()
        self._beside: ThreadPoolExecutor | None = None
        self._coming = dict[int, Future[FloatArray]]()

    @contextmanager
    def prefetching(self, order: Sequence[int]) -> Iterator[None]:
        """Within it samples are asked for in this order: the next `together` are read beside, by one thread, where that many more fit."""
        self._order, self._place = list(order), {index: place for place, index in enumerate(order)}
        with ThreadPoolExecutor(1, "ahead") as self._beside:
            try:
                yield
            finally:
                for future in self._coming.values():
                    future.cancel()
                self._coming.clear()
                self._beside = None

    def __call__(self, index: int) -> FloatArray:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        if self._beside is None:
            found = self._read(index)
        else:
            asked = self._coming.pop(index, None) or self._beside.submit(self._read, index)
            found = asked.result()
        room = self._most // found.nbytes if found.nbytes else 1
        self._ahead(index, room)
        while self._kept and len(self._kept) + len(self._coming) + 1 > room:
            self._kept.popitem(last=False)
        if room:
            self._kept[index] = found
        return found

    def _ahead(self, index: int, room: int) -> None:
        """Ask for what follows `index`, unless it would drive out what is of use."""
        place = self._place.get(index)
        if self._beside is None or place is None or 2 * self._together > room:
            return
        for later in self._order[place + 1 : place + 1 + self._together]:
            if later not in self._kept and later not in self._coming:
                self._coming[later] = self._beside.submit(self._read, later)

    def cut(self, start: int, count: int, window: Window, out: FloatArray | None = None) -> FloatArray:
        """`count` samples on a window, [T, ..., h, w]; into `out` where it is given."""
        if out is None:
            first = self(start)
            out = np.empty((count, *first.shape[:-2], len(window.rows), len(window.columns)), dtype=first.dtype)
        for i, cells in enumerate(out):
            window.copy(self(start + i), cells)
        return out


class StoreSamples:
    """Samples of a pair store, where one chunk is a whole sample."""

    def __init__(self, pairs: PairStore, side: Side, indices: Sequence[int], names: Sequence[str], time_block: int = 1) -> None:
        self.names, self._pairs = tuple(names), pairs
        positions = [pairs.variables(side).index(name) for name in names]
        self._whole = Kept(lambda i: np.ascontiguousarray(pairs.read(side, int(indices[i]))[positions]), kept_bytes(time_block),
                           time_block)  # fmt: skip

    def prefetching(self, times: Sequence[int]) -> AbstractContextManager[None]:
        return self._whole.prefetching(times)

    def read(self, start: int, count: int, window: Window, out: FloatArray | None = None) -> FloatArray:
        return self._whole.cut(start, count, window, out)

    def took(self) -> Mapping[str, float]:
        return self._pairs.took()


class FileSamples:
    """Samples of a user's file: windows of it; or, kept while they are of use, whole fields where a time block of them is small, or
    bands of rows where the file's chunks are so wide that tiles side by side would decompress the same ones."""

    def __init__(self, inputs: Inputs, time_block: int) -> None:
        self.names, self._inputs = inputs.names, inputs
        height, width = inputs.grid.shape
        self._most = kept_bytes(time_block)
        small = 4 * len(self.names) * height * width * time_block <= self._most
        self._whole = Kept(inputs.frame, self._most, time_block) if small else None
        self._band: tuple[tuple[int, int, int], FloatArray] | None = None

    def read(self, start: int, count: int, window: Window, out: FloatArray | None = None) -> FloatArray:
        if self._whole is not None:
            return self._whole.cut(start, count, window, out)
        width = self._inputs.grid.shape[1]
        if WIDE * len(window.columns) <= self._inputs.chunk_width and 4 * count * len(self.names) * len(window.rows) * width <= self._most:
            found = self._of_band(start, count, window, np.arange(width))
        else:
            found = np.stack([self._inputs.cells(i, window.rows, window.columns) for i in range(start, start + count)])
        if out is None:
            return found
        out[...] = found
        return out

    def prefetching(self, times: Sequence[int]) -> AbstractContextManager[None]:
        return nullcontext() if self._whole is None else self._whole.prefetching(times)

    def took(self) -> Mapping[str, float]:
        return {}

    def _of_band(self, start: int, count: int, window: Window, everywhere: npt.NDArray[np.int64]) -> FloatArray:
        key = start, count, int(window.rows[0])
        if self._band is None or self._band[0] != key:
            self._band = None  # the old one may go first
            self._band = key, np.stack([self._inputs.cells(i, window.rows, everywhere) for i in range(start, start + count)])
        return self._band[1][..., window.columns]


class Statics:
    """Fine statics [S, sh, sw] under a window: cut from `whole` where that is given, else made by `near(rows, columns)`."""

    def __init__(self, factor: int, whole: FloatArray | None, near: Callable[[slice, slice], FloatArray] | None = None) -> None:
        self._factor, self._whole, self._near = factor, whole, near
        self._last: tuple[tuple[int, int], FloatArray] | None = None

    def under(self, window: Window) -> FloatArray:
        if self._whole is not None:
            return window.take(self._whole, self._factor)
        key = int(window.rows[0]), int(window.columns[0])
        if self._last is None or self._last[0] != key:  # members and short runs of one tile ask for the same
            rows, columns = (slice(first * self._factor, (first + len(index)) * self._factor)
                             for first, index in zip(key, (window.rows, window.columns), strict=True))  # fmt: skip
            assert self._near is not None
            self._last = key, self._near(rows, columns)
        return self._last[1]


def statics_of_grid(coarse: AnyGrid, factor: int, names: Sequence[str], path: Path | None = None) -> Statics:
    """Statics remapped to the refinement of `coarse`: at once where that is small, else window by window."""
    fine = coarse.refine(factor)
    if not isinstance(fine, Grid) or 4 * len(names) * fine.shape[0] * fine.shape[1] <= KEPT_BYTES:
        return Statics(factor, open_static(fine, names, path))
    return Statics(factor, None, lambda rows, columns: open_window(fine, rows, columns, names, path))
