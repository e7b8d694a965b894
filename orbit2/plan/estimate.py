"""What a run costs, before it is paid for: memory, FLOPs, hours, energy, disk of each model and task. Never trains anything."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from orbit2.config.comparisons import predictions
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError, one_of
from orbit2.grid import named
from orbit2.model.build import Downscaling
from orbit2.model.inspect import build, forward_flops, member_flops
from orbit2.parallel.mesh import Sizes, sizes
from orbit2.plan import price, remedy, stages, tiling
from orbit2.plan.advise import advice
from orbit2.plan.disk import stored, task_samples, training_samples
from orbit2.plan.machine import Machine, machine
from orbit2.plan.reach import token_side
from orbit2.plan.records import Halo, Memory, Model, Pieces, Plan, Stored, Task, Training
from orbit2.plan.rehearse import Rehearsal, rehearse, rehearse_prediction, staying
from orbit2.plan.time import Split

STATE_BYTES = {"weights": 4, "gradients": 4, "AdamW moments": 8, "weight average": 4}  # fp32 master copies


def plan(
    config: RunConfig, *, model: str | None = None, device: str = "cpu", devices: int | None = None, nodes: int | None = None,
    stores: Mapping[str, Path] | None = None,
) -> Plan:
    """The run (of model `model` alone: its training and its tasks) on `devices` devices, or on `nodes` nodes of them.

    `stores` names pair stores by dataset, where they are not in results/data. Raises OrbitError for an unknown model, device or dataset.
    """
    if model is not None and model not in config.models:
        raise OrbitError("no such model", where="--model", got=model, allowed=", ".join(config.models),
                         hint=one_of(model, config.models))  # fmt: skip
    for key in stores or {}:
        if key not in config.datasets:
            raise OrbitError("no such dataset", where="--store", got=key, allowed=", ".join(config.datasets),
                             hint=one_of(key, config.datasets))  # fmt: skip
    return plan_on(config, machine(device, devices, nodes), model, stores or {})


def plan_on(config: RunConfig, on: Machine, model: str | None = None, stores: Mapping[str, Path] | None = None) -> Plan:
    """The same on a machine that was chosen."""
    chosen = [model] if model else list(config.models)
    built = {name: build(config, name) for name in chosen}
    with staying():
        models = tuple(training(config, name, built[name], on, stores or {}) for name in chosen if config.models[name].imported is None)
    tasks = tuple(prediction(config, task, built[section.model], on)
                  for task, section in predictions(config).items() if section.model in built)  # fmt: skip
    kept = _stored(config, built, model)
    works = stages.works(config, on, kept) if model is None else ()
    return Plan(config.label, on.device, on.count, on.nodes, on.asked, models, tasks, kept, shutil.disk_usage(".").free,
                price.assumptions(on), works, stages.cores_of(on))  # fmt: skip


def _stored(config: RunConfig, built: Mapping[str, Downscaling], model: str | None) -> tuple[Stored, ...]:
    """All that the run puts on disk; for one model its own files alone."""
    found = stored(config, {name: sum(p.numel() for p in one.parameters()) for name, one in built.items()})
    own = {*built, *(task for task, section in predictions(config).items() if section.model in built)}
    return found if model is None else tuple(one for one in found if one.kind in ("model", "checkpoints", "prediction") and one.name in own)


def shares_of_steps(config: RunConfig, name: str) -> dict[str, float]:
    """dataset -> its share of a model's steps: that of its training samples, as the trainer draws them."""
    counts = {key: training_samples(config, key) for key in config.models[name].datasets}
    return {key: count / sum(counts.values()) for key, count in counts.items()}


def training(
    config: RunConfig, name: str, built: Downscaling, on: Machine, stores: Mapping[str, Path], *, advised: bool = True
) -> Model:
    """What training model `name` takes; `built` is that model on the meta device. Unless `advised` no halo is measured on stores, and
    nothing is said of how a long one could be made shorter."""
    train, shares = config.models[name].train, shares_of_steps(config, name)
    ranks = on.ranks(train.batch_size)
    mesh, problem = Sizes(ddp=ranks), None
    try:
        mesh = sizes(train.mesh, ranks, built.config, train.batch_size, len(built.inputs), train.tiled)
    except OrbitError as error:
        crowd = f"a step of {train.batch_size} samples feeds no more than {train.batch_size} devices"
        problem = f"does NOT run: {crowd if ranks > train.batch_size else error}"
    parameters = sum(p.numel() for p in built.parameters())
    bf16 = price.multiplies_bf16(train.precision, on)
    found = [_steps(config, name, built, key, on, mesh, problem, shares[key], bf16,
                    advice(config, name, built, key, stores.get(key)) if advised else Halo("", "not asked for"))
             for key in shares]  # fmt: skip
    steps = [each for each, _ in found]
    time = price.whole(config, name, steps, on, mesh, found[0][1], bf16)
    return Model(
        name, built.config.kind, parameters, {part: parameters * each for part, each in STATE_BYTES.items()}, train.steps,
        train.batch_size, ranks, str(mesh), train.checkpointing, train.accumulate, "bf16" if bf16 else "fp32",
        sum(each.flops * train.batch_size * each.steps for each in steps), tuple(steps),
        time, remedy.needs(config, name, time.wall or 0.0, ranks) if advised else (),
    )  # fmt: skip


def _steps(
    config: RunConfig, name: str, built: Downscaling, key: str, on: Machine, mesh: Sizes, problem: str | None, share: float, bf16: bool,
    halo: Halo,
) -> tuple[Training, tuple[Rehearsal, Split] | None]:
    """The steps on one dataset, and one of them as it was rehearsed, where ranks can be arranged like that at all."""
    train, region, patch = config.models[name].train, config.models[name].region, built.config.patch
    grid = named(config.datasets[key].coarse_grid)
    each = -(-train.batch_size // min(mesh.readers, train.batch_size))
    used, drawn = tiling.training(grid, region, train.tile if train.tiled else 0, train.halo, patch), 1
    cuts = [tiling.training(grid, region, 0, 0, patch)]
    if train.tiled:
        drawn, cuts = min(train.tiles_per_sample or len(used.tiling), len(used.tiling)), [*cuts, used]
    parts = -(-each * drawn // mesh.tiles)
    together = -(-parts // train.accumulate)
    members = train.ensemble if train.loss == "crps" else 0
    costs = [tiling.cost(built, label, cut, count, trained=True, members=members, frozen=train.freeze_trunk)
             for label, cut, count in zip(("untiled", "tiled"), cuts, (each, together)[-len(cuts):], strict=False)]  # fmt: skip
    flops = costs[-1].flops * drawn // len(used.tiling)
    step: Rehearsal | None = None
    split: Split | None = None
    if problem is None:
        step = rehearse(build(config, name), train, mesh, used.window, together, dtype=torch.bfloat16 if bf16 else None,
                        gpu=not on.sheet.processor)  # fmt: skip
        split = price.step_of(step, on, parts, bf16, train.cuda_graphs)
        memory = Memory(step.memory, on.memory)
    else:
        parameters = sum(p.numel() for p in built.parameters())
        state = {"weights": 4 * parameters, "optimiser": 8 * parameters, "average": 4 * parameters}
        memory = Memory({**state, "gradients and activations": costs[-1].activations}, on.memory, problem)
    time = price.steps(split, problem, on, mesh.world, share * train.steps, bf16)
    return Training(
        key, grid.shape, grid.refine(built.config.refinement).shape, training_samples(config, key), share, share * train.steps, each,
        parts, together, drawn, flops, tuple(pieces(cost) for cost in costs), memory, time, halo,
        _exchanged(step),
    ), None if step is None or split is None else (step, split)  # fmt: skip


def _exchanged(step: Rehearsal | None) -> dict[str, int]:
    """Bytes that a rank gives to collectives in a step, by the axes of the mesh."""
    found: dict[str, int] = {}
    for each in step.collectives if step else ():
        if each.axes:  # not with itself alone
            axes = " x ".join(each.axes)
            found[axes] = found.get(axes, 0) + each.bytes
    return found


def pieces(cost: tiling.Cost) -> Pieces:
    cut = cost.cut.tiling
    return Pieces(cost.name, len(cut), cut.core, cut.padded, cost.tokens, cost.flops, cost.cut.extra, cost.activations)


def prediction(config: RunConfig, task: str, built: Downscaling, on: Machine) -> Task:
    """What a task takes; `built` is its model on the meta device."""
    section = predictions(config)[task]
    dataset, region, patch = config.datasets[section.dataset], config.models[section.model].region, built.config.patch
    grid = named(dataset.fine_grid if section.input == "fine" else dataset.coarse_grid)
    together = 1 if section.members else min(section.batch, section.time_block)
    cut = tiling.of_task(grid, config, section, patch)
    tiled = tiling.edges(section.tile) != (0, 0)
    whole = tiling.inference(grid, region, 0, 0, patch) if tiled else cut
    costs = [tiling.cost(built, "untiled" if len(whole.tiling) == 1 else "as trained", whole, together, trained=False)]
    if tiled:
        costs.append(tiling.cost(built, "x".join(str(n) for n in cut.tiling.counts) + " tiles", cut, together, trained=False))
    samples = task_samples(config, task)
    bf16 = price.multiplies_bf16(section.precision, on)
    step = rehearse_prediction(build(config, section.model), cut.window, together, torch.bfloat16 if bf16 else None,
                               gpu=not on.sheet.processor)  # fmt: skip
    memory = Memory(step.memory, on.memory)
    share = member_flops(built, cut.window) / max(forward_flops(built, cut.window), 1) if section.members else 0.0
    passes = samples * (1 + share * (section.members - 1)) if section.members else samples  # members share one trunk
    return Task(
        task, section.model, section.dataset, grid.shape, grid.refine(built.config.refinement).shape, samples, section.members,
        section.batch, section.blocks, "bf16" if bf16 else "fp32", float(costs[-1].flops * passes), tuple(pieces(cost) for cost in costs),
        tiling.misplaced(cut, token_side(built.config)), task not in config.downscale, memory,
        price.task(config, task, built, step, cut, together, passes, samples * max(section.members, 1), on, bf16),
    )  # fmt: skip
