"""`orbit2 plan --fit`: the cheapest way to train a model on a number of devices, verified by plan itself. Edits nobody's files.

The search is in search.py. Keys that change what is computed (tile, batch_size) change only when asked for; else they are named apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError, one_of
from orbit2.grid import named
from orbit2.model.inspect import build, size, vocabulary
from orbit2.parallel.apply import CHECKPOINTED
from orbit2.parallel.mesh import AXES
from orbit2.plan import search, tiling
from orbit2.plan.estimate import shares_of_steps, training
from orbit2.plan.machine import Machine
from orbit2.plan.price import multiplies_bf16
from orbit2.plan.rehearse import staying
from orbit2.plan.search import Choice, Facts, configured
from orbit2.plan.tiling import Size

ALLOWED = ("tile", "batch")  # science keys that may be asked for
SHOWN = 3  # proposals
SPARE = 0.1  # of a device's memory stays free: what plan says of memory is right within a tenth
LOOKED_AT = 6  # ways that are rehearsed for one number of devices, at most
ROOM = 1.25  # estimates of memory are right within this factor, either way, until one is seen to be wrong
TIE = 1.02  # costs that are this close are one: of them the way that changes least comes first
CLOSE = 1.3  # an estimate of time this far over the best one is not looked at
LARGEST = 4096  # nodes, when the number that would do is looked for


@dataclass(frozen=True)
class Judged:
    """What plan says of one way to train a model: `problem` (None: it fits), bytes of the fullest rank, hours of the training."""

    choice: Choice
    problem: str | None
    memory: int
    hours: float | None

    @property
    def device_hours(self) -> float | None:
        return None if self.hours is None else self.hours * self.choice.world

    @property
    def cost(self) -> float:
        """What is made small."""
        return float("inf") if self.device_hours is None else self.device_hours


Judge = Callable[[Choice], Judged]


@dataclass(frozen=True)
class Fit:
    """What was found for one model: `proposals`, the cheapest first; else `nearest`, what comes closest, and `advice` why none fits.

    `needs`: the cheapest way that changes science keys too, where only those make it fit.
    """

    model: str
    machine: Machine
    hours: float | None
    proposals: tuple[Judged, ...] = ()
    nearest: tuple[Judged, ...] = ()
    needs: Judged | None = None
    advice: tuple[str, ...] = field(default=())

    @property
    def fits(self) -> bool:
        return bool(self.proposals)


def fit(
    config: RunConfig, name: str, machine: Machine, *, hours: float | None = None, allow: Collection[str] = (), judge: Judge | None = None
) -> Fit:
    """How to train model `name` on `machine`: on all of its devices, or on those of a node that a step has samples for.

    With `hours`: on as many of them as end in time at the least cost.

    `allow`: "tile", "batch" where science keys may change; the samples seen in all stay the same. `judge`: what plan says of one way.
    Raises OrbitError for an unknown model or key to allow.
    """
    if name not in config.models:
        raise OrbitError("no such model", where="--model", got=name, allowed=", ".join(config.models),
                         hint=one_of(name, config.models))  # fmt: skip
    for word in allow:
        if word not in ALLOWED:
            raise OrbitError("nothing that may change", where="--allow", got=word, allowed=", ".join(ALLOWED),
                             hint=one_of(word, ALLOWED))  # fmt: skip
    machine = Machine(machine.device, machine.ranks(config.models[name].train.batch_size))
    finder = Finder(config, name, machine, judge or judge_of(config, name, machine.device))
    found = finder.on(machine.count, allow) if hours is None else finder.within(hours, allow)
    if found:
        return Fit(name, machine, hours, tuple(found[:SHOWN]))
    return finder.nothing(hours, allow)


class Finder:
    """The search for one model on one machine; remembers what it has counted and judged."""

    def __init__(self, config: RunConfig, name: str, machine: Machine, judge: Judge) -> None:
        self.config, self.name, self.machine, self._judge = config, name, machine, judge
        self.train, self.patch = config.models[name].train, config.architecture_of(name).patch
        self.inputs, self.device = len(vocabulary(config, name)[0]), machine.sheet
        self.shares, self.half = shares_of_steps(config, name), multiplies_bf16(self.train.precision, machine)
        self.judged: dict[Choice, Judged] = {}
        self._facts: dict[Size, Facts] = {}

    def facts(self, tile: Size) -> Facts:
        if tile not in self._facts:
            self._facts[tile] = search.facts(self.config, self.name, self.shares, tile, self.half)
        return self._facts[tile]

    def judge(self, choice: Choice) -> Judged:
        if choice not in self.judged:
            self.judged[choice] = self._judge(choice)
        return self.judged[choice]

    def estimate(self, choice: Choice) -> float:
        """Seconds of the whole training, about."""
        return choice.steps * search.seconds(choice, self.facts(choice.tile), self.device)

    def memory(self, choice: Choice) -> float:
        """Bytes of the fullest rank, about."""
        return search.memory(choice, self.facts(choice.tile))

    def options(self, count: int, allow: Collection[str]) -> list[Choice]:
        """All ways on `count` devices, the fastest first by estimate."""
        found: list[Choice] = []
        for cut in self._cuts("tile" in allow):
            found += search.choices(self.config, self.name, count, [cut], self._batches(count, "batch" in allow), self._drawn(*cut),
                                    self.inputs)  # fmt: skip
        return sorted(found, key=self.estimate)

    def on(self, count: int, allow: Collection[str]) -> list[Judged]:
        """Ways that fit on `count` devices, the cheapest first; as many as it took to be sure of the first."""
        good: list[Judged] = []
        limit, room, factor = float("inf"), (1 - SPARE) * self.machine.memory, 1 / ROOM
        waiting, looked = self.options(count, allow), 0
        while looked < LOOKED_AT:
            choice = next((one for one in waiting if self.memory(one) * factor <= room), None)
            if choice is None or self.estimate(choice) > limit:
                break
            looked, verdict = looked + 1, self.judge(choice)
            factor = max(factor, verdict.memory / self.memory(choice) / ROOM)  # estimates that were seen to be low are believed less
            if roomy(verdict, self.machine.memory):
                limit = min(limit, CLOSE * self.estimate(choice))
                good.append(verdict)
                waiting = [one for one in waiting if not heavier(choice, one)]  # no faster
            else:
                waiting = [one for one in waiting if not heavier(one, choice)]  # no smaller
        if not good and waiting:  # the last resort
            verdict = self.judge(min(waiting, key=self.memory))
            good += [verdict] if roomy(verdict, self.machine.memory) else []
        own = configured(self.config, self.name, count)  # which the search may have passed over, being no faster than another
        if own is not None and own not in self.judged and self.estimate(own) <= limit < float("inf") and self.memory(own) * factor <= room:
            verdict = self.judge(own)
            good += [verdict] if roomy(verdict, self.machine.memory) else []
        return self.ranked(good)

    def ranked(self, good: Sequence[Judged]) -> list[Judged]:
        """The cheapest first; of those that cost as little (TIE) the one that changes least of the run."""
        least = min((each.cost for each in good), default=0.0)

        def place(each: Judged) -> tuple[int, float]:
            return (search.changed(each.choice, self.train), each.cost) if each.cost <= TIE * least else (1000, each.cost)

        return sorted(good, key=place)

    def within(self, hours: float, allow: Collection[str]) -> list[Judged]:
        """Ways that end in `hours` on as many of the devices as cost least, the cheapest first."""
        counts = search.worlds(self.device.per_node, max(self.machine.count // self.device.per_node, 1))
        first = {n: options[0] for n in counts if n <= self.machine.count and (options := self.options(n, allow))}
        good: list[Judged] = []
        ratio = 1.0  # of what plan says to what is estimated, as seen last
        for count in sorted(first, key=lambda n: n * self.estimate(first[n])):
            if self.estimate(first[count]) * ratio / 3600 > CLOSE * hours:
                continue
            found = self.on(count, allow)
            if found and found[0].hours is not None:
                ratio = found[0].hours * 3600 / self.estimate(found[0].choice)
            good += [each for each in found if each.hours is not None and each.hours <= hours]
            if good:
                break
        return self.ranked(good)

    def nothing(self, hours: float | None, allow: Collection[str]) -> Fit:
        """What comes closest where nothing does."""
        count, advice, near = self.machine.count, list[str](), list[Judged]()
        options = self.options(count, allow)
        if not options:
            close = search.nearest(count, [n for n in range(1, 2 * count + 1) if n != count and self.options(n, allow)])
            heads, works = self.config.architecture_of(self.name).heads, " and ".join(map(str, close)) or "no number"
            advice.append(
                f"no mesh of {count} devices: a step has {self.train.batch_size} samples, the network {heads} heads; {works} work"
            )
            near = [found[0] for n in close if (found := self.on(n, allow))]
        elif hours is not None and (found := self.on(count, allow)):
            near = found[:1]
            advice.append(f"not in {hours:g} h on {count} devices: the fastest takes {spent(found[0].hours)}")
        else:
            least = min((self.judge(choice) for choice in self._smallest(options, allow)), key=lambda each: each.memory)
            near = [least]
            advice.append(
                f"memory: {size(least.memory)} at least, of {size(self.machine.memory)} on {self.machine.place} with a tenth to spare"
            )
        larger = self._larger(hours, allow)
        if larger is not None:
            near.append(larger)
        needs: Judged | None = None
        for more in (("tile",), ALLOWED):
            if needs is None and not set(more) <= set(allow):
                other = self.on(count, {*allow, *more})
                needs = next((each for each in other if hours is None or (each.hours is not None and each.hours <= hours)), None)
        return Fit(self.name, self.machine, hours, (), tuple(near), needs, tuple(advice))

    def _smallest(self, options: Sequence[Choice], allow: Collection[str]) -> list[Choice]:
        return sorted(options, key=self.memory)[:2]

    def _larger(self, hours: float | None, allow: Collection[str]) -> Judged | None:
        """The fewest more devices (in doublings) on which it does."""
        count = 2 * max(self.machine.count, self.device.per_node)
        while count <= LARGEST * self.device.per_node:
            options = [choice for choice in self.options(count, allow) if self.memory(choice) <= self.machine.memory]
            if not options:
                if count // 2 >= self.train.batch_size * self.config.architecture_of(self.name).heads:
                    return None
            elif hours is None or self.estimate(options[0]) / 3600 <= CLOSE * hours:
                found = [each for each in self.on(count, allow) if hours is None or (each.hours is not None and each.hours <= hours)]
                if found:
                    return found[0]
            count *= 2
        return None

    def _cuts(self, free: bool) -> list[tuple[Size, int]]:
        """(tile, tiles_per_sample): the run's own; with `free` halves, thirds ... of a sample's sides too."""
        own = (self.train.tile, self.train.tiles_per_sample)
        if not free or self.config.architecture_of(self.name).position == "table":
            return [own]
        section = self.config.models[self.name]
        shapes = [tiling.training(named(self.config.datasets[key].coarse_grid), section.region, 0, 0, self.patch).window.shape
                  for key in section.datasets]  # fmt: skip
        height, width = max(shapes, key=lambda shape: shape[0] * shape[1])
        return [own, *((cut, 0) for cut in search.parts_of((height, width), self.patch) if cut != self.train.tile)]

    def _batches(self, count: int, free: bool) -> list[int]:
        own = self.train.batch_size
        return sorted({own, *(own * k for k in (2, 4, 8)), *(own // k for k in (2, 4, 8) if own >= k), count}) if free else [own]

    def _drawn(self, tile: Size, tiles_per_sample: int) -> int:
        """The fewest tiles of a sample: a grid that augmentation moved has a row and a column less."""
        if tiling.edges(tile) == (0, 0):
            return 1
        section, fewest = self.config.models[self.name], list[int]()
        for key in section.datasets:
            cut = tiling.training(named(self.config.datasets[key].coarse_grid), section.region, tile, section.train.halo, self.patch)
            less = 1 if self.train.augment and self.train.shift_probability else 0
            sides = zip(cut.tiling.domain, cut.tiling.core, strict=True)
            fewest.append(math.prod(math.ceil((part.stop - part.start - less) / core) for part, core in sides))
        return min([*fewest, *([tiles_per_sample] if tiles_per_sample else [])])


def heavier(one: Choice, other: Choice) -> bool:
    """Whether `one` is like `other` but with no more parts of a step and nothing more computed again: no less memory, no more time."""
    order = list(CHECKPOINTED)
    same = replace(one, accumulate=other.accumulate, checkpointing=other.checkpointing) == other
    return same and one.accumulate <= other.accumulate and order.index(one.checkpointing) <= order.index(other.checkpointing)


def lines(found: Fit, config: RunConfig) -> list[str]:
    """For people: what to paste, and what plan says of it."""
    on = f"{found.machine.count} {found.machine.device}" + ("" if found.hours is None else f", within {found.hours:g} h")
    if found.fits:
        text = [f"model {found.model} on {on}: {len(found.proposals)} ways that fit, the cheapest first" if len(found.proposals) > 1
                else f"model {found.model} on {on}: one way fits"]  # fmt: skip
        for number, each in enumerate(found.proposals, 1):
            text += _proposal(f"{number}. ", each, found, config)
        return text
    text = [f"model {found.model} on {on}: NOTHING fits", *(f"  {line}" for line in found.advice)]
    for each in found.nearest:
        text += _proposal("nearest: ", each, found, config)
    if found.needs is not None:
        text += _proposal("would need (changes what is trained): ", found.needs, found, config)
    return text


def _proposal(head: str, each: Judged, found: Fit, config: RunConfig) -> list[str]:
    choice = each.choice
    cost = "" if each.device_hours is None else f" {spent(each.hours)}, {each.device_hours:,.1f} device-hours;"
    text = [f"{head}{choice.world} devices as {choice.mesh}:{cost} memory {size(each.memory)} of {size(found.machine.memory)}"
            + ("" if each.problem is None else f": {each.problem}"),
            f"  {choice.share} samples of a step's {choice.batch_size} on a rank in {choice.accumulate} part(s), checkpointing "
            f"{choice.checkpointing}"]  # fmt: skip
    pasted = snippet(found.model, choice, config)
    return [*text, *(f"    {line}" for line in pasted.splitlines())] if pasted else [*text, "    as the run has it: nothing to change"]


def snippet(name: str, choice: Choice, config: RunConfig) -> str:
    """YAML of the keys that change, to be laid over the run's file; empty where none does."""
    changed = search.changes(choice, config.models[name].train)
    return yaml.safe_dump({"models": {name: {"train": changed}}}, default_flow_style=None, sort_keys=False) if changed else ""


def spent(hours: float | None) -> str:
    """Hours for people."""
    return "n/a h" if hours is None else f"{hours:,.1f} h" if hours >= 0.1 else f"{hours * 3600:,.1f} s"


def to_json(found: Fit, config: RunConfig) -> dict[str, Any]:
    """The same as `lines`, for programs."""

    def told(each: Judged) -> dict[str, Any]:
        mesh = {axis: getattr(each.choice.mesh, axis) for axis in AXES}
        return {"devices": each.choice.world, "mesh": mesh, "samples": each.choice.share, "memory": each.memory, "hours": each.hours,
                "device_hours": each.device_hours, "problem": each.problem,
                "train": search.changes(each.choice, config.models[found.model].train)}  # fmt: skip

    return {"model": found.model, "device": found.machine.device, "devices": found.machine.count, "hours": found.hours, "fits": found.fits,
            "proposals": [told(each) for each in found.proposals], "nearest": [told(each) for each in found.nearest],
            "needs": None if found.needs is None else told(found.needs), "advice": list(found.advice)}  # fmt: skip


def judge_of(config: RunConfig, name: str, device: str) -> Judge:
    """What plan says of ways to train model `name` on devices of this kind."""

    def judge(choice: Choice) -> Judged:
        chosen = search.laid_over(config, name, choice)
        with staying():
            found = training(chosen, name, build(config, name), Machine(device, choice.world), {}, advised=False)
        problems = [each.memory.advice for each in found.trainings if each.memory.advice]
        hours = None if found.time.wall is None else found.time.wall / 3600
        return Judged(choice, problems[0] if problems else None, max(each.memory.need for each in found.trainings), hours)

    return judge


def roomy(judged: Judged, memory: int) -> bool:
    """Whether it fits with something to spare."""
    return judged.problem is None and judged.memory <= (1 - SPARE) * memory
