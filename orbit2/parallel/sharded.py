"""Tensors that ranks share out (DTensor): this rank's part, the whole, and back; on what, and among whom. Never decides any of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

HINT = "While redistributing from"  # how torch begins its advice to flatten a mesh, many lines long


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, sharing its memory; a plain tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, on all ranks (collective); a plain one itself."""
    if not isinstance(tensor, DTensor):
        return tensor
    with _without_advice():
        return tensor.full_tensor()


def scatter(full: Tensor, target: Tensor) -> None:
    """Copy this rank's part of `full` (the same on all ranks) into `target`."""
    if not isinstance(target, DTensor):
        target.copy_(full)
        return
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
    window = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    target.to_local().copy_(full[window])


def reshard(model: nn.Module) -> None:
    """Let go of what was gathered of a model's parameters: the next pass gathers them anew, as they are then.

    A pass without a backward one keeps them (FSDP2), and the next would compute with what they were.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def layout(tensor: Tensor) -> object:
    """The same for tensors that are laid out alike: mesh and placements; None for plain ones."""
    return (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None


def sharing(tensor: Tensor) -> list[ProcessGroup]:
    """The groups of ranks among which a tensor is divided, one an axis: not those that hold copies of each other's part."""
    if not isinstance(tensor, DTensor):
        return []
    return [tensor.device_mesh.get_group(axis) for axis, placement in enumerate(tensor.placements) if not placement.is_replicate()]


def mesh_of(tensor: Tensor) -> DeviceMesh | None:
    """What a tensor is spread over; None for a plain one."""
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


def axes(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Names and sizes of the axes that tensors are spread over."""
    meshes = {mesh for mesh in map(mesh_of, tensors) if mesh is not None}
    return {axis: int(size) for mesh in meshes for axis, size in zip(mesh.mesh_dim_names or (), mesh.shape, strict=False)}


@contextmanager
def _without_advice() -> Iterator[None]:
    """One exchange per axis is meant here: a whole tensor is wanted seldom, and no flattened mesh is kept for it."""
    logger = logging.getLogger("torch.distributed.tensor._redistribute")

    def other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(HINT)

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
