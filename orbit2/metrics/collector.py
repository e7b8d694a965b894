"""What the scoring stages are made of: collectors, which each gather one kind of thing from the same stream of fields. Never opens files.

A part of a task (a calendar month) is streamed once; every collector of both stages is given each variable of each time. What it has
gathered (`state`) goes into the part's file, is merged with that of the other parts in any order, and becomes rows of the table and
NetCDF files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.config.thresholds import ThresholdConfig
from orbit2.errors import OrbitError
from orbit2.metrics.binning import Bins, Partition
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field, fields_of
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import Moments, State, Statistic, moments_of
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import row_weights
from orbit2.times import Time

Array = npt.NDArray[np.float64]
Some = TypeVar("Some", bound=Statistic)


class Training(Protocol):
    """What is known of a task's truth from the training block of its dataset alone (None: not known)."""

    def span(self, name: str, space: str = ...) -> float | None: ...

    def limits(self, name: str, space: str = ...) -> tuple[float, float] | None: ...

    def quantile(self, name: str, q: float, space: str = ...) -> float | None: ...

    def climatology(self, name: str, time: Time) -> npt.NDArray[np.float64] | None: ...

    def wet_quantile(
        self, name: str, q: float, rows: npt.NDArray[np.int64] | None = ..., columns: npt.NDArray[np.int64] | None = ...
    ) -> npt.NDArray[np.float64] | None: ...

    def own_quantiles(self, name: str) -> tuple[npt.NDArray[np.float32], tuple[float, ...]] | None: ...

    @property
    def told(self) -> str:
        """In words: what it rests on."""
        ...


@dataclass(frozen=True)
class Settings:
    """What collectors are told of the run's configuration."""

    evaluate: EvaluateConfig
    diagnose: DiagnoseConfig
    thresholds: Mapping[str, ThresholdConfig] = made(default_factory=dict)  # asked of what was kept; nothing is gathered by them
    left_out: tuple[float, float, float, float] | None = None  # of the model's training: asked of what was kept


class Collector(ABC):
    """One kind of thing gathered. Memory: what one time needs, and sums; never a field per time.

    `name` is its place in a part's file, `stage` says whose table and files it fills. It is made the same way in the processes that
    stream parts and in the one that merges them: nothing may depend on which times it has seen. `paired` are sets of bins whose Moments
    it wants of every field and model: `gather` makes those of all collectors in one pass over the fields, and gives them to `put`.
    """

    name: ClassVar[str]
    stage: ClassVar[str]  # evaluate or diagnose

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        self.matched, self.settings, self.training = matched, settings, training
        self.fields = fields_of(matched.variables)
        self.paired: Mapping[str, Bins] = {}

    def put(self, scored: Scored, f: Field, model: str, which: str, row: Moments) -> None:
        """Add moments [B] of one field and model of one time, for a set of bins of `paired`."""
        return

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        """Told of every field of one time, in its space, before its models are: for what `pair` wants to know of the truth."""
        return

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        """Add one field [H, W] of one model in its space, and its truth: model by model, as ln(1 + x) of all would not fit. Nobody keeps
        or changes the arrays: the next model's come to the same place."""
        return

    def update(self, scored: Scored) -> None:
        """Add one variable of one time, all models in physical units; called last."""
        return

    @abstractmethod
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """All that was gathered, as arrays; names may be paths ("2m_temperature/reslim/n")."""

    @abstractmethod
    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add another part's, whatever the order."""

    def rows(self, table: Table, protocol: str) -> None:
        """Add this collector's rows of a protocol; by default none."""
        return

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """File name -> contents; by default none."""
        return {}


class Keeping(Collector):
    """A collector of `statistics` that are there from the start, by key: their states are its own."""

    statistics: Mapping[tuple[str, ...], Statistic]

    def state(self) -> State:
        return flat(self.statistics)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.statistics, state)


def flat(statistics: Mapping[tuple[str, ...], Statistic], under: str = "") -> State:
    """The states of several statistics in one: their keys, joined by "/" (and `under` first), before the names of their arrays."""
    first = (under,) if under else ()
    return {"/".join((*first, *key, name)): array for key, each in statistics.items() for name, array in each.state().items()}


def keyed(state: Mapping[str, npt.NDArray[Any]], under: str = "") -> Iterator[tuple[tuple[str, ...], Mapping[str, npt.NDArray[Any]]]]:
    """The way back: (key, state) of each statistic in `flat`'s. Arrays are fetched one statistic at a time."""
    found: dict[tuple[str, ...], list[str]] = {}
    for path in state:
        *key, _ = path.split("/")
        if not under or key[0] == under:
            found.setdefault(tuple(key[1:] if under else key), []).append(path)
    for wanted, paths in found.items():
        yield wanted, {path.rsplit("/", 1)[1]: state[path] for path in paths}


def merge_into(statistics: Mapping[tuple[str, ...], Statistic], state: Mapping[str, npt.NDArray[Any]], under: str = "") -> None:
    """Add `flat`'s state to the same statistics. Raises OrbitError for one that is not there."""
    for key, each in keyed(state, under):
        if key not in statistics:
            raise OrbitError("a part holds what its task has not", where="parts", got="/".join(key),
                             hint="delete the task's parts and run it again")  # fmt: skip
        statistics[key].add(each)


def add_all(
    statistics: dict[tuple[str, ...], Some], state: Mapping[str, npt.NDArray[Any]], empty: Callable[[tuple[str, ...]], Some],
    under: str = "",
) -> None:  # fmt: skip
    """Add `flat`'s state to statistics; one that is not there yet begins as `empty(key)`."""
    for key, each in keyed(state, under):
        if key not in statistics:
            statistics[key] = empty(key)
        statistics[key].add(each)


def gather(matched: Compared, collectors: Sequence[Collector], streamed: Callable[[Iterator[Scored]], Iterator[Scored]] = iter) -> None:
    """Stream every sample once through all collectors. What a sample held is gone afterwards."""
    wanted = [(collector, which, bins) for collector in collectors for which, bins in collector.paired.items()]
    partition = Partition(tuple(bins for *_, bins in wanted)) if wanted else None
    weights, fields = row_weights(matched.grid), fields_of(matched.variables)
    begun, paired, updated = ([c for c in collectors if getattr(type(c), step) is not getattr(Collector, step)]
                              for step in ("begin", "pair", "update"))  # the others have nothing to do there  # fmt: skip

    def pairs(scored: Scored, f: Field) -> None:
        """One field of all models. What it holds is gone with it: at 7 km a field is 66 MB, which the next time's baselines need."""
        truth = f.of(scored.truth)
        room = None if f.space == "physical" else np.empty_like(truth)
        for collector in begun:
            collector.begin(scored, f, truth)
        for model, values in scored.models.items():
            prediction = f.of(values, room if room is not None and room.dtype == values.dtype else None)
            rows = moments_of(prediction, truth, weights, partition) if partition is not None else []
            for (collector, which, _), row in zip(wanted, rows, strict=True):
                collector.put(scored, f, model, which, row)
            for collector in paired:
                collector.pair(scored, f, model, prediction, truth)

    for scored in streamed(matched.samples()):
        for f in fields:
            if f.variable == scored.variable:
                pairs(scored, f)
        for collector in updated:
            collector.update(scored)
        scored.forget()
