"""Keeps a task's days on few cells, of the truth and of all that stands beside it. Never a whole field of more than one sample."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.diagnose.kept.blocks import Blocks
from orbit2.diagnose.kept.days import INPUT, PLACE, STAND_IN, TRUTH, KeptDays, Piece, Stored, at_hand
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics import parts
from orbit2.metrics.collector import Collector, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import State

Array = npt.NDArray[np.float64]
MOST_BYTES = 1 << 28  # of days in memory: a month of rain with all that is scored beside it takes 76 MB, a year that much in files


class Day:
    """Sums over the samples of a day that is not yet complete, of one variable."""

    def __init__(self, number: int) -> None:
        self.number, self.samples = number, 0
        self.first: dict[str, Array] = {}  # all there is where a sample is a day
        self.sums: dict[str, Array] = {}
        self.known: dict[str, Array] = {}

    def add(self, path: str, found: Array) -> None:
        if path not in self.first:
            self.first[path] = found
            return
        for each in (found,) if path in self.sums else (self.first[path], found):
            known = np.isfinite(each)
            if path not in self.sums:
                self.sums[path], self.known[path] = np.zeros(each.shape), np.zeros(each.shape)
            self.sums[path] += np.where(known, each, 0.0)
            self.known[path] += known

    def means(self) -> dict[str, npt.NDArray[np.float32]]:
        """Over the samples in which a cell has a value."""
        made = {}
        for path, found in self.first.items():
            if path in self.sums:
                known = self.known[path]
                found = np.divide(self.sums[path], known, out=np.full(known.shape, np.nan), where=known > 0)
            else:
                found = found if np.isfinite(found).all() else np.where(np.isfinite(found), found, np.nan)
            made[path] = found.astype(np.float32)
        return made


class Joined(Mapping[str, npt.NDArray[Any]]):
    """Days that lie in several pieces, one after the other; each array is made when it is asked for."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        found = [piece.get(name) for piece in self.pieces if name in piece.names]
        return found[0] if name.startswith("about/") else np.concatenate(found)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({name for piece in self.pieces for name in piece.names}))

    def __len__(self) -> int:
        return len({name for piece in self.pieces for name in piece.names})


class Kept(Collector):
    """Of each day, variable and model, in single precision: `values` of the cells in the middle of blocks of cells, `means` over the
    blocks and `squared`, the blocks' mean squared errors; `share` of each block that is known. At most `diagnose.keep` blocks.

    Where blocks are cells, means are the values, and are not kept twice. Samples of less than a day are averaged over it. Of an ensemble,
    `values` are the first member's (a mean of members has no extremes), all else is of the mean of the members. Nothing is kept without a
    truth, and of samples further apart than a day. Merging reads nothing: `days` opens what the parts hold.
    """

    name, stage = "kept", "diagnose"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        a_day = 24 / matched.step_hours if matched.step_hours > 0 else 0.0
        self.active = matched.has_truth and a_day >= 1 and a_day == round(a_day)
        self.a_day = round(a_day)
        self.blocks = Blocks.of(matched.grid, settings.diagnose.keep)
        self.calendar = times.calendar_of(matched.times)
        self.apart = self.blocks.step > 1 or self.a_day > 1  # squared errors are no squares of what else is kept
        self.open: dict[str, Day] = {}
        self.numbers: dict[str, list[int]] = {name: [] for name in matched.variables}
        self.samples: dict[str, list[int]] = {name: [] for name in matched.variables}
        self.arrays: dict[str, list[npt.NDArray[np.float32]]] = {}
        self.bytes = 0
        self.pieces: list[Piece] = []  # of parts that were merged
        self.earlier: list[Piece] = []  # of this process's own days, put aside
        self.aside: tempfile.TemporaryDirectory[str] | None = None

    def update(self, scored: Scored) -> None:
        if not self.active:
            return
        name = scored.variable
        number = int(times.number(times.day(scored.sample), self.calendar))
        if name in self.open and self.open[name].number != number:
            self._close(name)
        day = self.open.setdefault(name, Day(number))
        day.samples += 1
        share = self._add(day, TRUTH, scored.truth, None)
        if share is not None:
            day.add("share", share)
        for model, field in self._fields(scored).items():
            self._add(day, model, field, scored.truth)
        if self.matched.members:
            first = self.blocks.middle(scored.members(self.matched)[0])
            day.add(f"{self.matched.model}/values", first.astype(np.float64))

    def _fields(self, scored: Scored) -> dict[str, Array]:
        fields = {model: scored.models[model] for model in self.matched.models(scored.variable)}
        if STAND_IN not in fields and self.matched.observations is None:
            given = self.matched.input_field(scored.index, scored.variable)
            if given is not None:
                fine = np.repeat(np.repeat(given, self.matched.refinement, axis=0), self.matched.refinement, axis=1)
                fields[INPUT] = np.where(np.isfinite(scored.truth), fine, np.nan)
        return fields

    def _add(self, day: Day, model: str, field: Array, truth: Array | None) -> Array | None:
        """What is kept of a field; of the truth (`truth` None) the share of each block that is known is given back."""
        own = not (self.matched.members and model == self.matched.model)  # else values are the first member's
        if own:
            day.add(f"{model}/values", self.blocks.middle(field).astype(np.float64))
        if self.blocks.step == 1:
            if not own:
                day.add(f"{model}/means", field.astype(np.float64))
            if truth is not None and (self.apart or not own):
                day.add(f"{model}/squared", (field.astype(np.float64) - truth) ** 2)
            return None
        if truth is None:
            means, share = self.blocks.means(field)
            day.add(f"{model}/means", means)
            return share
        means, squared = self.blocks.errors(field, truth)
        day.add(f"{model}/means", means)
        day.add(f"{model}/squared", squared)
        return None

    def _close(self, name: str) -> None:
        day = self.open.pop(name)
        self.numbers[name].append(day.number)
        self.samples[name].append(day.samples)
        for path, array in day.means().items():
            self.arrays.setdefault(f"{name}/{path}", []).append(array)
            self.bytes += array.nbytes
        if self.bytes > MOST_BYTES:
            self._put_aside()

    def _put_aside(self) -> None:
        """What is kept so far goes into a file that goes with this process: a month is not that long, a year or a whole record is."""
        self.aside = self.aside or tempfile.TemporaryDirectory(prefix="orbit2-kept-")
        path = Path(self.aside.name) / f"{len(self.earlier)}.h5"
        with h5py.File(path, "w") as file:
            for name, array in self._closed().items():
                file.create_dataset(f"{PLACE}/{name}", data=array, **parts.packing(array))
        with h5py.File(path, "r") as file:
            self.earlier.append(Stored.of(parts.Stored(file[PLACE])))
        self.arrays, self.bytes = {}, 0
        for numbers in (*self.numbers.values(), *self.samples.values()):
            numbers.clear()

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """`<variable>/<model>/<values, means, squared>` and `<variable>/share` [days, rows, columns], `<variable>/days` (days since 1850
        in the calendar) and `samples`, and what the blocks are."""
        for name in list(self.open):
            self._close(name)
        if not self.active:
            return {}
        own = self._closed()
        if not self.earlier:
            return own
        return Joined([*self.earlier, at_hand(own)])

    def _closed(self) -> State:
        land = self.matched.land_fraction
        made: State = {
            "about/calendar": np.array(self.calendar.encode()), "about/samples_a_day": np.array(self.a_day),
            "about/step": np.array(self.blocks.step), **_about(self.blocks.coarse),
            "about/land_fraction": self.blocks.means(land)[0].astype(np.float32),
            "about/land_fraction_of_cells": self.blocks.middle(land).astype(np.float32),
        }  # fmt: skip
        for name, numbers in self.numbers.items():
            if numbers:
                made[f"{name}/days"], made[f"{name}/samples"] = np.array(numbers), np.array(self.samples[name])
        return {**made, **{path: np.stack(arrays) for path, arrays in self.arrays.items()}}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        if len(state):
            self.pieces.append(Stored.of(state) if isinstance(state, parts.Stored) else at_hand(state))

    def days(self) -> KeptDays | None:
        """All days that were streamed or merged; None where nothing is kept. Raises OrbitError as KeptDays."""
        for name in list(self.open):
            self._close(name)
        own = [at_hand(self._closed())] if self.arrays else []
        pieces = [*self.pieces, *self.earlier, *own]
        return KeptDays(pieces, order=(self.matched.variables, self.matched.all_models)) if pieces else None


def _about(grid: AnyGrid) -> State:
    """The blocks' grid, as `KeptDays` reads it."""
    if isinstance(grid, Grid):
        return {"about/lat_edges": grid.lat_edges, "about/lon_edges": grid.lon_edges}
    return {"about/grid": np.array(json.dumps(grid.to_attributes()).encode())}
