"""torch.compile and CUDA graphs around a model, in place. Never changes weights, state_dict keys or (beyond rounding) results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from orbit2.errors import OrbitError
from orbit2.model.gaps import Gaps
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim

Mode = Literal["off", "on", "auto"]
# Graphs of one forward: a shape of batch, times what is missing in it (3), times training and validation. A foundation run of four
# datasets needs 14 and more; torch's own limit is 8. Each costs one compilation; the last one used is looked for first.
GRAPHS = 128
KERNELS = "TORCHINDUCTOR_CACHE_DIR"


def compile_model(model: nn.Module, mode: Mode, device: torch.device, backend: str = "inductor") -> bool:
    """Compile `model`'s forward in place when `mode` says so ("auto": on GPUs); True when it did.

    One graph per shape of batch, up to `GRAPHS`. Reslim must compile to a single graph: whether a batch has missing cells is looked
    at before it (`Gaps`). Compression by threshold and other models may break it. A deep copy of the model is compiled too,
    around its own weights.
    """
    if not wants_compilation(mode, device):
        return False
    import torch._dynamo.config as settings  # slow
    from torch._dynamo.exc import FailOnRecompileLimitHit

    whole = isinstance(model, Reslim) and one_graph(model)
    graph: Any = torch.compile(type(model).forward, backend=backend, fullgraph=whole, dynamic=False)

    def forward(
        self: Any,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        names = tuple(variables) if variables is not None else self.inputs
        known: tuple[Any, ...] = (gaps,)
        if isinstance(self, Reslim):
            known = (self.gaps(coarse, names) if gaps is None else gaps, noise)
        try:
            with settings.patch(recompile_limit=GRAPHS, accumulated_recompile_limit=4 * GRAPHS):
                result: Tensor = graph(self, coarse, statics, geometry, names, clock, *known)
        except FailOnRecompileLimitHit:
            raise OrbitError("more shapes of batches than graphs are kept for", where="compile", got=f"the {GRAPHS + 1}th",
                             allowed=str(GRAPHS), hint="set train.compile: off") from None  # fmt: skip
        return result

    model.forward = MethodType(forward, model)  # a deep copy binds it to the copy
    return True


def wants_compilation(mode: Mode, device: torch.device) -> bool:
    """What `mode` says for this device: "auto" is on GPUs."""
    return mode == "on" or (mode == "auto" and device.type == "cuda")


def keep_graphs(folder: Path) -> None:
    """From now on compiled kernels are kept in `folder`, for the next job too; where the user has set TORCHINDUCTOR_CACHE_DIR they stay
    there (torch itself sets it, to a folder for temporary files, which the next job on a cluster may not have)."""
    chosen = Path(os.environ.get(KERNELS, ""))
    if KERNELS not in os.environ or (chosen.parent, chosen.name[:14]) == (Path(tempfile.gettempdir()), "torchinductor_"):
        os.environ[KERNELS] = str(folder.absolute())


def one_graph(model: Reslim) -> bool:
    """Whether a forward pass is free of decisions and shapes that depend on the data: compression by threshold is not."""
    return model.config.compression.mode != "threshold"


def replay_model(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Make `model`'s forward replay CUDA graphs, in place, for inference: one per shape of batch, grid and completeness.

    `dtype` is the autocast type (None: float32). Raises OrbitError where CUDA graphs cannot be captured: off CUDA, or with
    compression by threshold, whose number of leaves depends on the data.
    """
    if device.type != "cuda":
        raise OrbitError("cuda_graphs needs a CUDA device", where="train.cuda_graphs", got=str(device), hint="set cuda_graphs: false")
    if not isinstance(model, Reslim) or not one_graph(model):
        raise OrbitError("cuda_graphs needs a Reslim with compression off or by budget", where="train.cuda_graphs",
                         got=type(model).__name__, hint="set cuda_graphs: false")  # fmt: skip
    kept: dict[Any, Replayed] = {}
    run = model.eval().forward

    def forward(
        self: Reslim,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        names = tuple(variables) if variables is not None else self.inputs
        gaps = self.gaps(coarse, names) if gaps is None else gaps
        tensors = (coarse, statics, geometry.lat, geometry.lon, clock, geometry.areas, noise)
        scales, whose = (geometry.coarse_km, geometry.fine_km, geometry.periodic), geometry.dataset
        key = (tuple(None if t is None else t.shape for t in tensors), scales, whose, names, gaps)
        if key not in kept:
            def once(c: Tensor, s: Tensor | None, lat: Tensor, lon: Tensor, t: Tensor | None, a: Tensor | None, z: Tensor | None) -> Tensor:
                result: Tensor = run(c, s, Geometry(lat, lon, *scales, a, whose), names, t, gaps, z)
                return result

            kept[key] = Replayed(once, tensors, dtype)
        return kept[key](tensors)

    model.forward = MethodType(forward, model)  # type: ignore[method-assign]


class Replayed:
    """A function of tensors captured once as a CUDA graph. Inputs are copied in, the result is copied out."""

    def __init__(self, run: Callable[..., Tensor], tensors: Sequence[Tensor | None], dtype: torch.dtype | None) -> None:
        self.held = [None if t is None else t.clone() for t in tensors]
        half = torch.autocast("cuda", dtype, enabled=dtype is not None, cache_enabled=False)  # cached casts would be freed
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
        side.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(side), half:
            for _ in range(3):  # libraries choose their algorithms outside the capture
                run(*self.held)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph), half:
            self.result = run(*self.held)

    def __call__(self, tensors: Sequence[Tensor | None]) -> Tensor:
        for kept, new in zip(self.held, tensors, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new)
        self.graph.replay()
        return self.result.clone()
