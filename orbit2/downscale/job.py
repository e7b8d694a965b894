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
import torch
from torch import Tensor

from orbit2.downscale import timing
from orbit2.downscale.blending import Blender
from orbit2.downscale.cf import Originals
from orbit2.downscale.cut import HostInputs, TileSize, Views
from orbit2.downscale.derived import derived_from
from orbit2.downscale.items import Item, Items, contiguous, deal, share
from orbit2.downscale.members import Begun, Ensemble, identity_of
from orbit2.downscale.passes import fitting_threads, short_switch_interval
from orbit2.downscale.pending import Pending
from orbit2.downscale.predictor import Downscaler
from orbit2.downscale.samples import Samples, Statics
from orbit2.downscale.store import Layout, PredictionStore
from orbit2.downscale.stored import Stored
from orbit2.downscale.work import Spent, work
from orbit2.downscale.writers import Writers, depth, fitting
from orbit2.errors import Interrupted, Reached
from orbit2.files import write_json
from orbit2.grid import AnyGrid
from orbit2.model.tiles import Window
from orbit2.parallel import launch
from orbit2.parallel.reduce import any_rank, barrier
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest
from orbit2.times import Times
from orbit2.timing import Rate

FloatArray = npt.NDArray[np.float32]
Place = tuple[tuple[str, ...], FloatArray, AnyGrid, Window, tuple[slice, slice]]  # names, fine statics, grid, window, its part
LAST_ITEM = 60.0  # seconds kept free before the job's end: what is finished is kept already
NOTHING: FloatArray = np.empty(0, dtype=np.float32)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a task is cut and computed: see DownscaleConfig. All of it decides the result, `batch` its rounding (members': nothing),
    `time_block` its files.

    `trim`: coarse cells left out of the output at each open side of a box. `quantiles` and `events` (expressions of `derived`): kept
    instead of the members. `stored`: how values are kept; `writers`: processes that write (see `writers.fitting`), which decide nothing.
    """

    tile: TileSize = 0
    halo: int = 8
    blend: int | None = None
    time_block: int = 1
    batch: int = 1
    members: int = 0
    seed: int = 0
    trim: int = 0
    quantiles: tuple[float, ...] = ()
    events: tuple[str, ...] = ()
    stored: Stored = "exact"
    writers: int = 0


@dataclass
class Last:
    """What the members of one place share, while they follow each other: inputs (the reader's), trunks (the computing thread's)."""

    read: tuple[tuple[int, int], tuple[HostInputs, FloatArray]] | None = None
    begun: tuple[tuple[int, int], Begun] | None = None
    ensemble: Ensemble | None = None

    def ensemble_of(self, job: Job) -> Ensemble:
        self.ensemble = self.ensemble or Ensemble(job.downscaler, job.settings.members, job.settings.seed)
        return self.ensemble


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
    last: Last = field(default_factory=lambda: Last())
    views: Views = field(default_factory=Views)

    def read(self, item: Item) -> tuple[HostInputs, FloatArray]:
        """(inputs, fine statics [S, sh, sw]) of an item's window; members of one window follow each other, and share them. No statics [0]
        where what is made of them is at hand."""
        if self.last.read is None or self.last.read[0] != item.place:
            self.last.read = None  # the old ones may go first
            window = self.layout.tiling[item.tile]
            statics = NOTHING if item.tile in self.views else self.statics.under(window)
            fields = HostInputs.of(self._cells(item, window)), statics
            if not self.layout.items.members:
                return fields
            self.last.read = item.place, fields
        return self.last.read[1]

    def _cells(self, item: Item, window: Window) -> FloatArray | Tensor:
        """Inputs [T, V, h, w]; in page-locked memory where a GPU will fetch them, which then nobody waits for."""
        if self.downscaler.device.type != "cuda":
            return self.samples.read(item.start, item.count, window)
        here = torch.empty(item.count, len(self.samples.names), len(window.rows), len(window.columns), pin_memory=True)
        self.samples.read(item.start, item.count, window, here.numpy())
        return here

    def compute(self, item: Item, fields: tuple[HostInputs, FloatArray]) -> tuple[Pending, float]:
        """(what is kept of the item's window [T, C, sh', sw'], seconds of this thread). Batches are formed inside an item, so no other item
        changes its bits."""
        began = time.perf_counter()
        times = self.layout.times[item.start : item.start + item.count]
        window = self.layout.tiling[item.tile]
        part = self.layout.tiling.kept(item.tile)
        place = self.samples.names, fields[1], self.grid, window, part
        if not self.settings.members:
            view = self.views.of(item.tile, lambda: self.downscaler.view(self.samples.names, fields[1], self.grid, window))
            return self.downscaler.submit(fields[0], view, part, times, self.settings.batch), time.perf_counter() - began
        if self.layout.derived is None:
            ensemble = self.last.ensemble_of(self)
            if self.last.begun is None or self.last.begun[0] != item.place:
                self.last.begun = None
                self.last.begun = item.place, ensemble.begin(fields[0], *place, times, item.member)
            made = ensemble.member(self.last.begun[1], item.member)
        else:
            made = self._derived(fields[0], place, times)
        return Pending([torch.from_numpy(made)]), time.perf_counter() - began

    def _derived(self, fields: HostInputs, place: Place, times: Times) -> FloatArray:
        """Of all members of a window, a time after the other: what is kept of them, or where windows are mixed first, all of them
        [T, M C, sh', sw']. `place`: what else `Ensemble.begin` takes before the times."""
        derived, ensemble, made = self.layout.derived, self.last.ensemble_of(self), []
        assert derived is not None
        for k in range(len(times)):
            begun = ensemble.begin(fields[k : k + 1], *place, times[k : k + 1])
            members = ensemble.every(begun)[:, 0]  # [M, C, sh', sw']
            made.append(members.reshape(-1, *members.shape[2:]) if self.layout.tiling.blend else derived.of(members))
        return np.stack(made) if len(made) > 1 else made[0][None]  # no copy of them

    def fields_of(self, item: Item) -> float:
        """An item's part of one time's whole field."""
        rows, columns = self.layout.tiling[item.tile].owned(self.layout.factor)
        height, width = self.layout.grid.shape
        return float(item.count * (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width))


def layout_of(downscaler: Downscaler, grid: AnyGrid, times: Times, settings: Settings, identity: tuple[Any, ...]) -> Layout:
    """The files of a task. `identity`: whatever else decides its values. Raises OrbitError for members of a model without noise, and for
    quantiles or probabilities as `derived_from` does."""
    members = identity_of(downscaler, settings.seed) if settings.members else None
    derived = derived_from(downscaler.outputs, settings.members, settings.quantiles, settings.events)
    tiling = downscaler.tiling(grid, settings.tile, settings.halo, settings.blend, settings.trim)
    weights, (site, _) = downscaler.about["sha256"]["weights.safetensors"], downscaler.site(grid)
    return Layout(
        names=downscaler.outputs,
        grid=downscaler.fine_grid(grid, settings.trim),
        times=times,
        items=Items(len(times), settings.time_block, len(tiling), 0 if derived else settings.members),
        tiling=tiling,
        factor=downscaler.refinement,
        derived=derived,
        stored=settings.stored,
        identity=(downscaler.about.get("hash"), weights, members,
                  *((str(downscaler.dtype),) if downscaler.dtype else ()), *((site.identity,) if site else ()), *identity),
    )


def blender_of(job: Job, store: PredictionStore) -> Blender | None:
    """What makes items of windows; None where a window's core is the item."""
    return Blender(store, job.downscaler.grain) if job.layout.tiling.blend else None


def compute_block(job: Job, ranks: launch.Ranks, block: int = 0, blocks: int = 1, wall_minutes: float = 0.0) -> Spent:
    """Compute what is left of one block of the items; in a job of several ranks each takes a fixed share.

    Of blended tiles it finishes those that need no window of another block; `finish` does the rest. On a processor it takes the threads
    that one window is worth. Raises Interrupted when a signal or the deadline stopped it after the item in hand.
    """
    device = job.downscaler.device
    with fitting_threads(job.downscaler.model, device, job.layout.tiling.padded), short_switch_interval(device):
        return _compute_block(job, ranks, block, blocks, wall_minutes)


def _compute_block(job: Job, ranks: launch.Ranks, block: int, blocks: int, wall_minutes: float) -> Spent:
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
    apart = blender is None and not items.members  # else what follows each other shares something
    todo = deal(left, ranks.rank, ranks.world) if apart else contiguous(left, ranks.rank, ranks.world)
    inner = set() if blender is None else set(blender.inner(mine)) & set(todo)

    def write(item: Item, made: tuple[Pending, float]) -> None:
        fields = made[0].array()
        stop.took("item", seconds := made[0].seconds(made[1]))
        if blender is None:
            writers.write(item, fields, seconds)
        else:
            blender.keep(item, fields, seconds)
            blender.assemble((i for i in blender.sources(item.index) if i in inner), writers.mix)

    label = job.label if blocks == 1 else f"{job.label} block {block}/{blocks}"
    hands = fitting(job.settings.writers, job.downscaler.device.type == "cuda", job.layout) if len(todo) > 1 else 0
    times = [time for start, count in dict.fromkeys((items[i].start, items[i].count) for i in todo) for time in range(start, start + count)]
    with StopRequest(wall_minutes) as stop, Writers(hands, store, blender) as writers, job.samples.prefetching(times):
        launch.heed_job(stop, ranks, LAST_ITEM)
        if ranks.first and stop.deadline:
            log.info("%s: %s", label, stop.deadline)
        job.downscaler.clock.heard = tick
        spent = work([items[i] for i in todo], job.read, job.compute, write, label=label, fields_of=job.fields_of, stop=stop,
                     clock=job.downscaler.clock, writers=max(hands, 1), depth=depth(hands, job.layout))  # fmt: skip
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
