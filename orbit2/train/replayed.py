"""Forward pass, loss and backward pass of training batches as CUDA graphs: one launch instead of a thousand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orbit2.data.batch import Batch
from orbit2.errors import OrbitError
from orbit2.model.build import Downscaling
from orbit2.model.geometry import Geometry
from orbit2.model.replayed import Recording, one_graph
from orbit2.model.reslim import Reslim
from orbit2.train.validation import gaps_of

if TYPE_CHECKING:
    from orbit2.train.build import Setup

log = logging.getLogger(__name__)
GRAPHS = 32  # kinds of batches: shapes, places' scales, what is missing, and for spectral losses where tiles' cores lie
SEEN = 4096  # kinds that are remembered
FIELDS = ("coarse", "fine", "statics", "weights", "clock", "context", "noise")
PLACE = ("lat", "lon", "areas")
Known = tuple[Tensor, Tensor]  # what a loss and an auxiliary one are divided by, where it is known beforehand
Part = Callable[[Batch, Known | None], Tensor]  # adds to the parameters' gradients; [3], as losses.combine


def require(setup: Setup) -> None:
    """Raises OrbitError where a training cannot be replayed: off CUDA, of several processes, where decisions follow from values, or where
    a backward pass would ask for the state of random numbers."""
    config, device = setup.config, setup.here.device
    where, off = "train.cuda_graphs", "set cuda_graphs: false"
    if device.type != "cuda":
        raise OrbitError("cuda_graphs needs a CUDA device", where=where, got=str(device), hint=off)
    if setup.here.world > 1:
        raise OrbitError("cuda_graphs is for trainings of one process", where=where, got=f"{setup.here.world} ranks", hint=off)
    if isinstance(setup.model, Reslim) and not one_graph(setup.model):
        raise OrbitError("cuda_graphs needs compression off or by budget", where=where, got=setup.architecture.compression.mode, hint=off)
    random = setup.architecture.dropout or setup.architecture.drop_path
    if random and config.checkpointing != "none":
        raise OrbitError("cuda_graphs cannot compute dropout again", where=where, got=f"checkpointing: {config.checkpointing}",
                         allowed="dropout and drop_path 0, or checkpointing: none", hint=off)  # fmt: skip


@dataclass(frozen=True)
class _Kept:
    recording: Recording
    touched: tuple[nn.Parameter, ...]  # those that have a gradient


class Replays:
    """Graphs of one training, by kind of batch, each recorded when a second batch of its kind comes.

    They add to gradients that stay where they are; `begun` before a step and `ended` after its batches hand them to the parameters as
    backward passes would have: a parameter that none of them reached has none. What there is no room for, or is one kind too many, is
    said and left to the caller, and `added` after it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], cores: bool = False) -> None:
        self.cores, self.on = cores, True  # `cores`: whether the loss asks where tiles' cores lie
        self.sums = {parameter: torch.zeros_like(parameter) for parameter in parameters if parameter.requires_grad}
        self.seen, self.kept = set[Any](), dict[Any, _Kept]()
        self.used: set[nn.Parameter] = set()
        self.pool: Any = None

    def begun(self) -> None:
        self.used.clear()
        torch._foreach_zero_(list(self.sums.values()))

    def __call__(self, run: Part, model: Downscaling, batch: Batch, known: Known | None) -> Tensor | None:
        """What `run` gives for one batch of this step; None where it is not replayed: then it has not run either."""
        key = self._key(model, batch, known)
        if self.on and key in self.seen and key not in self.kept:
            self.on = self._recorded(key, run, batch, known)
        if len(self.seen) < SEEN:
            self.seen.add(key)
        if (found := self.kept.get(key)) is None:
            return None
        self.used.update(found.touched)
        return found.recording(_tensors(batch, known))

    def added(self) -> None:
        """Take what a backward pass left in the parameters, in the order of the batches."""
        for parameter, own in self.sums.items():
            if parameter.grad is not None:
                own.add_(parameter.grad)
                parameter.grad = None
                self.used.add(parameter)

    def ended(self) -> None:
        for parameter in self.used:
            parameter.grad = self.sums[parameter]

    def _key(self, model: Downscaling, batch: Batch, known: Known | None) -> Any:
        shapes = tuple(None if t is None else (t.shape, t.dtype) for t in _tensors(batch, known))
        place, gaps = batch.geometry, gaps_of(model, batch)
        cores = tuple((rows.start, rows.stop, columns.start, columns.stop) for rows, columns in batch.cores or ()) if self.cores else ()
        return shapes, place.coarse_km, place.fine_km, place.periodic, place.dataset, batch.variables, gaps, cores

    def _recorded(self, key: Any, run: Part, batch: Batch, known: Known | None) -> bool:
        """Whether a graph could be made of this kind of batch."""
        if len(self.kept) >= GRAPHS:
            log.warning("%d kinds of batches are replayed as CUDA graphs: others run as they are", GRAPHS)
            return False

        def once(*tensors: Tensor | None) -> Tensor:
            return run(*_batch(batch, tensors, known is not None))

        touched = list[nn.Parameter]()

        def between() -> None:
            """The turns that warm up have shown which parameters get gradients; the graph is to add them where they stay."""
            touched.extend(parameter for parameter in self.sums if parameter.grad is not None)
            for parameter in self.sums:
                parameter.grad = self.sums[parameter]

        with self._apart(batch.coarse.device):
            try:
                self.pool = self.pool or torch.cuda.graph_pool_handle()
                made = Recording(once, _tensors(batch, known), before=between, pool=self.pool)
            except RuntimeError as error:
                log.warning("a step cannot be recorded as a CUDA graph (%s): what is not yet runs as it is from now on",
                            " ".join(str(error).split())[:200])  # fmt: skip
                return False
        self.kept[key] = _Kept(made, tuple(touched))
        return True

    @contextmanager
    def _apart(self, device: torch.device) -> Iterator[None]:
        """Within it gradients are none, and random numbers others: after it both are what they were."""
        before = {parameter: parameter.grad for parameter in self.sums}
        for parameter in before:
            parameter.grad = None
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                yield
        finally:
            for parameter, gradient in before.items():
                parameter.grad = gradient


def _tensors(batch: Batch, known: Known | None) -> list[Tensor | None]:
    places = [getattr(batch.geometry, name) for name in PLACE]
    return [*(getattr(batch, name) for name in FIELDS), *places, *(known or ())]


def _batch(like: Batch, tensors: tuple[Tensor | None, ...], known: bool) -> tuple[Batch, Known | None]:
    """The batch and what is known that `_tensors` took apart."""
    fields: Mapping[str, Any] = dict(zip(FIELDS, tensors, strict=False))
    place: Mapping[str, Any] = dict(zip(PLACE, tensors[len(FIELDS) :], strict=False))
    rest = tensors[len(FIELDS) + len(PLACE) :]
    geometry: Geometry = replace(like.geometry, **place)
    return replace(like, **fields, geometry=geometry), (rest[0], rest[1]) if known else None  # type: ignore[return-value]
