"""Reads the days that a task's parts keep, as lazy arrays over time and space. Never holds more than the rows of blocks asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import cftime
import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import CachingFileManager

from orbit2 import times
from orbit2.errors import OrbitError, one_of
from orbit2.grid import AnyGrid, Grid, from_attributes
from orbit2.metrics import parts
from orbit2.metrics.netcdf import coordinates
from orbit2.variables import cell_methods, variable

TRUTH, INPUT = "truth", "input"
STAND_IN = "nearest"  # this baseline is the input: each fine cell has its coarse cell's value
PLACE = "diagnose/kept"
CHUNK = parts.PIECE  # blocks that are read together through all days: 24 years of them are 36 MB
Float32 = npt.NDArray[np.float32]


class Piece(Protocol):
    """Days of one part: arrays by name, read in pieces."""

    @property
    def names(self) -> frozenset[str]: ...

    def get(self, name: str, where: tuple[slice, ...] = ()) -> npt.NDArray[Any]: ...

    def into(self, out: Float32, name: str, where: tuple[slice, ...]) -> None: ...


@dataclass(frozen=True, eq=False)
class AtHand:
    """In memory."""

    arrays: Mapping[str, npt.NDArray[Any]]
    names: frozenset[str]

    def get(self, name: str, where: tuple[slice, ...] = ()) -> npt.NDArray[Any]:
        return np.asarray(self.arrays[name][where or ()])

    def into(self, out: Float32, name: str, where: tuple[slice, ...]) -> None:
        out[...] = self.arrays[name][where]


def at_hand(state: Mapping[str, npt.NDArray[Any]]) -> AtHand:
    return AtHand(state, frozenset(state))


@dataclass(frozen=True, eq=False)
class Stored:
    """In a part's file, which is opened when something is read, and closed again when many others are open."""

    manager: CachingFileManager[h5py.File]
    place: str
    names: frozenset[str]
    small: Mapping[str, npt.NDArray[Any]]

    @classmethod
    def of(cls, state: parts.Stored) -> Stored:
        return cls(CachingFileManager(h5py.File, state.group.file.filename, mode="r"), state.group.name, frozenset(state.names),
                   state.small)  # fmt: skip

    def get(self, name: str, where: tuple[slice, ...] = ()) -> npt.NDArray[Any]:
        if name in self.small:
            return np.asarray(self.small[name][where or ()])
        return np.asarray(self.manager.acquire()[f"{self.place}/{name}"][where or ()])

    def into(self, out: Float32, name: str, where: tuple[slice, ...]) -> None:
        """Read to where it shall be: half the time of reading it somewhere and copying it."""
        if name in self.small:
            out[...] = self.small[name][where]
        else:
            self.manager.acquire()[f"{self.place}/{name}"].read_direct(out, where)


def read(folder: str | Path) -> KeptDays:
    """The days that the parts of a task in `folder` (`evaluate/<task>/parts`) keep. Raises OrbitError where there are none."""
    pieces: list[Piece] = []
    for path in sorted(Path(folder).glob("*.h5")):
        try:
            with h5py.File(path, "r") as file:
                if PLACE in file and len(file[PLACE]):
                    pieces.append(Stored.of(parts.Stored(file[PLACE])))
        except OSError as error:
            raise OrbitError("part cannot be read", where=path, got=" ".join(str(error).split())[:80],
                             hint="delete it and run it again") from None  # fmt: skip
    if not pieces:
        raise OrbitError("no days are kept here", where=folder, hint="run `orbit2 evaluate part` for the months of the task")
    return KeptDays(pieces)


class KeptDays:
    """All whole days of a task on its blocks of cells: `values`, `means`, `squared` and `share` by variable and model.

    `times` (T,): a time per day, datetime64[ns] or, in another calendar than the standard one, cftime. A day of which samples are missing
    is left out. All arrays are xr.DataArrays over (time, lat, lon), or without time, on `grid`, whose cells are blocks of `step` x `step`
    cells; chunks are rows of blocks with all their days. `models` begin with TRUTH; INPUT is what was given to the model, each cell having
    the value of the coarse cell that holds it.
    Raises OrbitError for pieces of different blocks or calendars, and for a day that two of them have.
    """

    def __init__(self, pieces: Sequence[Piece], order: tuple[Iterable[str], Iterable[str]] = ((), ())) -> None:
        self.pieces = list(pieces)
        about = [_about(piece) for piece in self.pieces]
        if any(one != about[0] for one in about):
            raise OrbitError("parts keep different blocks of cells", where="parts", got=f"{len(set(about))} kinds in {len(about)} parts",
                             hint="delete the task's parts and run them again")  # fmt: skip
        first = self.pieces[0]
        self.grid: AnyGrid = (from_attributes(json.loads(bytes(first.get("about/grid")[()]))) if "about/grid" in first.names else
                              Grid(first.get("about/lat_edges"), first.get("about/lon_edges")))  # fmt: skip
        self.calendar = bytes(first.get("about/calendar")[()]).decode()
        self.step, self._a_day = int(first.get("about/step")), int(first.get("about/samples_a_day"))
        paths = {name for piece in self.pieces for name in piece.names if not name.startswith("about/")}
        self.variables = _ordered({path.split("/")[0] for path in paths}, order[0])
        series = [path.split("/") for path in paths if path.count("/") == 2]
        held = {name: {model for variable, model, _ in series if variable == name} for name in self.variables}
        self._models = {name: _ordered(models | ({INPUT} if STAND_IN in models else set()), (TRUTH, *order[1]))
                        for name, models in held.items()}  # fmt: skip
        self._paths = paths
        self._places = {name: self._found(name) for name in self.variables}
        self._series: dict[str, Series] = {}
        numbers = [place.numbers for places in self._places.values() for place in places]
        self.numbers: npt.NDArray[np.int64] = np.unique(np.concatenate(numbers)) if numbers else np.zeros(0, dtype=np.int64)

    def closed(self) -> KeptDays:
        """Itself, with no file open: of processes that are forked now each opens its own when it reads."""
        for piece in self.pieces:
            if isinstance(piece, Stored):
                piece.manager.close()
        return self

    def _found(self, name: str) -> list[Place]:
        """Where the days lie of which all samples are there, in one piece or in several together."""
        held = [(piece, piece.get(f"{name}/days"), piece.get(f"{name}/samples")) for piece in self.pieces if f"{name}/days" in piece.names]
        numbers, which = np.unique(np.concatenate([days for _, days, _ in held]), return_inverse=True)
        counted = np.bincount(which, weights=np.concatenate([samples for *_, samples in held]))
        if (counted > self._a_day).any():
            raise OrbitError("two parts keep the same day", where="parts", got=f"{name}, day {numbers[counted.argmax()]} since 1850",
                             hint="delete the task's parts and run them again")  # fmt: skip
        found = []
        for piece, days, samples in held:
            local = np.flatnonzero(np.isin(days, numbers[counted == self._a_day]))
            if len(local):
                found.append(Place(piece, days[local], local, samples[local]))
        return found

    @property
    def _rows(self) -> int:
        return max(1, CHUNK // self.grid.shape[1])

    def stretches(self) -> list[slice]:
        """Of rows of blocks, one after the other, that are read together through all days: chunks of every array."""
        return [slice(start, min(start + self._rows, self.grid.shape[0])) for start in range(0, self.grid.shape[0], self._rows)]

    @property
    def stamps(self) -> list[str]:
        """Of the days, `2026-03-30T00:00:00`: what `orbit2.times` makes years and seasons of."""
        return times.stamps(self.times)

    @property
    def models(self) -> tuple[str, ...]:
        """Of any variable."""
        return tuple(dict.fromkeys(model for models in self._models.values() for model in models))

    def models_of(self, name: str) -> tuple[str, ...]:
        """Of a variable, TRUTH first."""
        return self._models[self._known(name)]

    @cached_property
    def times(self) -> npt.NDArray[Any]:
        if self.calendar == "standard":
            return (np.datetime64("1850-01-01", "D") + self.numbers.astype("timedelta64[D]")).astype("datetime64[ns]")
        return np.asarray(cftime.num2date(self.numbers, "days since 1850-01-01", calendar=self.calendar))

    @cached_property
    def area(self) -> xr.DataArray:
        """Of the blocks, km2."""
        return self._map(self.grid.area_km2, units="km2", long_name="Area of the block")

    @property
    def lat(self) -> xr.DataArray:
        """Of the blocks' centres: (lat), or (y, x) where no row is a parallel."""
        return coordinates(self.grid)["lat"]

    @property
    def lon(self) -> xr.DataArray:
        return coordinates(self.grid)["lon"]

    @cached_property
    def land_fraction(self) -> xr.DataArray:
        """Of the blocks: for means."""
        return self._map(self.pieces[0].get("about/land_fraction"), units="1", long_name="Land fraction of the block")

    @cached_property
    def land_fraction_of_cells(self) -> xr.DataArray:
        """Of the cells in their middle: for values."""
        return self._map(self.pieces[0].get("about/land_fraction_of_cells"), units="1", long_name="Land fraction of the cell")

    def rows(self, what: str, name: str, model: str, stretch: slice) -> Float32:
        """[T, rows, columns] of a stretch of rows of blocks of `values`, `means` or `squared`, or of the `share`, which is no model's: what
        those say, at once and without dask, which takes several times as long for as little."""
        return self._read(what, name, model, lambda series: series[:, stretch, :])

    def day(self, what: str, name: str, model: str, number: int) -> Float32:
        """[rows, columns] of one day, by its position; the lazy arrays read all days for it."""
        return self._read(what, name, model, lambda series: series.day(number))

    def _read(self, what: str, name: str, model: str, take: Callable[[Series], Float32]) -> Float32:
        path = f"{name}/share" if what == "share" else f"{name}/{self._source(name, model)}/{what}"
        if path in self._paths or what == "values":
            return take(self._of(name, path))
        if what == "share":
            return np.isfinite(self._read("values", name, TRUTH, take)).astype(np.float32)
        if what == "means":
            return self._read("values", name, model, take)
        squared: Float32 = (self._read("means", name, model, take) - self._read("means", name, TRUTH, take)) ** 2
        return squared

    def values(self, name: str, model: str = TRUTH) -> xr.DataArray:
        """Of the cell in the middle of each block: a cell's own days, for thresholds and extremes."""
        return self._days(name, model, "values", "value of the cell in the middle of the block")

    def means(self, name: str, model: str = TRUTH) -> xr.DataArray:
        """Area-weighted over what is known of each block."""
        kept = f"{name}/{self._source(name, model)}/means" in self._paths
        return self._days(name, model, "means" if kept else "values", "area-weighted mean over the block")

    @cached_property
    def apart(self) -> bool:
        """Whether squared errors are kept: where a day has several samples, or a block several cells, they are no squares of means."""
        return any(path.endswith("/squared") for path in self._paths)

    def squared(self, name: str, model: str) -> xr.DataArray:
        """Mean over each block (and the samples of the day) of (model - truth)^2."""
        if f"{name}/{self._source(name, model)}/squared" in self._paths:
            return self._days(name, model, "squared", "mean squared error of the block", square=True)
        made = (self.means(name, model) - self.means(name, TRUTH)) ** 2
        return made.assign_attrs(long_name="mean squared error of the block", units=_square(name))

    def share(self, name: str) -> xr.DataArray:
        """Of each block's area that is known, 0 to 1."""
        if f"{name}/share" in self._paths:
            return self._lazy(name, f"{name}/share", {"units": "1", "long_name": "Share of the block's area that is known"})
        return self.values(name).notnull().astype(np.float32)

    def _days(self, name: str, model: str, what: str, about: str, square: bool = False) -> xr.DataArray:
        source = self._source(name, model)
        attrs = {"units": _square(name) if square else variable(name).units, "long_name": f"{variable(name).long_name}, {about}",
                 "cell_methods": cell_methods(name, 24)}  # fmt: skip
        return self._lazy(name, f"{name}/{source}/{what}", attrs if square else {**attrs, "standard_name": variable(name).standard_name})

    def _lazy(self, name: str, path: str, attrs: Mapping[str, str]) -> xr.DataArray:
        from orbit2.lazy import da

        array = da.from_array(  # type: ignore[no-untyped-call]
            self._of(name, path), chunks=(-1, self._rows, -1), name=f"kept-{path}-{uuid4().hex}", asarray=False, fancy=False,
            meta=np.zeros((0, 0, 0), dtype=np.float32),
        )
        return xr.DataArray(array, dims=("time", *self.grid.dims), coords={"time": self.times, **coordinates(self.grid)}, attrs=dict(attrs))

    def _of(self, name: str, path: str) -> Series:
        if path not in self._series:
            self._series[path] = Series(path, self._places[name], self.numbers, self.grid.shape)
        return self._series[path]

    def _map(self, field: npt.NDArray[Any], **attrs: str) -> xr.DataArray:
        return xr.DataArray(field, dims=self.grid.dims, coords=coordinates(self.grid), attrs=attrs)

    def _known(self, name: str) -> str:
        if name not in self._models:
            raise OrbitError("no days are kept of this variable", where="parts", got=name, allowed=", ".join(self.variables),
                             hint=one_of(name, self.variables))  # fmt: skip
        return name

    def _source(self, name: str, model: str) -> str:
        """Where a model's days lie: those of the input are those of a baseline. Raises OrbitError for one that has none."""
        models = self.models_of(name)
        if model not in models:
            raise OrbitError("no days are kept of this model", where=name, got=model, allowed=", ".join(models),
                             hint="run the evaluate stage again with this baseline")  # fmt: skip
        stands_in = model == INPUT and f"{name}/{INPUT}/values" not in self._paths
        return STAND_IN if stands_in else model


@dataclass(frozen=True, eq=False)
class Place:
    """Days in a piece: their `numbers`, their positions in it, and how many samples each is of there."""

    piece: Piece
    numbers: npt.NDArray[np.int64]
    local: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]


class Series:
    """What dask slices: an array (T, rows, columns) whose days lie in several pieces; NaN where none has one. A day that several have
    (parts of less than a day) is the mean over its samples."""

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, path: str, places: Sequence[Place], numbers: npt.NDArray[np.int64], shape: tuple[int, int]) -> None:
        self.path, self.places, self.shape = path, [place for place in places if path in place.piece.names], (len(numbers), *shape)
        self.targets = [np.searchsorted(numbers, place.numbers) for place in self.places]
        self.apart = bool(self.targets) and len(np.unique(np.concatenate(self.targets))) < sum(map(len, self.targets))

    def __getitem__(self, where: tuple[slice, slice, slice]) -> Float32:
        days, *cells = where
        shape = self.shape[0], *(len(range(*one.indices(size))) for one, size in zip(cells, self.shape[1:], strict=True))
        if self.apart:
            return self._joined(shape, cells)[days]
        known = sum(map(len, self.targets)) == len(self)
        made = np.empty(shape, dtype=np.float32) if known else np.full(shape, np.nan, dtype=np.float32)
        for place, target in zip(self.places, self.targets, strict=True):
            local, there = _run(place.local), _run(target)
            if local is None or there is None:
                made[target] = place.piece.get(self.path, (slice(None), *cells))[place.local]
            else:
                place.piece.into(made[there], self.path, (local, *cells))
        return made[days]

    def __len__(self) -> int:
        return self.shape[0]

    def day(self, number: int) -> Float32:
        """[rows, columns] of the day at this position."""
        held = [(place, int(met[0])) for place, target in zip(self.places, self.targets, strict=True)
                if len(met := np.flatnonzero(target == number))]  # fmt: skip
        fields: Float32 = np.full((len(held), *self.shape[1:]), np.nan, dtype=np.float32)
        for into, (place, at) in zip(fields, held, strict=True):
            local = int(place.local[at])
            into[...] = place.piece.get(self.path, (slice(local, local + 1), slice(None), slice(None)))[0]
        if len(held) == 1:
            return np.asarray(fields[0])
        samples = np.where(np.isfinite(fields), np.array([place.samples[at] for place, at in held]).reshape(-1, 1, 1), 0)
        return _mean(np.where(samples > 0, fields * samples, 0.0).sum(axis=0), samples.sum(axis=0))

    def _joined(self, shape: tuple[int, ...], cells: Sequence[slice]) -> Float32:
        total, weight = np.zeros(shape), np.zeros(shape)
        for place, target in zip(self.places, self.targets, strict=True):
            found = place.piece.get(self.path, (slice(None), *cells))[place.local]
            samples = np.where(np.isfinite(found), place.samples[:, None, None], 0)
            np.add.at(total, target, np.where(samples > 0, found, 0.0) * samples)
            np.add.at(weight, target, samples)
        return _mean(total, weight)


def _mean(total: npt.NDArray[Any], weight: npt.NDArray[Any]) -> Float32:
    """NaN where nothing has a weight."""
    made: Float32 = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0).astype(np.float32)
    return made


def _run(positions: npt.NDArray[np.integer]) -> slice | None:
    """Positions that follow one another as a slice; None where they do not."""
    if not len(positions) or (np.diff(positions) != 1).any():
        return None
    return slice(int(positions[0]), int(positions[-1]) + 1)


def _ordered(names: set[str], first: Iterable[str]) -> tuple[str, ...]:
    known = [name for name in first if name in names]
    return tuple(dict.fromkeys([*known, *sorted(names)]))


def _square(name: str) -> str:
    units = variable(name).units
    return "1" if units == "1" else f"({units})2"


def _about(piece: Piece) -> tuple[object, ...]:
    """What pieces of one task have in common, to be compared."""
    return tuple(piece.get(name).tobytes() for name in sorted(piece.names) if name.startswith("about/"))
