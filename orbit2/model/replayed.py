"""CUDA graphs: a function of tensors recorded once and replayed, so that a host launches one graph instead of every kernel of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from orbit2.errors import OrbitError
from orbit2.model.gaps import Gaps
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim

WARM = 3  # turns before a recording: libraries choose their algorithms outside of it


class Recording:
    """`run`, a function of tensors (None: absent), recorded once as a CUDA graph. Inputs are copied in, the result is copied out.

    `before` is called between the turns that warm up and the recording, which computes nothing yet. `pool`: memory that graphs share
    which never run at the same time. Whatever else `run` reads and writes must stay where it is. Random numbers are those of the replay.
    What fails before the recording, or for want of memory, leaves everything as it was; raises OrbitError for what cannot be recorded,
    after which this process cannot go on.
    """

    def __init__(
        self, run: Callable[..., Tensor], tensors: Sequence[Tensor | None], *, before: Callable[[], object] = lambda: None, pool: Any = None
    ) -> None:
        self.held = [None if t is None else t.clone() for t in tensors]
        self.graph = torch.cuda.CUDAGraph()
        device = next(t.device for t in tensors if t is not None)
        with torch.cuda.device(device):  # streams and graphs are the current one's
            side = _side(device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM):
                    run(*self.held)
            torch.cuda.current_stream().wait_stream(side)
            before()
            try:
                # other threads go on meanwhile: a loader's pins memory, a checkpoint's copies from the device
                with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
                    self.result = run(*self.held)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # torch cannot be trusted with anything after it: stream and memory stay the recording's
                told = " ".join(str(error).split())[:200]
                raise OrbitError("cannot be recorded as a CUDA graph", where="cuda_graphs", got=told,
                                 hint="leave it out (cuda_graphs: false) and start again: what is done is kept") from error  # fmt: skip

    def __call__(self, tensors: Sequence[Tensor | None]) -> Tensor:
        for kept, new in zip(self.held, tensors, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.result.clone()


@cache
def _side(device: torch.device) -> torch.cuda.Stream:
    """One of a device for all that warms up: libraries keep memory for every stream that they have seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, unused-ignore]


def one_graph(model: Reslim) -> bool:
    """Whether a forward pass is free of decisions and shapes that depend on the data: compression by threshold is not."""
    return model.config.compression.mode != "threshold"


def replay_model(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Make `model`'s forward replay CUDA graphs, in place, for inference: one per shape of batch, grid and completeness.

    `dtype` is the autocast type (None: float32). Raises OrbitError where CUDA graphs cannot be captured: off CUDA, or with
    compression by threshold, whose number of leaves depends on the data.
    """
    if device.type != "cuda":
        raise OrbitError("cuda_graphs needs a CUDA device", where="cuda_graphs", got=str(device), hint="leave it out")
    if not isinstance(model, Reslim) or not one_graph(model):
        raise OrbitError("cuda_graphs needs a Reslim with compression off or by budget", where="cuda_graphs",
                         got=type(model).__name__, hint="leave it out")  # fmt: skip
    kept: dict[Any, Recording] = {}
    pool: list[Any] = []
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
                # cached casts would be freed
                with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype is not None, cache_enabled=False):
                    result: Tensor = run(c, s, Geometry(lat, lon, *scales, a, whose), names, t, gaps, z)
                return result

            pool[:] = pool or [torch.cuda.graph_pool_handle()]
            kept[key] = Recording(once, tensors, pool=pool[0])
        return kept[key](tensors)

    model.forward = MethodType(forward, model)  # type: ignore[method-assign]
