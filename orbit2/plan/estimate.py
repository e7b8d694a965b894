"""What a configured model costs before it is trained: sizes, tokens, tiles, FLOPs, memory, halos. Never trains anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orbit2.config import slices
from orbit2.config.schema import RunConfig
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError, did_you_mean
from orbit2.grid import Grid, named
from orbit2.model.build import Downscaling
from orbit2.model.inspect import build, describe, size, tokens
from orbit2.parallel.mesh import Sizes, sizes
from orbit2.plan import halo, sequence, tiling
from orbit2.plan.machine import Machine, Verdict, machine, summary
from orbit2.plan.reach import token_side
from orbit2.plan.rehearse import rehearse
from orbit2.sources.times import plan_times

STATE_BYTES = {"weights": 4, "gradients": 4, "AdamW moments": 8, "weight average": 4}  # fp32 master copies


def run(
    config: RunConfig, *, model: str | None = None, device: str = "cpu", devices: int | None = None, nodes: int | None = None,
    stores: Mapping[str, Path] | None = None,
) -> tuple[str, bool]:
    """(text, whether all fits) of model `model` (default: all) of a run on `devices` devices, or on `nodes` nodes of them.

    `stores` names pair stores by dataset, where they are not in results/data. Raises OrbitError for an unknown model, device or dataset.
    """
    if model is not None and model not in config.models:
        raise OrbitError("no such model", got=model, allowed=", ".join(config.models), hint=did_you_mean(model, config.models))
    on = machine(device, devices, nodes)
    for key in stores or {}:
        if key not in config.datasets:
            raise OrbitError("no such dataset", where="--store", got=key, allowed=", ".join(config.datasets),
                             hint=did_you_mean(key, config.datasets))  # fmt: skip
    models = {name: build(config, name) for name in ([model] if model else config.models)}
    verdicts: list[Verdict] = []
    parts = [_one(config, name, built, on, stores or {}, verdicts) for name, built in models.items()]
    text = "\n\n".join("\n".join(part) for part in [summary(verdicts, on), *parts, *_sequences(config, models)])
    return text, not any(verdict.advice for verdict in verdicts)


def _one(
    config: RunConfig, name: str, built: Downscaling, on: Machine, stores: Mapping[str, Path], verdicts: list[Verdict]
) -> list[str]:
    parameters = sum(p.numel() for p in built.parameters())
    state = {part: parameters * each for part, each in STATE_BYTES.items()}
    lines = [describe(config, name), "memory of the training state (all of it; fsdp, sp and tp divide it):"]
    lines += [f"  {part:<18}{size(count):>12}" for part, count in {**state, "total": sum(state.values())}.items()]
    shares, total = shares_of_steps(config, name), 0.0
    for key in config.models[name].datasets:
        found, flops = _training(config, name, built, key, sum(state.values()) - state["gradients"], on, shares[key], verdicts)
        lines += found + _halo(config, name, built, key, stores.get(key))
        total += flops
    lines += _work(config, name, total, on)
    for task, section in config.downscale.items():
        if section.model == name:
            lines += _downscaling(config, task, built, state["weights"], on, verdicts)
    return lines


def shares_of_steps(config: RunConfig, name: str) -> dict[str, float]:
    """dataset -> its share of a model's steps: that of its training samples, as the trainer draws them."""
    counts: dict[str, int] = {}
    for key in config.models[name].datasets:
        times, period = plan_times(config.datasets[key]), config.datasets[key].split.train
        counts[key] = 0 if period is None else int(((times >= period.first) & (times <= period.last)).sum())
    return {key: count / sum(counts.values()) for key, count in counts.items()}


def _training(
    config: RunConfig, name: str, built: Downscaling, key: str, state: int, on: Machine, share: float, verdicts: list[Verdict]
) -> tuple[list[str], float]:
    """What one step costs on one rank, and FLOPs of the dataset's steps; `state` without the gradients, which count as activations do."""
    region, train, patch = config.models[name].region, config.models[name].train, built.config.patch
    grid, ranks = named(config.datasets[key].coarse_grid), on.ranks(train.batch_size)
    crowd = f"does NOT run: a step of {train.batch_size} samples feeds no more than {train.batch_size} devices"
    mesh, problem = Sizes(ddp=ranks), None
    try:
        mesh = sizes(train.mesh, ranks, built.config, train.batch_size, len(built.inputs), train.tiled)
    except OrbitError as error:
        problem = crowd if ranks > train.batch_size else f"does NOT run: {error}"
    each_rank = -(-train.batch_size // min(mesh.readers, train.batch_size))
    copies = each_rank * (train.ensemble if train.loss == "crps" else 1)  # forward passes kept for one backward pass
    used, drawn = tiling.training(grid, region, train.tile if train.tiled else 0, train.halo, patch), 1
    costs = [tiling.cost(built, "untiled", tiling.training(grid, region, 0, 0, patch), copies, trained=True)]
    if train.tiled:
        drawn = min(train.tiles_per_sample or len(used.tiling), len(used.tiling))
        costs.append(tiling.cost(built, "tiled", used, copies * drawn, trained=True))
    flops = costs[-1].flops * drawn // len(used.tiling)
    shared: list[str] = []
    if problem is None and (mesh.world, train.accumulate, train.checkpointing) != (1, 1, "none"):
        parts = -(-each_rank * drawn // mesh.tiles)
        together = -(-parts // train.accumulate)
        on_rank = rehearse(build(config, name), train, mesh, used.window, together)
        state = on_rank.state
        costs[-1] = replace(costs[-1], activations=on_rank.passing)
        unit = "tiles" if train.tiled else "samples"
        shared = [f"  mesh {mesh}: {parts} {unit} on a rank, {together} at once (accumulate {train.accumulate}), checkpointing "
                  f"{train.checkpointing}; of each rank: weights {size(on_rank.weights)}, AdamW moments {size(on_rank.moments)}, weight "
                  f"average {size(on_rank.average)}; gradients and gathered parameters count as activations"]  # fmt: skip
    found = [Verdict(f"model {name} trained on {key}", state, each.activations, on, problem) for each in costs]
    verdicts.append(found[-1])
    lines = [f"training on {key}: {each_rank} of {train.batch_size} samples of a step on each of {ranks} {on.device}"]
    lines += [*tiling.table(costs), *shared]
    if drawn < len(used.tiling):
        lines.append(f"  a step trains on {drawn} of a sample's {len(used.tiling)} tiles")
    lines += [f"  {cost.name}: {verdict.line()}" for cost, verdict in zip(costs, found, strict=True)]
    steps = share * train.steps
    total = flops * train.batch_size * steps
    about = "" if share == 1 else f"about {share:.1%} of the steps: "
    work = f"{about}{total / 1e15:.4f} PFLOP for {steps:,.0f} steps of {train.batch_size} samples"
    lines.append(f"  {flops / 1e12:.4f} TFLOP per trained sample; {work}")
    return lines, total


def _work(config: RunConfig, name: str, flops: float, on: Machine) -> list[str]:
    """The whole training beside what the devices could do at best."""
    train = config.models[name].train
    ranks = on.ranks(train.batch_size)
    lines = [f"training in all: {flops / 1e15:.4f} PFLOP for {train.steps} steps"]
    if on.peak is None:
        return [*lines, "  time on this CPU: n/a (no peak is assumed); `make demo` measures it"]
    return [*lines, f"  at the bf16 peak of {ranks} {on.device} ({on.peak / 1e12:g} TFLOP/s each): {flops / (on.peak * ranks):,.2f} s; "
                    "real runs reach a part of it"]  # fmt: skip


def _downscaling(config: RunConfig, task: str, built: Downscaling, weights: int, on: Machine, verdicts: list[Verdict]) -> list[str]:
    section = config.downscale[task]
    dataset, region, patch = config.datasets[section.dataset], config.models[section.model].region, built.config.patch
    grid = named(dataset.fine_grid if section.input == "fine" else dataset.coarse_grid)
    together = 1 if section.members else section.batch
    cut = tiling.inference(grid, region, section.tile, section.halo, patch)
    costs = [tiling.cost(built, "untiled", tiling.inference(grid, region, 0, 0, patch), together, trained=False)]
    if tiling.edges(section.tile) != (0, 0):
        costs.append(tiling.cost(built, "x".join(str(n) for n in cut.tiling.counts) + " tiles", cut, together, trained=False))
    height, width = grid.refine(built.config.refinement).shape
    lines = [f"downscale.{task}: {grid.shape[0]}x{grid.shape[1]} -> {height}x{width}", *tiling.table(costs)]
    found = [Verdict(f"task {task} downscaled", weights, each.activations, on) for each in costs]
    verdicts.append(found[-1])
    lines += [f"  {cost.name}: {verdict.line()}" for cost, verdict in zip(costs, found, strict=True)]
    if misplaced := tiling.misplaced(cut, token_side(built.config)):
        lines.append(f"  {misplaced} of {len(cut.tiling)} windows begin inside a token of the untiled field (docs/tiles.md)")
    return lines


def _halo(config: RunConfig, name: str, built: Downscaling, key: str, store: Path | None) -> list[str]:
    """Measured advice on the width of halos, or why there is none."""
    train, path = config.datasets[key].split.train, store or Path(slices.store(config, key))
    if train is None:
        return [f"halo for {key}: not measured, the dataset has no training period"]
    if store is None and not (path / "zarr.json").is_file():
        return [f"halo for {key}: not measured, {path} is not built (run the regrid stage, or name a store: --store {key}=PATH)"]
    region, grid = config.models[name].region, named(config.datasets[key].coarse_grid)
    pairs = PairStore(path)
    if not pairs.grid("coarse").same_as(grid):
        raise OrbitError("pair store is on another grid than the dataset", where=path, got=pairs.grid("coarse").describe(),
                         allowed=grid.describe())  # fmt: skip
    scales = halo.measure(pairs, (train.start, train.end), built.outputs, built.config.interpolation, region)
    lines = [f"halo for {key}, from its training period in {path}:"]
    lines += halo.lines(scales, built.config, grid if region is None else grid.crop(*grid.window(region)))
    if absent := [output for output in built.outputs if output not in {scale.variable for scale in scales}]:
        lines.append(f"  not measured, being no inputs: {', '.join(absent)}")
    return lines + _cost(config, name, built, key, scales)


def _cost(config: RunConfig, name: str, built: Downscaling, key: str, scales: list[halo.Scale]) -> list[str]:
    """What the recommended halo costs for each tile of this model's training and tasks on dataset `key`."""
    section, cells = config.models[name], halo.recommended(scales, built.config)
    dataset = config.datasets[key]
    users = [(f"models.{name}.train", dataset.coarse_grid, section.train.tile)]
    users += [(f"downscale.{task}", dataset.fine_grid if d.input == "fine" else dataset.coarse_grid, d.tile)
              for task, d in config.downscale.items() if d.model == name and d.dataset == key]  # fmt: skip
    return [
        f"  {user} (tile {tile}): {tiling.inference(named(grid), section.region, tile, cells, built.config.patch).extra:.0%} extra cells"
        for user, grid, tile in users
        if tiling.edges(tile) != (0, 0) and cells is not None
    ]


def _sequences(config: RunConfig, models: Mapping[str, Downscaling]) -> list[list[str]]:
    """The paper's arithmetic, once for every refinement and patch among the models that attend."""
    own: dict[tuple[int, int], dict[str, tuple[sequence.Output, int]]] = {}
    for name, built in models.items():
        grids: dict[str, Grid] = {key: named(config.datasets[key].coarse_grid) for key in config.models[name].datasets}
        for key, grid in grids.items():
            if count := tokens(built, grid):
                scale = built.config.refinement if built.config.kind == "reslim" else 1
                output = sequence.Output(*grid.refine(built.config.refinement).shape, len(built.outputs))
                own.setdefault((scale, built.config.patch), {})[f"{name} on {key}"] = (output, count)
    return [sequence.lines(scale, patch, rows) for (scale, patch), rows in own.items()]
