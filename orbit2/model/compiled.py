"""torch.compile around a model, in place. Never changes weights, state_dict keys or (beyond rounding) results."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import torch
from torch import nn

from orbit2.model.aggregate import VariableAggregation
from orbit2.model.attention import Packing
from orbit2.model.blocks import Block
from orbit2.model.compress import Compression
from orbit2.model.decoder import Decoder, DecoderLayer
from orbit2.model.embed import GeographicPosition
from orbit2.model.residual import ResidualBlock, ResidualPath
from orbit2.model.reslim import Reslim

log = logging.getLogger(__name__)
Mode = Literal["off", "on", "auto"]
GRAPHS = 64  # of one part: shapes (general ones are one), periodic or not, training or not, what is missing, precisions
KERNELS = "TORCHINDUCTOR_CACHE_DIR"
# What is compiled, each as one graph; equal parts (the blocks) share theirs. One graph serves all shapes of these:
GENERAL: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (VariableAggregation, ("forward",)), (GeographicPosition, ("forward",)), (Compression, ("unpack",)),
    (Block, ("undropped", "mixed", "fed")), (DecoderLayer, ("forward",)), (Reslim, ("conserved",)),
)  # fmt: skip
# Of these, which look at neighbours, inductor wants to know the shape:
STILL: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (Compression, ("compressed",)), (Decoder, ("ended",)), (ResidualBlock, ("forward",)), (ResidualPath, ("entered", "left")),
)  # fmt: skip


def compile_model(
    model: nn.Module, mode: Mode, device: torch.device, backend: Any = "inductor", *, shapes: int = 1,
    without: tuple[type[nn.Module], ...] = (),
) -> bool:  # fmt: skip
    """Compile the parts of `model` in place when `mode` says so ("auto": on GPUs); True when it did.

    `shapes` of batches are expected: of one, every part is compiled for it (and should another come after all, GENERAL ones for all);
    of several, one graph of a GENERAL part serves them all, and STILL ones are not compiled. Each state (training, periodic, what is
    missing) has graphs of its own; where they become too many, a part goes on as it is. A model without such parts (plain convolutions) is
    compiled whole, as far as torch can. Weights and results stay as they are, to rounding; a deep copy runs its own weights.
    Parts of the kinds `without` stay as they are.
    """
    if not wants_compilation(mode, device):
        return False
    several = shapes > 1
    chosen = [*((part, True if several else None) for part in GENERAL), *((part, False) for part in STILL if not several)]
    graphs = {(kind, name): compile_function(getattr(kind, name), backend, general=general)
              for (kind, names), general in chosen for name in names}  # fmt: skip
    found = False
    for module in model.modules():
        for kind, name in graphs:
            if type(module) is kind and kind not in without and _fixed(module):
                found = True
                setattr(module, name, MethodType(graphs[kind, name], module))  # a deep copy binds it to the copy
    if not found:
        model.forward = MethodType(compile_function(type(model).forward, backend, whole=False, general=False), model)
    return True


def _fixed(module: nn.Module) -> bool:
    """Whether its shapes do not depend on values, and nothing else is to happen within it."""
    if isinstance(module, Compression):
        return module.config.mode != "threshold"
    return getattr(module, "divided", None) is None


def compile_function(
    function: Callable[..., Any], backend: Any = "inductor", *, whole: bool = True, general: bool | None = None
) -> Callable[..., Any]:
    """`function` by torch.compile: `whole` as one graph, `general` for all shapes (None: from the second on). After GRAPHS graphs,
    or where the backend fails in a forward pass, it goes on as it is."""
    import torch._dynamo.config as settings  # slow
    from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit

    settings.recompile_limit, settings.accumulated_recompile_limit = GRAPHS, 16 * GRAPHS
    graph, full = torch.compile(function, backend=backend, fullgraph=whole, dynamic=general), list[bool]()

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        if full or any(isinstance(each, Packing) for each in arguments):  # lengths of sets differ from batch to batch
            return function(*arguments, **named)
        try:
            return graph(*arguments, **named)
        except FailOnRecompileLimitHit:
            why = f"has had {GRAPHS} graphs"
        except BackendCompilerFailed as error:
            inner = getattr(error, "inner_exception", error)
            why = f"cannot be compiled here ({type(inner).__name__}: {' '.join(str(inner).split())[:120]})"
        full.append(True)
        log.warning("%s %s: from now on it runs without", function.__qualname__, why)
        return function(*arguments, **named)

    return run


def wants_compilation(mode: Mode, device: torch.device) -> bool:
    """What `mode` says for this device: "auto" is on GPUs."""
    return mode == "on" or (mode == "auto" and device.type == "cuda")


def keep_graphs(folder: Path) -> None:
    """From now on compiled kernels are kept in `folder`, for the next job too; where the user has set TORCHINDUCTOR_CACHE_DIR they stay
    there (torch itself sets it, to a folder for temporary files, which the next job on a cluster may not have)."""
    chosen = Path(os.environ.get(KERNELS, ""))
    if KERNELS not in os.environ or (chosen.parent, chosen.name[:14]) == (Path(tempfile.gettempdir()), "torchinductor_"):
        os.environ[KERNELS] = str(folder.absolute())
