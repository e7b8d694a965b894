"""A network spread over a mesh, in place: tp and channels, then sp, compilation per block, activation checkpointing, fully_shard.

The only place that names the parts of a network. Never moves values: `fill` does, from the first rank's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.utils.checkpoint import checkpoint

from orbit2.model.blocks import Block
from orbit2.model.compiled import compile_model
from orbit2.model.compress import Compression
from orbit2.parallel.channels import split_channels
from orbit2.parallel.mesh import Mesh
from orbit2.parallel.sequence import split_sequence
from orbit2.parallel.sharded import scatter
from orbit2.parallel.tensor import split_hidden

# predictions may be views; nothing here writes into one, which is all that torch fears
warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view")
CHECKPOINTED = {"none": (), "blocks": ("blocks",), "all": ("blocks", "aggregate", "decoder", "residual")}


def apply(model: nn.Module, mesh: Mesh, *, checkpointing: str = "none", compiled: int = 0, dtype: torch.dtype | None = None) -> None:
    """Spread `model` (on any device, meta too) over `mesh`. `dtype`: what blocks are gathered and multiplied in (None: float32);
    `compiled`: its parts are, for so many shapes of batches (0: not).

    Parameters become DTensors; gradients are summed over all ranks that read different samples, tiles or tokens.
    """
    if mesh.tp is not None:
        split_hidden(model, mesh.tp)
        if mesh.channels:
            split_channels(model, mesh.tp)
    if mesh.sp is not None:
        split_sequence(model, mesh.sp)
    blocks = parts(model, "blocks")
    if compiled:  # before it is recomputed: a graph is run twice then
        exchanging = mesh.tp is not None or mesh.sp is not None  # within these
        compile_model(model, "on", mesh.device, shapes=compiled, without=(Block, Compression) if exchanging else ())
    for name in CHECKPOINTED[checkpointing]:
        for module in parts(model, name):
            for method in ("forward", "correction"):  # the residual path has two halves
                if hasattr(module, method):
                    _recompute(module, method)
    if not mesh.split:
        return
    assert mesh.parameters is not None
    sharded = mesh.sizes.shards > 1
    half = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh.parameters, reshard_after_forward=sharded, shard_placement_fn=_other(mesh), mp_policy=half)
    # what is outside the blocks is small, and keeps sums in float32 that autocast would not
    plain = MixedPrecisionPolicy(cast_forward_inputs=False)
    fully_shard(model, mesh=mesh.parameters, reshard_after_forward=False, shard_placement_fn=_other(mesh), mp_policy=plain)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            _sum(module)


def parts(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules that `name` stands for in this kind of network: each block by itself."""
    found = getattr(model, name, None)
    if isinstance(found, nn.ModuleList):
        return list(found)
    return [found] if isinstance(found, nn.Module) else []


def _recompute(module: nn.Module, method: str) -> None:
    """Keep a method's arguments alone for the backward pass, which runs it again with the same random numbers."""
    run: Callable[..., Any] = getattr(module, method)
    draws = any(getattr(each, "drop_path", 0) or (isinstance(each, nn.Dropout) and each.p) for each in module.modules())

    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=bool(draws), **named)
        return run(*arguments, **named)

    setattr(module, method, MethodType(forward, module))


def _other(mesh: Mesh) -> Callable[[nn.Parameter], Shard | None]:
    """Hybrid-OP: fsdp divides the dimension that tp does not, where it can be divided evenly (FSDP2 asks for that)."""

    def placement(parameter: nn.Parameter) -> Shard | None:
        if not isinstance(parameter, DTensor):
            return None
        taken = [p.dim for p in parameter.placements if isinstance(p, Shard)]
        for dim in range(parameter.ndim):
            if dim not in taken and dim and parameter.shape[dim] % mesh.sizes.shards == 0:
                return Shard(dim)
        return None

    return placement


def _sum(module: FSDPModule) -> None:
    """Gradients are added, not averaged: local losses are shares of the global one."""
    if hasattr(module, "set_force_sum_reduction_for_comms"):  # gloo multiplies nothing on its way
        module.set_force_sum_reduction_for_comms(True)
    setter = getattr(module, "set_gradient_divide_factor", None) or module.set_reduce_scatter_divide_factor
    setter(1.0)


@torch.no_grad()
def fill(model: nn.Module, values: Mapping[str, Tensor] | None, device: torch.device) -> None:
    """Give a spread model on the meta device memory, and the first rank's `values` (its full state, on any device; None elsewhere).

    One tensor at a time travels: no rank but the first ever holds more than its shards.
    """
    model.to_empty(device=device)
    for name, target in model.state_dict().items():
        full = torch.empty(target.shape, dtype=target.dtype, device=device)
        if values is not None:
            full.copy_(values[name])
        if dist.is_initialized():
            dist.broadcast(full, 0)
        scatter(full, target)
