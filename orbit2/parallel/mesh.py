"""Which rank does what: the mesh `ddp x tiles x fsdp x sp x tp`, its checks and its named groups. Never starts or moves anything.

Outermost, over the slowest network, first: ranks that talk most (tp) are neighbours. Ranks with the same (ddp, tiles, fsdp) hold the
same samples; `sp` splits their tokens, `tp` their hidden width and, with `channels`, their input variables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from orbit2.config.network import ArchitectureConfig, MeshConfig
from orbit2.errors import OrbitError

if TYPE_CHECKING:
    from orbit2.parallel.launch import Ranks

AXES = ("ddp", "tiles", "fsdp", "sp", "tp")
TRANSFORMERS = ("reslim", "vit")  # kinds whose blocks sp and tp know


@dataclass(frozen=True)
class Sizes:
    """How many ways each axis splits the work; their product is the number of ranks."""

    ddp: int = 1
    tiles: int = 1
    fsdp: int = 1
    sp: int = 1
    tp: int = 1

    @property
    def world(self) -> int:
        return math.prod(astuple(self))

    @property
    def replicas(self) -> int:
        """Copies of every shard of the parameters."""
        return self.ddp * self.tiles

    @property
    def shards(self) -> int:
        """Ranks that a parameter (a tensor-parallel slice of it, with tp) is divided among."""
        return self.fsdp * self.sp

    @property
    def readers(self) -> int:
        """Ways that the samples of a step are shared; the tile axis cuts each share again."""
        return self.ddp * self.fsdp

    @property
    def data(self) -> int:
        """Ranks that differ in what they read: the loss is a sum over them."""
        return self.ddp * self.tiles * self.fsdp

    def place(self, rank: int) -> dict[str, int]:
        """Where a rank stands on each axis: neighbours differ in tp."""
        place = {}
        for axis in reversed(AXES):
            rank, place[axis] = divmod(rank, getattr(self, axis))
        return place

    def __str__(self) -> str:
        return " x ".join(f"{axis} {size}" for axis, size in zip(AXES, astuple(self), strict=True) if size > 1) or "nothing split"


def sizes(config: MeshConfig, world: int, architecture: ArchitectureConfig, batch: int, inputs: int, tiled: bool = False) -> Sizes:
    """The mesh of `world` ranks: `ddp: 0` takes what the other axes leave.

    `batch` samples a step over all ranks, `inputs` input variables, `tiled`: whether samples are cut. Raises OrbitError, with the nearest
    mesh that works, where the product is not `world` or the model or the batch cannot be split like that.
    """
    others = config.tiles * config.fsdp * config.sp * config.tp
    asked = Sizes(config.ddp or max(world // others, 1), config.tiles, config.fsdp, config.sp, config.tp)
    channels = config.channels
    wrong = f"{asked} takes {asked.world} rank(s), and {world} started" if asked.world != world else None
    wrong = wrong or unfit(asked, architecture, batch, inputs, tiled, channels)
    if wrong is None:
        return asked
    close = nearest(asked, world, architecture, batch, inputs, tiled, channels)
    raise OrbitError("the mesh does not fit", where="train.mesh", got=wrong,
                     allowed=f"for {world} rank(s) for example {close}" if close else f"no mesh of {world} ranks: take fewer",
                     hint="change train.mesh, train.batch_size or the number of ranks")  # fmt: skip


def unfit(mesh: Sizes, architecture: ArchitectureConfig, batch: int, inputs: int, tiled: bool, channels: bool) -> str | None:
    """Why the model or the batch cannot be split like that; None when it can."""
    heads, hidden = architecture.heads, int(architecture.embed_dim * architecture.mlp_ratio)
    if mesh.readers > batch:
        return f"{mesh.readers} ranks (ddp x fsdp) share {batch} samples a step (train.batch_size)"
    if mesh.tiles > 1 and not tiled:
        return f"tiles {mesh.tiles} without train.tile: samples are not cut"
    if mesh.sp * mesh.tp > 1 and architecture.kind not in TRANSFORMERS:
        return f"sp and tp split transformers ({', '.join(TRANSFORMERS)}), not kind {architecture.kind}"
    if heads % mesh.tp:
        return f"tp {mesh.tp} does not divide {heads} heads"
    if hidden % mesh.tp:
        return f"tp {mesh.tp} does not divide the {hidden} hidden features of a block's MLP"
    if (heads // mesh.tp) % mesh.sp:
        return f"sp {mesh.sp} does not divide the {heads // mesh.tp} heads of a rank"
    if channels and mesh.tp > inputs:
        return f"tp {mesh.tp} is more than the {inputs} input variables that `channels` shares out"
    return None


def nearest(
    asked: Sizes, world: int, architecture: ArchitectureConfig, batch: int, inputs: int, tiled: bool, channels: bool
) -> Sizes | None:
    """The mesh of `world` ranks that works and is closest to `asked`, axis by axis as a ratio; None when there is none."""
    good = (mesh for mesh in products(world) if unfit(mesh, architecture, batch, inputs, tiled, channels) is None)

    def distance(mesh: Sizes) -> float:
        weights = (1.0, 2.0, 2.0, 2.0, 2.0)  # copies are what one changes first
        return sum(w * abs(math.log(a / b)) for w, a, b in zip(weights, astuple(mesh), astuple(asked), strict=True))

    return min(good, key=distance, default=None)


def products(world: int) -> Iterator[Sizes]:
    """Every mesh of `world` ranks."""
    divisors = [n for n in range(1, world + 1) if world % n == 0]
    for tp in divisors:
        for sp in (n for n in divisors if (world // tp) % n == 0):
            for fsdp in (n for n in divisors if (world // tp // sp) % n == 0):
                rest = world // tp // sp // fsdp
                yield from (Sizes(rest // tiles, tiles, fsdp, sp, tp) for tiles in divisors if rest % tiles == 0)


class Mesh:
    """This rank's place, and the groups it talks to. Everything is None or 0 for one process.

    `parameters`: (replicate, shard) for `fully_shard`; `tp`, `sp`: meshes of one dimension; `data`: the group whose local losses add up
    to the global one (this rank's sp and tp are the same in all of it).
    """

    def __init__(self, shape: Sizes, here: Ranks, channels: bool = False) -> None:
        self.sizes, self.channels, self.device = shape, channels, here.device
        self.place = shape.place(here.rank)
        self.parameters: DeviceMesh | None = None
        self.tp: DeviceMesh | None = None
        self.sp: DeviceMesh | None = None
        self.data: dist.ProcessGroup | None = None
        if here.world == 1:
            return
        kind = here.device.type
        weights = init_device_mesh(kind, (shape.replicas, shape.shards, shape.tp), mesh_dim_names=("replicate", "shard", "tp"))
        tokens = init_device_mesh(kind, (shape.data, shape.sp, shape.tp), mesh_dim_names=("data", "sp", "model"))
        self.parameters = weights["replicate", "shard"]
        self.tp = weights["tp"] if shape.tp > 1 else None
        self.sp = tokens["sp"] if shape.sp > 1 else None
        self.data = tokens["data"].get_group()

    @property
    def reader(self) -> int:
        """Which share of a step's samples this rank reads, of `sizes.readers`."""
        return self.place["ddp"] * self.sizes.fsdp + self.place["fsdp"]

    @property
    def part(self) -> int:
        """This rank's place among the `sizes.data` that differ in what they read."""
        return (self.place["ddp"] * self.sizes.tiles + self.place["tiles"]) * self.sizes.fsdp + self.place["fsdp"]

    @property
    def split(self) -> bool:
        """Whether there is more than one rank."""
        return self.parameters is not None

    def __str__(self) -> str:
        return str(self.sizes) + (", channels over tp" if self.channels and self.sizes.tp > 1 else "")
