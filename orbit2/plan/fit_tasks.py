"""`orbit2 plan --fit` for predictions: batch, times of an item and jobs of a task on a number of devices, as plan itself judges them.

Tiles change what is predicted: they change only when asked for, else they are named apart. Edits nobody's files.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from orbit2.config.comparisons import predictions
from orbit2.config.schema import DownscaleConfig, RunConfig
from orbit2.grid import named
from orbit2.model.inspect import build, size, vocabulary
from orbit2.plan import search, tiling
from orbit2.plan.disk import task_samples
from orbit2.plan.estimate import prediction
from orbit2.plan.fit import SPARE, TIE, spent
from orbit2.plan.machine import Machine
from orbit2.plan.search import doublings
from orbit2.plan.tiling import Size

KEYS = ("tile", "time_block", "batch", "blocks")
MOST = 64  # times in an item that are looked at, at most
ITEM = 1 << 30  # bytes of an item's float32 fields, which the host holds a few times over
GAIN = 0.98  # a larger batch is looked at while it takes no more of the time before than this


@dataclass(frozen=True)
class Way:
    """One way to do a task: `changed` keys of it, on `devices` in `blocks` jobs; bytes of a device, hours; `problem`: why it is none."""

    changed: dict[str, Any]
    devices: int
    blocks: int
    memory: int
    hours: float | None
    problem: str | None = None

    @property
    def device_hours(self) -> float | None:
        return None if self.hours is None else self.hours * self.devices

    @property
    def cost(self) -> float:
        """What is made small."""
        return float("inf") if self.device_hours is None else self.device_hours


@dataclass(frozen=True)
class TaskFit:
    """What was found for one task: `best`, and `own`, the task as it stands where that is another way and fits too; else what comes
    `nearest`, why (`advice`), and what `needs` other tiles."""

    task: str
    model: str
    machine: Machine
    hours: float | None
    best: Way | None = None
    own: Way | None = None
    nearest: Way | None = None
    needs: Way | None = None
    advice: str | None = None

    @property
    def fits(self) -> bool:
        return self.best is not None


def fit_task(config: RunConfig, name: str, machine: Machine, *, hours: float | None = None, allow: Collection[str] = ()) -> TaskFit:
    """How to do task `name` on all devices of `machine`; with `hours` on the fewest of them that end in time.

    `allow`: "tile" where that may change (what else may be allowed is training's).
    """
    section = predictions(config)[name]
    finder = Finder(config, name, machine)
    tiles = [section.tile, *(finder.smaller() if "tile" in allow else ())]
    found = [way for tile in tiles for way in finder.ways(tile, hours)]
    late = [way for way in found if hours is not None and way.hours is not None and way.hours > hours]
    good = finder.ranked([way for way in found if way not in late])
    if good:
        own = finder.judge(section.tile, section.time_block, section.batch, machine.count if section.blocks > 1 else 1)
        return TaskFit(name, section.model, machine, hours, good[0], own if good[0].changed and own.problem is None else None)
    if late:
        best = min(late, key=lambda way: way.hours or 0.0)
        return TaskFit(name, section.model, machine, hours, nearest=best,
                       advice=f"not in {hours:g} h on {machine.count} devices: the fastest takes {spent(best.hours)}")  # fmt: skip
    least = finder.judge(section.tile, 1, 1, 1)
    tiled = (finder.ranked(list(finder.ways(tile, hours))) for tile in (() if "tile" in allow else finder.smaller()))
    needs = next((ways[0] for ways in tiled if ways), None)
    return TaskFit(name, section.model, machine, hours, nearest=least, needs=needs, advice=(
        f"memory: {size(least.memory)} at least, of {size(machine.memory)} on {machine.place} with a tenth to spare"))  # fmt: skip


class Finder:
    """The ways of one task; remembers what plan said of each."""

    def __init__(self, config: RunConfig, name: str, machine: Machine) -> None:
        self.config, self.name, self.machine = config, name, machine
        self.section, self.samples = predictions(config)[name], task_samples(config, name)
        self.built = build(config, self.section.model)
        dataset = config.datasets[self.section.dataset]
        self.grid = named(dataset.fine_grid if self.section.input == "fine" else dataset.coarse_grid)
        self._known: dict[tuple[Size, int, int, int], Way] = {}

    def judge(self, tile: Size, time_block: int, batch: int, devices: int) -> Way:
        """What plan says of it."""
        key = (tile, time_block, batch, devices)
        if key not in self._known:
            keys = {"tile": tile, "time_block": time_block, "batch": batch, "blocks": self._blocks(devices)}
            changed = {name: value for name, value in keys.items() if value != getattr(self.section, name)}
            section = self.section.model_copy(update=keys)
            told = prediction(self._laid_over(section), self.name, self.built, Machine(self.machine.device, devices))
            hours = None if told.time.wall is None else told.time.wall / 3600
            self._known[key] = Way(changed, told.time.devices, section.blocks, told.memory.need, hours, told.memory.advice)
        return self._known[key]

    def ways(self, tile: Size, hours: float | None) -> Iterator[Way]:
        """All that fit with these tiles, larger batches only as long as they are worth something."""
        before, room = float("inf"), (1 - SPARE) * self.machine.memory
        most = max(min(self.samples, MOST, ITEM // self._bytes(tile)), self.section.time_block)
        for batch in doublings(most) if not self.section.members else [self.section.batch]:
            best = float("inf")
            for time_block in sorted({*doublings(most), self.section.time_block}):
                if time_block < batch and not self.section.members:
                    continue
                alone = self.judge(tile, time_block, batch, 1)
                if alone.problem is not None or alone.memory > room:
                    return
                best = min(best, alone.cost)
                yield self.judge(tile, time_block, batch, self._devices(alone.hours, hours))
            if best > GAIN * before:
                return
            before = best

    def ranked(self, ways: Sequence[Way]) -> list[Way]:
        """The cheapest first; of those that cost as little (TIE) the one that changes least; of these the smallest items."""
        least = min((way.cost for way in ways), default=0.0)

        def place(way: Way) -> tuple[float, float, float]:
            if way.cost > TIE * least:
                return (1000, way.cost, 0)
            return (len(way.changed), way.changed.get("time_block", 0), way.changed.get("batch", 0))

        return sorted(ways, key=place)

    def smaller(self) -> list[Size]:
        """Tiles of half a side, a third ... in whole tokens; none for a network that knows places by a table."""
        architecture = self.config.architecture_of(self.section.model)
        if architecture.position == "table":
            return []
        cut = tiling.inference(self.grid, self.config.models[self.section.model].region, 0, 0, architecture.patch)
        return [tile for tile in search.parts_of(cut.window.shape, architecture.patch) if tile != self.section.tile]

    def _devices(self, alone: float | None, hours: float | None) -> int:
        """All of them; with `hours` the fewest (full nodes beyond one) that end in time by what one takes `alone`."""
        if hours is None or alone is None:
            return self.machine.count
        per_node = self.machine.sheet.per_node
        counts = search.worlds(per_node, max(self.machine.count // per_node, 1))
        return next((count for count in counts if count * hours >= alone and count <= self.machine.count), self.machine.count)

    def _blocks(self, devices: int) -> int:
        """Jobs: of a full node each, on one node of a device each (profiles/README.md); no fewer than the run has."""
        nodes = Machine(self.machine.device, devices).nodes
        return max(nodes if nodes > 1 else devices, self.section.blocks)

    def _bytes(self, tile: Size) -> int:
        """Of the fields that one time of an item has, both sides, float32."""
        section = self.section.model_copy(update={"tile": tile})
        cut = tiling.of_task(self.grid, self.config, section, self.built.config.patch)
        inputs, outputs, _ = vocabulary(self.config, self.section.model)
        return 4 * math.prod(cut.tiling.padded) * (len(inputs) + len(outputs) * self.built.config.refinement**2)

    def _laid_over(self, section: DownscaleConfig) -> RunConfig:
        """The run with this task done like that. A task made for comparison is done as the one it stands beside."""
        return self.config.model_copy(update={"downscale": {**self.config.downscale, self.name: section}})


def lines(found: TaskFit) -> list[str]:
    """For people: what to paste, and what plan says of it."""
    on = f"{found.machine.count} {found.machine.device}" + ("" if found.hours is None else f", within {found.hours:g} h")
    if found.best is not None:
        text = [f"task {found.task} on {on}: fits", *_told("", found.best, found)]
        return [*text, *(_told("as it stands: ", found.own, found)[:1] if found.own else [])]
    text = [f"task {found.task} on {on}: does NOT fit", f"  {found.advice}"]
    for head, way in (("nearest: ", found.nearest), ("would need (changes what is predicted): ", found.needs)):
        text += _told(head, way, found) if way else []
    return text


def _told(head: str, way: Way, found: TaskFit) -> list[str]:
    cost = "" if way.device_hours is None else f" {spent(way.hours)}, {way.device_hours:,.3g} device-hours;"
    jobs = "one job" if way.blocks == 1 else f"{way.blocks} jobs"
    text = [f"  {head}{way.devices} device(s) in {jobs}:{cost} memory {size(way.memory)} of {size(found.machine.memory)}"
            + ("" if way.problem is None else f": {way.problem}")]  # fmt: skip
    pasted = snippet(found.task, way)
    return [*text, *(f"    {line}" for line in pasted.splitlines())] if pasted else [*text, "    as the run has it: nothing to change"]


def snippet(name: str, way: Way) -> str:
    """YAML of the keys that change, to be laid over the run's file; empty where none does."""
    changed = {key: list(value) if isinstance(value, tuple) else value for key, value in way.changed.items()}
    return yaml.safe_dump({"downscale": {name: changed}}, default_flow_style=None, sort_keys=False) if changed else ""


def to_json(found: TaskFit) -> dict[str, Any]:
    """The same as `lines`, for programs."""

    def told(way: Way | None) -> dict[str, Any] | None:
        return None if way is None else {
            "devices": way.devices, "blocks": way.blocks, "memory": way.memory, "hours": way.hours, "device_hours": way.device_hours,
            "problem": way.problem, "downscale": way.changed,
        }  # fmt: skip

    return {"task": found.task, "model": found.model, "device": found.machine.device, "devices": found.machine.count, "hours": found.hours,
            "fits": found.fits, "best": told(found.best), "own": told(found.own), "nearest": told(found.nearest),
            "needs": told(found.needs), "advice": found.advice}  # fmt: skip
