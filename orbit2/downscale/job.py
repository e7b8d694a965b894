"""One task's items, computed: which are left, by whom, and what is said when they are done. Never decides what an item holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.downscale import timing
from orbit2.downscale.blending import Blender
from orbit2.downscale.cf import Originals
from orbit2.downscale.items import Item, Items, contiguous, deal, share
from orbit2.downscale.predictor import Downscaler, Draw, TileSize, random_layers
from orbit2.downscale.samples import Samples, Statics
from orbit2.downscale.store import Layout, PredictionStore
from orbit2.downscale.work import Spent, work
from orbit2.errors import Interrupted, OrbitError, Reached
from orbit2.files import write_json
from orbit2.grid import AnyGrid
from orbit2.parallel import launch
from orbit2.parallel.reduce import any_rank, barrier
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest
from orbit2.times import Times
from orbit2.timing import Rate

FloatArray = npt.NDArray[np.float32]
LAST_ITEM = 60.0  # seconds kept free before the job's end: what is finished is kept already
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a task is cut and computed: see DownscaleConfig. All of it decides the result, `batch` its rounding, `time_block` its files.

    `trim`: coarse cells left out of the output at each open side of a box.
    """

    tile: TileSize = 0
    halo: int = 8
    blend: int | None = None
    time_block: int = 1
    batch: int = 1
    members: int = 0
    seed: int = 0
    trim: int = 0


@dataclass(frozen=True)
class Job:
    """What is computed, from what, and where it goes."""

    label: str
    path: Path
    downscaler: Downscaler
    settings: Settings
    grid: AnyGrid
    samples: Samples
    statics: Statics
    layout: Layout
    about: Mapping[str, Any]
    original: Originals = field(default_factory=dict)  # what a user's file says of its variables
    methods: Mapping[str, str] = field(default_factory=dict)  # CF cell methods of the outputs
    rate: Rate | None = None  # data sheets, for the record of where the time went

    def read(self, item: Item) -> tuple[FloatArray, FloatArray]:
        """(inputs [T, V, h, w], fine statics [S, sh, sw]) of an item's window."""
        window = self.layout.tiling[item.tile]
        return self.samples.read(item.start, item.count, window), self.statics.under(window)

    def compute(self, item: Item, fields: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, float]:
        """(what is kept of the item's window [T, C, sh', sw'], seconds). Batches are formed inside an item, so no other item changes its
        bits."""
        began = time.perf_counter()
        draw = Draw(self.settings.seed, item.member) if self.settings.members else None
        times = self.layout.times[item.start : item.start + item.count]
        window = self.layout.tiling[item.tile]
        part = self.layout.tiling.kept(item.tile)
        made = self.downscaler.predict_window(
            fields[0], self.samples.names, fields[1], self.grid, window, part, times, self.settings.batch, draw
        )
        return made, time.perf_counter() - began

    def fields_of(self, item: Item) -> float:
        """An item's part of one time's whole field."""
        rows, columns = self.layout.tiling[item.tile].owned(self.layout.factor)
        height, width = self.layout.grid.shape
        return float(item.count * (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width))


def layout_of(downscaler: Downscaler, grid: AnyGrid, times: Times, settings: Settings, identity: tuple[Any, ...]) -> Layout:
    """The files of a task. `identity`: whatever else decides its values. Raises OrbitError for members of a model without dropout."""
    if settings.members and not random_layers(downscaler.model):
        raise OrbitError("members are drawn by dropout, which this model has not", where="downscale.members", got=settings.members,
                         allowed="0, or a model with dropout or drop_path")  # fmt: skip
    tiling = downscaler.tiling(grid, settings.tile, settings.halo, settings.blend, settings.trim)
    weights, (site, _) = downscaler.about["sha256"]["weights.safetensors"], downscaler.site(grid)
    return Layout(
        names=downscaler.outputs,
        grid=downscaler.fine_grid(grid, settings.trim),
        times=times,
        items=Items(len(times), settings.time_block, len(tiling), settings.members),
        tiling=tiling,
        factor=downscaler.refinement,
        identity=(downscaler.about.get("hash"), weights, settings.seed if settings.members else None,
                  *((str(downscaler.dtype),) if downscaler.dtype else ()), *((site.identity,) if site else ()), *identity),
    )


def blender_of(job: Job, store: PredictionStore) -> Blender | None:
    """What makes items of windows; None where a window's core is the item."""
    return Blender(store, job.downscaler.grain) if job.layout.tiling.blend else None


def compute_block(job: Job, ranks: launch.Ranks, block: int = 0, blocks: int = 1, wall_minutes: float = 0.0) -> Spent:
    """Compute what is left of one block of the items; in a job of several ranks each takes a fixed share.

    Of blended tiles it finishes those that need no window of another block; `finish` does the rest. Raises Interrupted when a signal or
    the deadline stopped it after the item in hand.
    """
    store, items, meter = PredictionStore(job.path, job.layout), job.layout.items, timing.meter_of(ranks)
    mine = share(len(items), block, blocks)
    blender = blender_of(job, store)

    def left_of() -> list[int]:
        done = store.done()
        return [i for i in mine if i not in done] if blender is None else blender.wanted(mine)

    left = left_of()
    if ranks.first and store.finalised and len(store.done()) < len(items):
        store.reopen()
    barrier()  # all have looked before anyone writes: the shares fit together
    todo = deal(left, ranks.rank, ranks.world) if blender is None else contiguous(left, ranks.rank, ranks.world)
    inner = set() if blender is None else set(blender.inner(mine)) & set(todo)

    def write(item: Item, made: tuple[FloatArray, float]) -> None:
        stop.took("item", made[1])
        if blender is None:
            store.write(item, *made)
        else:
            blender.keep(item, *made)
            blender.assemble(i for i in blender.sources(item.index) if i in inner)

    label = job.label if blocks == 1 else f"{job.label} block {block}/{blocks}"
    with StopRequest(wall_minutes) as stop:
        launch.heed_job(stop, ranks, LAST_ITEM)
        if ranks.first and stop.deadline:
            log.info("%s: %s", label, stop.deadline)
        job.downscaler.clock.heard = tick
        spent = work([items[i] for i in todo], job.read, job.compute, write, label=label, fields_of=job.fields_of, stop=stop,
                     clock=job.downscaler.clock)  # fmt: skip
    job.downscaler.clock.heard = lambda part: None
    tick("")  # ranks that are done wait for the others
    status = store.journal.folder / ("status.json" if blocks == 1 else f"status-{block}.json")
    if any_rank(spent.items < len(todo)):  # waits for all
        store.journal.close()
        timing.keep(job, ranks, store.journal.folder, spent, meter)
        before, left, reason, asked = len(mine) - len(left), left_of(), stop.reason or "another rank stopped", any_rank(stop.asked)
        if ranks.first:
            write_json(status, {"state": "resumable", "left": len(left), "of": len(mine), "reason": reason})
        raise Interrupted(f"{reason} with {len(left)} of {len(mine)} items left; start it again to go on",
                          reached=Reached(before, len(mine) - len(left), len(mine), "items"), asked=asked)  # fmt: skip
    if blender is not None:
        blender.refresh()
        blender.assemble(contiguous(blender.unfinished(blender.inner(mine)), ranks.rank, ranks.world))
        barrier()
    store.journal.close()
    if spent.items:
        timing.keep(job, ranks, store.journal.folder, spent, meter)
    barrier()  # all have told
    if ranks.first:
        status.unlink(missing_ok=True)
    return spent


def finish(job: Job, extra: Mapping[str, Any], blocks: int = 1) -> PredictionStore | None:
    """Declare the store complete, after assembling what crosses the borders of `blocks`; None while others are still at work.

    `blocks` 1: nobody is, and it raises OrbitError when items are missing.
    """
    store = PredictionStore(job.path, job.layout)
    blender, everything = blender_of(job, store), range(len(job.layout.items))
    if blender is not None and blender.unfinished(everything):
        with blender.alone():
            blender.refresh()
            if not blender.wanted(everything):
                blender.assemble(blender.crossing(blocks) if blocks > 1 else everything)
        store.journal.close()
    if blocks > 1 and len(store.done()) < len(job.layout.items):
        return None
    store.finalise(extra)
    if blender is not None:
        blender.clear()
    return store
