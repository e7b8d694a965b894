"""What a plan holds: plain numbers (docs/costs.md names every key), of which text and JSON are made. Adds them up, no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from orbit2.plan.halo import Scale

VERSION = 1  # of the JSON: another number where a key changes its meaning or goes


@dataclass(frozen=True)
class Memory:
    """Bytes of one device at its fullest, by what they are for, and of the device itself; `problem`: why the part cannot even start."""

    parts: dict[str, int]
    device: int
    problem: str | None = None

    @property
    def need(self) -> int:
        return sum(self.parts.values())

    @property
    def state(self) -> int:
        """What is there all the time, whatever the batch."""
        return sum(self.parts.get(name, 0) for name in STATE)

    @property
    def advice(self) -> str | None:
        """What stands in the way; None: it fits."""
        if self.state > self.device:
            return "does NOT fit: parameters must be sharded (fsdp)"
        if self.need > self.device:
            return "does NOT fit: smaller tiles or batches"
        return self.problem


STATE = ("weights", "optimiser", "average")  # parts of memory that sharding alone makes smaller


@dataclass(frozen=True)
class Time:
    """`wall` seconds on `devices`, in `slices` of the queue; `split`: where they go; `joules` of all devices; `rate`: FLOP/s of one.

    All None where it cannot be told, and `untold` says why.
    """

    devices: int
    wall: float | None = None
    slices: int | None = None
    split: dict[str, float] = field(default_factory=dict)
    joules: float | None = None
    rate: float | None = None
    share: float | None = None
    untold: str | None = None

    @property
    def device_seconds(self) -> float | None:
        return None if self.wall is None else self.wall * self.devices


@dataclass(frozen=True)
class Pieces:
    """One way to cut a sample: `windows` of `window` coarse cells for cores of `core`, tokens of each, FLOPs of the whole sample.

    `activations`: bytes (float32) of what goes through the network at once. `extra`: cells computed beyond those kept, as a share.
    """

    name: str
    windows: int
    core: tuple[int, int]
    window: tuple[int, int]
    tokens: int
    flops: int
    extra: float
    activations: int


@dataclass(frozen=True)
class Halo:
    """What the training period asks of a halo: e-folding distances, and the coarse cells that follow (None: none is wide enough).

    `untold`: why it was not measured. `extra`: for each user of tiles (a key of the configuration), the extra cells of that halo.
    """

    store: str
    untold: str | None = None
    scales: tuple[Scale, ...] = ()
    recommended: int | None = None
    absent: tuple[str, ...] = ()
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """A model's steps on one of its datasets: about `steps` of them, a `share` of all.

    A rank has `each` samples of a step, cut as the last of `cuts` (the first: not at all) into `parts` windows, `together` at once;
    `drawn` of a sample's windows are trained on. `flops` of one sample.
    """

    dataset: str
    coarse: tuple[int, int]
    fine: tuple[int, int]
    samples: int
    share: float
    steps: float
    each: int
    parts: int
    together: int
    drawn: int
    flops: int
    cuts: tuple[Pieces, ...]
    memory: Memory
    time: Time
    halo: Halo
    exchanged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A model's training: FLOPs of all of it, on `ranks` devices in the mesh `mesh`. `time`: of all its datasets, with validation.

    `needs`: what would bring one into reach that takes months.
    """

    name: str
    kind: str
    parameters: int
    state: dict[str, int]
    steps: int
    batch: int
    ranks: int
    mesh: str
    checkpointing: str
    accumulate: int
    precision: str
    flops: float
    trainings: tuple[Training, ...]
    time: Time
    needs: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return all(each.memory.advice is None for each in self.trainings)


@dataclass(frozen=True)
class Task:
    """A prediction: `samples` times, `members` of each (0: one field without noise), cut as the last of `cuts`; `misplaced` windows begin
    inside a token. `parent`: made for comparison, no task of the run's own."""

    name: str
    model: str
    dataset: str
    coarse: tuple[int, int]
    fine: tuple[int, int]
    samples: int
    members: int
    batch: int
    blocks: int
    precision: str
    flops: float
    cuts: tuple[Pieces, ...]
    misplaced: int
    parent: bool
    memory: Memory
    time: Time

    @property
    def fits(self) -> bool:
        return self.memory.advice is None


@dataclass(frozen=True)
class Stored:
    """Something on disk: `bytes` in all, `missing` of them still to be fetched or written, in `files` (None: not counted).

    kind: download, store, model, checkpoints or prediction. `untold`: why its bytes are not known.
    """

    kind: str
    name: str
    bytes: int
    missing: int
    files: int | None = None
    untold: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A stage beside trainings and predictions, of one source, dataset or task (`name`): core seconds of all its `jobs` together, and
    seconds on the clock with as many of them side by side as the plan's nodes have cores for. `basis`: where they are known from.

    None where it cannot be told, and `untold` says why.
    """

    stage: str
    name: str
    jobs: int
    core_seconds: float | None = None
    wall: float | None = None
    basis: str = ""
    untold: str | None = None


@dataclass(frozen=True)
class Plan:
    """A run on `devices` devices of one kind, on `nodes` nodes. `asked`: that number was asked for, else it is what steps can use.

    `free`: bytes that are free here, where the command runs: the run may be meant for another place, so `fits` says nothing of it.
    `works`: the other stages, on the `cores` of these nodes; none for one model of the run.
    """

    run: str
    device: str
    devices: int
    nodes: int
    asked: bool
    models: tuple[Model, ...]
    tasks: tuple[Task, ...]
    stored: tuple[Stored, ...]
    free: int
    assumptions: dict[str, float | str] = field(default_factory=dict)
    works: tuple[Work, ...] = ()
    cores: int = 1

    @property
    def fits(self) -> bool:
        return all(model.fits for model in self.models) and all(task.fits for task in self.tasks)

    @property
    def times(self) -> tuple[Time, ...]:
        return (*(model.time for model in self.models), *(task.time for task in self.tasks))

    @property
    def device_seconds(self) -> float | None:
        """Of everything; None where a part cannot be told."""
        each = [time.device_seconds for time in self.times]
        return None if None in each else float(sum(one or 0.0 for one in each))

    @property
    def joules(self) -> float | None:
        each = [time.joules for time in self.times]
        return None if None in each else float(sum(one or 0.0 for one in each))

    def of(self, kind: str) -> tuple[int, int]:
        """Bytes of one kind on disk: in all, and still missing."""
        found = [each for each in self.stored if each.kind == kind]
        return sum(each.bytes for each in found), sum(each.missing for each in found)

    def to_json(self) -> dict[str, Any]:
        """The whole plan as JSON has it, with what follows from it: whether it and its parts fit, sums."""
        told = asdict(self)
        fits = [*(model.fits for model in self.models), *(task.fits for task in self.tasks)]
        for record, good in zip((*told["models"], *told["tasks"]), fits, strict=True):
            record["fits"] = good
        memories = [(one, each.memory) for model, record in zip(self.models, told["models"], strict=True)
                    for one, each in zip(record["trainings"], model.trainings, strict=True)]  # fmt: skip
        memories += [(record, task.memory) for record, task in zip(told["tasks"], self.tasks, strict=True)]
        for record, memory in memories:
            record["memory"] |= {"need": memory.need, "advice": memory.advice}
        disk = {kind: dict(zip(("bytes", "missing"), self.of(kind), strict=True)) for kind in dict.fromkeys(s.kind for s in self.stored)}
        whole = {"version": VERSION, "fits": self.fits, "device_seconds": self.device_seconds, "joules": self.joules, "disk": disk, **told}
        return cast(dict[str, Any], _finite(whole))


def _finite(value: Any) -> Any:
    """As JSON allows: null for what is infinite or not a number (a distance that nothing falls to)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
