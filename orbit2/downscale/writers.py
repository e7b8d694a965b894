"""Processes that mix windows and write items while a device computes the next ones: a GPU makes fields faster than one process can compress
them. Never computes a window."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from importlib.util import find_spec
from math import prod
from mmap import mmap
from multiprocessing import get_all_start_methods, get_context
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.registry import get_pipeline_class

from orbit2 import allowance
from orbit2.downscale.blending import Blender
from orbit2.downscale.items import Item
from orbit2.downscale.store import Layout, PredictionStore
from orbit2.signals import heed_parent, held_back

FloatArray = npt.NDArray[np.float32]
MOST = 8
OWN, QUICK = "zarr.core.codec_pipeline.BatchedCodecPipeline", "zarrs.ZarrsCodecPipeline"  # zarr's default is the first
BUSY = 2  # cores that computing and reading take
DEEPEST = 32  # items
HELD = 4  # arrays of an item that a writer holds: what it was given, the same where all see it, rounded, compressed
LOOK = 1.0  # seconds between two looks whether whoever started a writer still lives
log = logging.getLogger(__name__)
_own: Blender | PredictionStore | None = None  # of a writer's process
_shared: mmap | None = None  # memory that the one that computes writes into


def fitting(asked: int, gpu: bool, layout: Layout) -> int:
    """How many processes write: as `asked`; of 0 as many as cores and memory are left beside a GPU, none on a processor, which needs its
    cores to compute."""
    if "fork" not in get_all_start_methods():
        return 0
    if asked or not gpu:
        return asked
    found = min(allowance.threads() - BUSY, MOST, allowance.memory_left() // (2 * HELD * _item(layout)))
    return found if found > 1 else 0


def depth(hands: int, layout: Layout) -> int:
    """How many items may be read ahead, and wait for `hands` writers: where other processes write, what an eighth of the memory holds."""
    return min(DEEPEST, max(hands, allowance.memory_left() // (8 * HELD * _item(layout)))) if hands else 1


def _item(layout: Layout) -> int:
    """Bytes of one item's window."""
    rows, columns = layout.tiling.padded
    return 4 * layout.items.time_block * max(layout.channels, 1) * rows * columns * layout.factor**2


class Writers:
    """`hands` processes that write items of `store` (0: this one does). `blender`: what makes items of windows.

    Use as a context manager, before other threads are at work. Should one of them be killed, this process does what is left.
    """

    def __init__(self, hands: int, store: PredictionStore, blender: Blender | None) -> None:
        self.store, self.blender, self.hands = store, blender, hands
        self._pool: ProcessPoolExecutor | None = None
        self._places = SimpleQueue[int]()  # in the memory that all share, one for each that writes
        self._size = 0 if blender else _item(store.layout)

    def __enter__(self) -> Writers:
        if self.hands:
            self._shared = mmap(-1, max(1, self.hands * self._size))  # anonymous, and a fork's too: a pipe takes five times as long
            for number in range(self.hands):
                self._places.put(number * self._size)
            about = self.store.path, self.store.layout, None if self.blender is None else self.blender.grain, self._shared
            gc.collect()
            gc.freeze()  # a fork never takes apart what it was born with: some of it is a GPU's, which only this process may speak to
            try:
                with held_back():  # stopping is this process's affair
                    self._pool = ProcessPoolExecutor(self.hands, get_context("fork"), _begun, (os.getpid(), *about))
                    self._pool.submit(int).result()  # starts all of them
            except BrokenExecutor:
                log.warning("processes that write cannot begin (for want of memory?): this one writes")
                self._pool = None
            finally:
                gc.unfreeze()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def write(self, item: Item, fields: FloatArray, seconds: float) -> None:
        """An item's fields, as PredictionStore.write has it; returns when they are on disk."""
        self._done(lambda pool: self._handed(pool, item, fields, seconds), lambda: self.store.write(item, fields, seconds))

    def _handed(self, pool: ProcessPoolExecutor, item: Item, fields: FloatArray, seconds: float) -> None:
        if fields.nbytes > self._size:
            pool.submit(_written, item, fields, seconds).result()
            return
        place = self._places.get()
        try:
            _fields(self._shared, place, fields.shape)[...] = fields
            pool.submit(_written_there, item, place, fields.shape, seconds).result()
        finally:
            self._places.put(place)

    def mix(self, index: int) -> None:
        """An item of windows that are all on disk."""
        blender = self.blender
        assert blender is not None
        self._done(lambda pool: pool.submit(_mixed, index).result(), lambda: blender.mix(index))

    def _done(self, there: Callable[[ProcessPoolExecutor], object], here: Callable[[], object]) -> None:
        if self._pool is not None:
            try:
                there(self._pool)
                return
            except BrokenExecutor:
                log.warning("a process that writes was ended (for want of memory?): this one writes from now on")
                self._pool = None
        here()


def _begun(parent: int, path: Any, layout: Layout, grain: int | None, shared: mmap) -> None:
    """In a writer's process."""
    global _own, _shared
    _shared = shared
    heed_parent()
    threading.Thread(target=_lives, args=(parent,), daemon=True).start()
    allowance.allow(threads=1)
    _use_zarrs()
    store = PredictionStore(path, layout)
    _own = store if grain is None else Blender(store, grain)


def _use_zarrs() -> None:
    """Shards are compressed and written by `zarrs` where it is there: the same bytes, in two thirds of the time. A process that was forked
    from one which uses it would wait for ever for threads that only that one has."""
    if str(zarr.config.get("codec_pipeline.path")).startswith("zarrs"):
        zarr.config.set({"codec_pipeline.path": OWN})
    elif find_spec("zarrs") is not None:  # its threads begin with its first use
        os.environ["RAYON_NUM_THREADS"] = "1"
        zarr.config.set({"codec_pipeline.path": QUICK, "threading.max_workers": 1})
        try:
            get_pipeline_class()
        except Exception as error:  # a library's own: another version of it, or of zarr
            log.warning("zarrs cannot be used (%s): zarr's own codecs write", " ".join(str(error).split())[:120])
            zarr.config.set({"codec_pipeline.path": OWN})


def _lives(parent: int) -> None:
    """A parent that is killed says nothing."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def _written(item: Item, fields: FloatArray, seconds: float) -> None:
    assert isinstance(_own, PredictionStore)
    _own.write(item, fields, seconds)


def _written_there(item: Item, place: int, shape: tuple[int, ...], seconds: float) -> None:
    assert _shared is not None
    _written(item, _fields(_shared, place, shape), seconds)


def _fields(memory: mmap, place: int, shape: tuple[int, ...]) -> FloatArray:
    return np.frombuffer(memory, np.float32, prod(shape), place).reshape(shape)


def _mixed(index: int) -> None:
    assert isinstance(_own, Blender)
    _own.mix(index)
