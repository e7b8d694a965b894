"""Blended tiles as work items: what was predicted of a window waits on disk until all windows of a core are there, then the core is
mixed and written as its item. Never computes a window, never lets two processes write a shard."""

from __future__ import annotations

import math
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbit2 import owner
from orbit2.downscale.claim import MIXING, owner_file
from orbit2.downscale.items import Item, share
from orbit2.downscale.journal import sync
from orbit2.downscale.store import PredictionStore, unwritten
from orbit2.model.blend import blend, neighbours, parts

FloatArray = npt.NDArray[np.float32]
TILES, ITEMS = 256, 4096  # whose weights, and whose sources, are kept


class Blender:
    """The windows of a store's items, and the items that are made of them.

    `grain`: see orbit2.model.blend.parts. Several processes may use one folder at once, each with items of its own.
    """

    def __init__(self, store: PredictionStore, grain: int) -> None:
        self.store, self.items, self.tiling, self.grain = store, store.layout.items, store.layout.tiling, grain
        self.folder = store.journal.folder / "windows"
        self._done: set[int] = store.done()
        self._taken, self._kept, self._lock = set[int](), set[int](), threading.Lock()
        self._extent = cache(lambda tile: tuple(store.layout.factor * (part.stop - part.start) for part in self.tiling.kept(tile)))
        self._sources = lru_cache(maxsize=ITEMS)(self._of)
        self._beside = cache(lambda tile: neighbours(self.tiling, tile))
        self._parts = lru_cache(maxsize=TILES)(lambda tile: parts(self.tiling, tile, store.layout.factor, grain))

    def sources(self, index: int) -> list[int]:
        """Items whose windows enter item `index`, and which its own window enters: itself first."""
        return self._sources(index)

    def _of(self, index: int) -> list[int]:
        item = self.items[index]
        return [index, *(self.items.of_tile(item, tile) for tile in self._beside(item.tile))]

    def unfinished(self, among: Iterable[int]) -> list[int]:
        return [index for index in among if index not in self._done]

    def wanted(self, among: Sequence[int]) -> list[int]:
        """Which of `among` have windows that are still to be computed: an unfinished item needs them and they are not here."""
        return [index for index in among if any(i not in self._done for i in self.sources(index)) and not self._here(index)]

    def keep(self, item: Item, fields: FloatArray, seconds: float) -> None:
        """Put an item's window [T, Layout.channels, h, w] on disk. Raises OrbitError when the disk is full or fails."""
        file = self._file(item.index)
        temporary = file.with_name(f"{file.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as handle:
                handle.write(np.ascontiguousarray(fields).data.cast("B"))  # numpy's own writers hide why they failed
            sync(temporary)
            temporary.rename(file)
            self._kept.add(item.index)
            self.store.journal.append_window(item.index, seconds)
        except OSError as error:
            raise unwritten(self.store.path, error) from None
        finally:
            temporary.unlink(missing_ok=True)

    def assemble(self, among: Iterable[int], mix: Callable[[int], None] | None = None) -> None:
        """Write those unfinished items of `among` whose windows are all here (`mix`: how), and drop windows that nobody needs any more.
        Threads may do so side by side: each item is one's."""
        for index in among:
            with self._lock:
                if index in self._done or index in self._taken or not all(self._here(i) for i in self.sources(index)):
                    continue
                self._taken.add(index)
            (mix or self.mix)(index)  # what fails ends the work: it stays taken
            with self._lock:
                self._done.add(index)
                for i in self.sources(index):
                    if all(user in self._done for user in self.sources(i)):
                        self._kept.discard(i)
                        self._file(i).unlink(missing_ok=True)

    def mix(self, index: int) -> None:
        """Write an item, whose windows are all here."""
        item, layout = self.items[index], self.store.layout
        opened = {self.items[i].tile: _mapped(self._file(i), self._shape(i)) for i in self.sources(index)}
        core = blend(self.tiling, item.tile, layout.factor, self.grain, opened.__getitem__, self._parts(item.tile))
        if layout.derived:
            members = core.reshape(len(core), layout.derived.members, -1, *core.shape[2:])
            core = layout.derived.of(np.moveaxis(members, 1, 0))
        self.store.write(item, core)

    def refresh(self) -> None:
        """Look again which items are finished: other processes write too."""
        self._done = self.store.done()

    def inner(self, block: Collection[int]) -> list[int]:
        """Items of a block that need no window of another one: the block assembles these itself."""
        return [index for index in block if all(i in block for i in self.sources(index))]

    def crossing(self, blocks: int) -> list[int]:
        """Items that need windows of two blocks or more: whoever finishes last assembles them, `alone`."""
        shares = [share(len(self.items), block, blocks) for block in range(blocks)]
        return [index for block in shares for index in sorted(set(block).difference(self.inner(block)))]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time: who comes while another one is at it waits."""
        with owner.hold(owner_file(self.store.path, MIXING), "mixes what crosses the blocks", patience=math.inf):
            yield

    def clear(self) -> None:
        """Forget all windows: the store is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, index: int) -> Path:
        return self.folder / f"{index}.f32"

    def _shape(self, index: int) -> tuple[int, int, int, int]:
        item = self.items[index]
        return item.count, self.store.layout.channels, *self._extent(item.tile)

    def _here(self, index: int) -> bool:
        """Whether a window is on disk, whole: kept by this process, or by another one."""
        if index in self._kept:
            return True
        try:
            return self._file(index).stat().st_size == 4 * prod(self._shape(index))
        except FileNotFoundError:
            return False


def _mapped(file: Path, shape: tuple[int, ...]) -> FloatArray:
    """A window on disk, not to be changed; numpy's memmap takes four times as long to begin."""
    with open(file, "rb") as handle:
        return np.frombuffer(mmap(handle.fileno(), 4 * prod(shape), access=ACCESS_READ), np.float32).reshape(shape)
