"""How large a model, and for how many steps: what this machine can train in a number of hours, as the planner judges it. Trains nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import from_mapping
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.model.inspect import build
from orbit2.plan.disk import training_samples
from orbit2.plan.estimate import plan_on, prediction, training
from orbit2.plan.fit import fit
from orbit2.plan.fit_tasks import fit_task
from orbit2.plan.machine import Machine
from orbit2.plan.records import Plan
from orbit2.plan.search import changes
from orbit2.plan.stages import works
from orbit2.plan.text import duration
from orbit2.progress import doing

MODEL, TASK = "reslim", "test"
PROBED = 1000  # steps that a size is planned for; times are in proportion
LEAST, ENOUGH = 50, 2000  # steps below which nothing is learnt; steps that a larger model must be given too
EPOCHS = 300  # times that a training sample is seen, at most: a longer training of as little data only learns it by heart
SHARE = 0.5  # of the hours that training has at least, whatever the other stages take
BATCH = 8
TOGETHER = {"time_block": 8, "batch": 8}  # times of a task's item, that go through the network at once


@dataclass(frozen=True)
class Size:
    """A model that runs begin with: keys of `architecture`, the training samples that it asks for at least, its learning rate."""

    name: str
    architecture: Mapping[str, Any]
    samples: int
    learning_rate: float


SIZES = (  # the smallest first
    Size("small", {"embed_dim": 64, "depth": 2, "heads": 1, "decoder_depth": 2, "residual_width": 48}, 0, 1e-3),
    Size("demo", {"include": "models/reslim_demo.yaml"}, 0, 1e-3),
    Size("9m", {"include": "models/reslim_9m.yaml"}, 1000, 5e-4),
    Size("126m", {"include": "models/reslim_126m.yaml"}, 20_000, 2e-4),
)  # fmt: skip


@dataclass(frozen=True)
class Sized:
    """What was chosen, as the keys of the YAML, and its plan; `notes` in words."""

    architecture: dict[str, Any]
    train: dict[str, Any]
    task: dict[str, Any]
    plan: Plan
    config: RunConfig
    notes: list[str] = field(default_factory=list)


def sections(dataset: str, architecture: Mapping[str, Any], train: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """`models` and `downscale` of a run on one dataset."""
    return {"models": {MODEL: {"datasets": [dataset], "architecture": dict(architecture), "train": dict(train)}},
            "downscale": {TASK: {"model": MODEL, "dataset": dataset, **task}}}  # fmt: skip


def sized(raw: Mapping[str, Any], dataset: str, hours: float, on: Machine, *, conserve: bool) -> Sized:
    """A model for `dataset` of `raw` (a run without models), in `hours` on `on`, prediction and what is known of other stages included.

    `conserve`: the inputs are block means of the truth. Raises OrbitError where the hours or the memory do for none.
    """
    doing("finding the largest model that can be trained in the time")
    if hours <= 0:
        raise OrbitError("no time for a run", where="--hours", got=hours, allowed="more than 0", hint="e.g. --hours 2")
    about = {"refinement": DatasetConfig.model_validate(raw["datasets"][dataset]).refinement, "conserve": conserve}
    samples = training_samples(from_mapping({**raw, **sections(dataset, about, {}, {})}), dataset)
    batch = max(1, min(BATCH, samples // 2))
    most = max(EPOCHS * samples // batch, 500)
    budget: float | None = None
    chosen: tuple[Size, dict[str, Any], dict[str, Any], int] | None = None
    least, notes, task = "", list[str](), dict[str, Any]()
    for size in SIZES:
        if samples < size.samples:
            break
        architecture = {**size.architecture, **about}
        train = {**_train(PROBED, batch, size.learning_rate), **({"precipitation_threshold": 0} if conserve else {})}
        config = from_mapping({**raw, **sections(dataset, architecture, train, task)})
        time, laid = _time(config, on)
        if time is None:
            notes.append(f"a model of size {size.name} does not fit into the memory here")
            break
        if budget is None:
            task, others = _beside(from_mapping({**raw, **sections(dataset, architecture, {**train, **laid}, TOGETHER)}), on)
            budget = max(3600 * hours - others, SHARE * 3600 * hours)
            if others > (1 - SHARE) * 3600 * hours:
                notes.append(f"the other stages take {duration(others)}: more than training leaves them of {hours:g} hours")
        steps = min(int(budget / time * PROBED), most)
        if steps < LEAST and chosen is None:
            least = f"{LEAST} steps of the smallest model take {duration(LEAST * time / PROBED)}"
        if steps < (LEAST if chosen is None else min(ENOUGH, most)):
            break
        chosen = size, architecture, {**train, **laid}, steps
    if chosen is None:
        raise OrbitError("too little for a run", where="--hours", got=f"{hours:g}", allowed=least or "a smaller region or coarser grids",
                         hint="give more hours, a smaller region or fewer variables" if least else "; ".join(notes))  # fmt: skip
    size, architecture, train, steps = chosen
    train |= _train(steps, batch, size.learning_rate)
    config = from_mapping({**raw, **sections(dataset, architecture, train, task)})
    plan = plan_on(config, on)
    seen = steps * batch / samples
    notes.append(f"size {size.name}, {steps:,} steps of {batch} samples: each of {samples:,} training samples is seen {seen:,.0f} times"
                 + (", which is as often as it helps" if steps == most else ""))  # fmt: skip
    return Sized(architecture, train, task, plan, config, notes)


def _train(steps: int, batch: int, rate: float) -> dict[str, Any]:
    return {"steps": steps, "batch_size": batch, "learning_rate": rate, "warmup_steps": max(1, min(steps // 20, 500)),
            "validate_every": max(10, math.ceil(steps / 20)), "site_memory": True}  # fmt: skip


def _time(config: RunConfig, on: Machine) -> tuple[float | None, dict[str, Any]]:
    """Seconds of the training, and what has to change for it to fit; None where nothing helps."""
    found = training(config, MODEL, build(config, MODEL), on, {}, advised=False)
    if found.fits and found.time.wall is not None:
        return found.time.wall, {}
    best = fit(config, MODEL, on, allow=("tile",)).proposals
    if not best or best[0].hours is None:
        return None, {}
    return 3600 * best[0].hours, changes(best[0].choice, config.models[MODEL].train)


def _beside(config: RunConfig, on: Machine) -> tuple[dict[str, Any], float]:
    """The keys of a task that fits, and the seconds that it and the other stages take, as far as that is known."""
    task, keys = prediction(config, TASK, build(config, MODEL), on), dict(TOGETHER)
    if not task.fits:
        best = fit_task(config, TASK, on, allow=("tile",)).best
        keys |= best.changed if best is not None else {}
    return keys, (task.time.wall or 0.0) + sum(work.wall or 0.0 for work in works(config, on, ()))
