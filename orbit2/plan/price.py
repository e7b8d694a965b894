"""From one step, or pass, to a whole training or task: hours, device-hours, queue slices, energy. Times of a step are time.py's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import torch

from orbit2.config.comparisons import predictions
from orbit2.config.schema import RunConfig
from orbit2.downscale.store import shard_and_chunk
from orbit2.downscale.writers import BUSY, MOST
from orbit2.model.build import Downscaling
from orbit2.model.precision import autocast_dtype
from orbit2.parallel.mesh import Sizes
from orbit2.plan.disk import PAIRS_LEFT, PREDICTION_LEFT
from orbit2.plan.machine import Machine
from orbit2.plan.records import Time, Training
from orbit2.plan.rehearse import Rehearsal
from orbit2.plan.tiling import Cut
from orbit2.plan.time import CPU, GPU, Split, predict, saving
from orbit2.sources.times import planned_in

MINUTE = 60.0
# Bytes of a prediction that a core compresses and writes in a second: benchmarks/downscale_throughput.py, 398 MB in 15.0 s beside the
# network, tiles mixed at their borders (kept, read again and assembled) included. Shards are cut into chunks that cores share.
WRITTEN = 26.5e6
# The same of a process that does nothing else, beside a GPU: benchmarks/writer.py, on a disk, by how values are kept.
WRITER: dict[str, float] = {"exact": 68e6, "rounded": 86e6, "plain": 104e6}


def multiplies_bf16(precision: str, on: Machine) -> bool:
    """Whether the network would be computed in bf16 there: `auto` where the data sheet says that it is faster."""
    if on.device == "cpu":
        return autocast_dtype(precision, torch.device("cpu")) is torch.bfloat16
    return precision == "bf16" or (precision == "auto" and on.sheet.rate("bf16") > on.sheet.rate("fp32"))


def assumptions(on: Machine) -> dict[str, float | str]:
    """What times and sizes stand on, by name: the device's sheet, time.py's, this file's and disk.py's."""
    sheet, assume = on.sheet, CPU if on.sheet.processor else GPU
    told: dict[str, float | str] = {"device": sheet.source, **asdict(assume), "written": WRITTEN}
    return {**told, "product": sheet.reached or assume.product, "pairs_left": PAIRS_LEFT, "prediction_left": PREDICTION_LEFT["exact"]}


def step_of(step: Rehearsal, on: Machine, windows: int, bf16: bool, replayed: bool = False) -> Split:
    """One step of a rank that reads `windows` samples or tiles; `replayed` as a CUDA graph, where there are any."""
    return predict(step, on, samples=windows, precision="bf16" if bf16 else "fp32", replayed=replayed and not on.sheet.processor)


def steps(split: Split | None, problem: str | None, on: Machine, ranks: int, count: float, bf16: bool) -> Time:
    """`count` steps."""
    if split is None:
        return Time(ranks, untold=problem)
    return _time(on, ranks, {name: seconds * count for name, seconds in _parts(split).items()}, split.flops * count, split.watts, bf16=bf16)


def whole(
    config: RunConfig, name: str, each: Sequence[Training], on: Machine, mesh: Sizes, step: tuple[Rehearsal, Split] | None, bf16: bool
) -> Time:
    """A training: its steps on all datasets, the validations between, and the standing still for checkpoints.

    `step`: one on any of the datasets. A validated sample costs what it costs forward in training.
    """
    train = config.models[name].train
    untold = next((one.time.untold for one in each if one.time.untold), None)
    if untold is not None or step is None:
        return Time(mesh.world, untold=untold)
    split: dict[str, float] = {}
    for one in each:
        split = {part: split.get(part, 0.0) + seconds for part, seconds in one.time.split.items()}
    times = math.ceil(train.steps / train.validate_every)
    split["validation"] = times * sum(_validated(config, name, one) / mesh.data * _forward(one, train.batch_size, mesh) for one in each)
    split["checkpoints"] = sum(split.values()) / (MINUTE * train.checkpoint_minutes) * saving(step[0], on)
    flops = sum((one.time.rate or 0.0) * (one.time.wall or 0.0) for one in each)
    return _time(on, mesh.world, split, flops, step[1].watts, train.wall_minutes, bf16)


def _forward(one: Training, batch: int, mesh: Sizes) -> float:
    """Seconds of a rank that predicts a whole sample of the dataset, all of its windows."""
    return one.time.split["forward"] / one.steps / one.parts * one.cuts[-1].windows if one.steps else 0.0


def _validated(config: RunConfig, name: str, one: Training) -> int:
    """Samples of a dataset that a validation scores."""
    dataset, limit = config.datasets[one.dataset], config.models[name].train.validate_samples
    count = planned_in(dataset, dataset.split.validation)
    return min(count, limit) if limit else count


def task(
    config: RunConfig, name: str, built: Downscaling, step: Rehearsal, cut: Cut, together: int, passes: float, fields: int, on: Machine,
    bf16: bool,
) -> Time:
    """A prediction by `built` of `fields` fields cut into the windows of `cut`, in what is as much as `passes` passes of the network
    (`step`), `together` in one.

    One device does a task, several the blocks of one; what is written goes beside what is computed.
    """
    section = predictions(config)[name]
    split = step_of(step, Machine(on.device), together, bf16, section.cuda_graphs and not section.members)
    rounds = passes * len(cut.tiling) / together
    spent = {part: seconds * rounds for part, seconds in _parts(split).items()}
    factor = built.config.refinement
    rows, columns = ((part.stop - part.start) * factor for part in cut.tiling.domain)
    if on.sheet.processor:
        edges = [shard_and_chunk(cells, core * factor, count)
                 for cells, core, count in zip((rows, columns), cut.tiling.core, cut.tiling.counts, strict=True)]  # fmt: skip
        chunks = section.time_block * math.prod(shard // chunk for shard, chunk in edges)
        speed = WRITTEN * max(min(chunks, int(on.sheet.cores_each)), 1)
    else:
        speed = WRITER[section.stored] * max(section.writers or min(int(on.sheet.cores_each) - BUSY, MOST), 1)
    writing = fields * 4 * len(built.outputs) * rows * columns / speed
    spent["writing"] = max(writing - sum(spent.values()), 0.0)
    devices = min(on.count, fields * len(cut.tiling)) if section.blocks > 1 else 1
    shared = {part: seconds / devices for part, seconds in spent.items()}
    return _time(on, devices, shared, split.flops * rounds / devices, split.watts, section.wall_minutes, bf16)


def _parts(split: Split) -> dict[str, float]:
    """Where a step's seconds go; exchanges that are hidden behind computing take none."""
    return {"forward": split.forward, "backward": split.backward, "optimiser": split.optimiser, "exchanges": split.exposed,
            "waiting for data": split.data}  # fmt: skip


def _time(
    on: Machine, devices: int, split: dict[str, float], flops: float, watts: float | None, wall_minutes: float = 0.0, bf16: bool = False
) -> Time:
    """`flops` of one device over all that time; `wall_minutes`: of a slice of the queue (0: no limit)."""
    wall = sum(split.values())
    rate = flops / wall if wall else None
    peak = on.sheet.rate("bf16" if bf16 else "fp32")
    return Time(devices, wall, math.ceil(wall / (MINUTE * wall_minutes)) if wall_minutes else 1, split,
                None if watts is None else watts * wall * devices, rate, None if rate is None else rate / peak)  # fmt: skip
