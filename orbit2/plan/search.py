"""The ways that a model can be trained on a number of devices, and what each of them about costs: closed formulas, nothing is rehearsed.

What is estimated here orders the ways; what is said of one is what plan says (fit.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from orbit2.config.network import MeshConfig, TrainConfig
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.grid import Grid, named
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.inspect import activation_bytes, forward_flops, tokens, vocabulary
from orbit2.parallel.apply import CHECKPOINTED, parts
from orbit2.parallel.mesh import Sizes, products, sizes, unfit
from orbit2.plan import network, tiling
from orbit2.plan.devices import Device
from orbit2.plan.tiling import Size

FLOAT = 4
STATE = 4 * FLOAT  # of a parameter: itself, its gradient and two moments; its average comes on top
REACHED = 0.4  # of the rate of matrix products: about what a whole network reaches of it
TOUCHED = 4  # times that an activation is written or read in a step
CALLS, CALL = 80, 5e-6  # operators of one block's forward pass, seconds to start one
HALF, MIXED = 0.5, 0.65  # of float32's bytes: activations of a block, and outside of them, where bf16 is multiplied (rehearsed, 9.5M)
PIECE = 0.25  # of the activations outside the blocks is there at once when they are computed again


@dataclass(frozen=True)
class Choice:
    """How a model is trained: machine keys (mesh, accumulate, checkpointing), and science keys where these may change."""

    mesh: Sizes
    channels: bool
    accumulate: int
    checkpointing: str
    batch_size: int
    steps: int
    tile: Size
    tiles_per_sample: int

    @property
    def world(self) -> int:
        return self.mesh.world

    @property
    def share(self) -> int:
        """Samples of a step that the busiest rank reads."""
        return -(-self.batch_size // self.mesh.readers)

    def train(self, before: TrainConfig) -> TrainConfig:
        """`before`, trained like this on as many ranks as the mesh has."""
        axes = asdict(self.mesh)
        if before.mesh.ddp != self.mesh.ddp:
            axes["ddp"] = 0  # what the others leave
        mesh = MeshConfig(channels=self.channels, **axes)
        own = {key: getattr(self, key) for key in ("accumulate", "checkpointing", "batch_size", "steps", "tile", "tiles_per_sample")}
        return before.model_copy(update={"mesh": mesh, **own})


def laid_over(config: RunConfig, name: str, choice: Choice) -> RunConfig:
    """The run with model `name` trained as chosen."""
    section = config.models[name]
    return config.model_copy(update={"models": {**config.models, name: section.model_copy(update={"train": choice.train(section.train)})}})


@dataclass(frozen=True)
class Load:
    """One dataset's windows, for one way to cut samples: `drawn` of a sample in a step; FLOPs (forward) and bytes of activations of one
    window outside the blocks and in each of them, and the bytes of a block's input."""

    share: float
    drawn: int
    flops: int
    block_flops: int
    bytes: int
    block_bytes: int
    input: int


@dataclass(frozen=True)
class Facts:
    """What is counted once of a model: `parameters` outside the blocks and of one of its `depth` blocks; `half`: bf16 is multiplied."""

    parameters: int
    block_parameters: int
    depth: int
    average: bool
    half: bool
    loads: tuple[Load, ...]

    def per_rank(self, mesh: Sizes) -> float:
        """Parameters that a rank keeps."""
        return (self.parameters + self.depth * self.block_parameters / mesh.tp) / mesh.shards


def facts(config: RunConfig, name: str, shares: dict[str, float], tile: Size, half: bool) -> Facts:
    """Count model `name` with samples cut into cores of `tile` (0: whole ones)."""
    section, architecture = config.models[name], config.architecture_of(name)
    words = vocabulary(config, name)

    def made(depth: int) -> Downscaling:
        with torch.device("meta"):
            return build_model(architecture.model_copy(update={"depth": depth}), *words)

    whole = made(architecture.depth)
    depth = len(parts(whole, "blocks"))
    shallow = [made(min(depth, count)) for count in (1, 2)] if depth > 1 else [whole, whole]
    numbers = [sum(p.numel() for p in model.parameters()) for model in shallow]
    block = max(numbers[1] - numbers[0], 0) if depth > 1 else 0
    loads = []
    for key in section.datasets:
        cut = tiling.training(named(config.datasets[key].coarse_grid), section.region, tile, section.train.halo, architecture.patch)
        drawn = len(cut.tiling) if tiling.edges(tile) != (0, 0) else 1
        if tiling.edges(tile) != (0, 0) and section.train.tiles_per_sample:
            drawn = min(section.train.tiles_per_sample, drawn)
        members = section.train.ensemble if section.train.loss == "crps" else 0
        loads.append(_load(shallow, numbers, depth, cut.window, shares[key], drawn, members))
    train = section.train
    return Facts(numbers[0] - block, block, depth, train.ema > 0, half, tuple(loads))


def _load(shallow: Sequence[Downscaling], parameters: Sequence[int], depth: int, window: Grid, share: float, drawn: int,
          members: int) -> Load:  # fmt: skip
    flops = [forward_flops(model, window, members) for model in shallow]
    held = [activation_bytes(model, window, True, 1, members) - FLOAT * count for model, count in zip(shallow, parameters, strict=True)]
    block_flops, block_bytes = (max(b - a, 0) if depth > 1 else 0 for a, b in (flops, held))
    side = tokens(shallow[0], window) * getattr(shallow[0].config, "embed_dim", 0)
    return Load(share, drawn, flops[0] - block_flops, block_flops, max(held[0] - block_bytes, 0), block_bytes, FLOAT * side)


def choices(config: RunConfig, name: str, world: int, cuts: Iterable[tuple[Size, int]], batches: Iterable[int], drawn: int,
            inputs: int) -> Iterator[Choice]:  # fmt: skip
    """All ways for `world` ranks: meshes that the trainer accepts, both channel keys, all checkpointing, and parts of a step in doublings.

    `cuts`: (tile, tiles_per_sample) and `batches`: sizes of a step to look at; `drawn` the fewest tiles of a sample; `inputs` variables.
    """
    train, architecture = config.models[name].train, config.architecture_of(name)
    samples = train.batch_size * train.steps
    for tile, tiles_per_sample in cuts:
        tiled = tiling.edges(tile) != (0, 0)
        for batch in batches:
            for mesh in products(world):
                for channels in (False, True) if mesh.tp > 1 else (False,):
                    if unfit(mesh, architecture, batch, inputs, tiled, channels) or (tiled and mesh.tiles > drawn):
                        continue
                    least = batch // mesh.readers * (drawn if tiled else 1) // mesh.tiles
                    for accumulate in doublings(least):
                        for checkpointing in CHECKPOINTED:
                            yield Choice(mesh, channels, accumulate, checkpointing, batch, -(-samples // batch), tile, tiles_per_sample)


def doublings(largest: int) -> list[int]:
    """1, 2, 4 ... and `largest` itself."""
    return sorted({1 << k for k in range(largest.bit_length())} | {largest}) if largest else []


def memory(choice: Choice, known: Facts) -> float:
    """About the most bytes that one rank holds at once."""
    mesh = choice.mesh
    state = known.per_rank(mesh) * (STATE + (FLOAT if known.average else 0))
    gathered = 2 * FLOAT * (known.parameters + 2 * known.block_parameters / mesh.tp) if mesh.shards > 1 else 0
    return state + gathered + max(_together(choice, load) * _held(choice, load, known) for load in known.loads)


def _together(choice: Choice, load: Load) -> int:
    """Windows that go through the network at once."""
    return -(-_windows(choice, load) // choice.accumulate)


def _windows(choice: Choice, load: Load) -> int:
    """Windows of a step that the busiest rank computes."""
    return -(-choice.share * load.drawn // choice.mesh.tiles)


def _held(choice: Choice, load: Load, known: Facts) -> float:
    """Bytes of activations that one window leaves for the backward pass."""
    block = load.block_bytes * (HALF if known.half else 1) / (choice.mesh.sp * choice.mesh.tp)
    rest = load.bytes * (MIXED if known.half else 1)
    if choice.checkpointing == "none":
        return rest + known.depth * block
    kept = known.depth * load.input / choice.mesh.sp + (block if known.depth else 0)
    return kept + (rest if choice.checkpointing == "blocks" else PIECE * rest)


def seconds(choice: Choice, known: Facts, device: Device) -> float:
    """About the time of one step: sums of work and exchanges, none of which goes on beside another."""
    mesh, total = choice.mesh, 0.0
    again = {"none": (0, 0), "blocks": (0, 1), "all": (1, 1)}[choice.checkpointing]
    cut = mesh.sp * mesh.tp
    for load in known.loads:
        windows = _windows(choice, load)
        flops = load.flops * (3 + again[0]) + known.depth * load.block_flops * (3 + again[1]) / cut
        touched = load.bytes * (1 + again[0] / 3) + known.depth * load.block_bytes / cut * (1 + again[1] / 3)
        touched *= TOUCHED * (MIXED if known.half else 1)
        starts = choice.accumulate * CALLS * CALL * (known.depth * (3 + again[1]) + 2 * (3 + again[0]))
        work = windows * (flops / (device.rate("bf16" if known.half else "fp32") * REACHED) + touched / device.bandwidth)
        total += load.share * (max(work, starts) + _said(choice, known, load, device))
    return total


def _said(choice: Choice, known: Facts, load: Load, device: Device) -> float:
    """Seconds of a step's exchanges."""
    mesh = choice.mesh

    def said(kind: str, size: float, *axes: str) -> float:
        return network.seconds(kind, int(size), network.group(mesh, axes, device.per_node), device, 1.0, CALL)

    block, rest = FLOAT * known.block_parameters / mesh.tp, FLOAT * known.parameters
    gathered = HALF * block if known.half else block
    total = 0.0
    if mesh.shards > 1:
        each = choice.accumulate * (2 * said("all-gather", gathered, "fsdp", "sp") + said("reduce-scatter", block, "fsdp", "sp"))
        total += known.depth * each + said("all-gather", rest, "fsdp", "sp") + said("reduce-scatter", rest, "fsdp", "sp")
    if mesh.replicas > 1:
        blocks = known.depth * said("all-reduce", block / mesh.shards, "ddp", "tiles")
        total += blocks + said("all-reduce", rest / mesh.shards, "ddp", "tiles")
    tokens_sent = (HALF if known.half else 1) * _together(choice, load) * load.input
    passes = 3 if choice.checkpointing != "none" else 2
    if mesh.tp > 1:
        total += choice.accumulate * known.depth * 2 * passes * said("all-reduce", tokens_sent / mesh.sp, "tp")
    if mesh.sp > 1:
        total += choice.accumulate * known.depth * 4 * passes * said("all-to-all", tokens_sent / mesh.sp, "sp")
    return total


def parts_of(shape: tuple[int, int], patch: int) -> list[tuple[int, int]]:
    """Cores that cut a field of `shape` into halves, thirds ... of both sides, in whole tokens; the largest first."""
    rows, columns = shape
    return sorted({(-(-rows // k // patch) * patch, -(-columns // k // patch) * patch) for k in (2, 3, 4, 6, 8)}, reverse=True)


def worlds(per_node: int, nodes: int) -> list[int]:
    """Numbers of devices to look at up to `nodes` full nodes: parts of one node, then 1, 2, 3, 4, 6, 8, 12 ... of them and all."""
    counts = {nodes, *(n for k in range(nodes.bit_length()) for n in (1 << k, 3 << k) if n <= nodes)}
    return sorted({*(n for n in range(1, per_node + 1) if per_node % n == 0), *(per_node * n for n in counts)})


def changes(choice: Choice, before: TrainConfig) -> dict[str, Any]:
    """The keys of `train` that differ from `before`, as they stand in YAML."""
    after = choice.train(before)
    found: dict[str, Any] = {}
    mesh = {axis: getattr(after.mesh, axis) for axis in type(after.mesh).model_fields
            if getattr(after.mesh, axis) != getattr(before.mesh, axis)}  # fmt: skip
    if mesh:
        found["mesh"] = mesh
    for key in ("accumulate", "checkpointing", "batch_size", "steps", "tile", "tiles_per_sample"):
        value = getattr(after, key)
        if value != getattr(before, key):
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def changed(choice: Choice, before: TrainConfig) -> int:
    """How many keys of `train` that is."""
    return sum(len(value) if isinstance(value, dict) else 1 for value in changes(choice, before).values())


def configured(config: RunConfig, name: str, world: int) -> Choice | None:
    """How the run trains model `name` on `world` ranks; None where the trainer refuses."""
    train = config.models[name].train
    try:
        mesh = sizes(train.mesh, world, config.architecture_of(name), train.batch_size, len(vocabulary(config, name)[0]), train.tiled)
    except OrbitError:
        return None
    return Choice(mesh, train.mesh.channels, train.accumulate, train.checkpointing, train.batch_size, train.steps, train.tile,
                  train.tiles_per_sample)  # fmt: skip


def nearest(world: int, works: Sequence[int]) -> list[int]:
    """The one number below and the one above `world` that work."""
    below, above = [n for n in works if n < world], [n for n in works if n > world]
    return [*([max(below)] if below else []), *([min(above)] if above else [])]
