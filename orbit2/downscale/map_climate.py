"""`orbit2 map-climate`: a climate model's files, on a model's training grid and in the climate of its training inputs, as a file that
`orbit2 downscale` takes. Memory goes with time blocks and then with windows of cells, never with the file. Never fits on held-out years."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from orbit2.config.imported import FORMAT
from orbit2.data.pairs import PairStore
from orbit2.door.ingest import Inputs, Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import label, places
from orbit2.downscale.cf import as_dataset
from orbit2.downscale.claim import claimed
from orbit2.downscale.mapping import LEAST, Trend, described, facts, lacking, mapped, months_of, trend
from orbit2.downscale.places import REPLACE, attributes, check_out
from orbit2.downscale.store import TIME_UNITS, unwritten
from orbit2.errors import OrbitError
from orbit2.files import atomic, read_json, short_hash
from orbit2.grid import AnyGrid, Grid
from orbit2.progress import counted
from orbit2.provenance import code_version
from orbit2.remap import Regridder
from orbit2.times import Times, calendar_of, is_date, stamps

log = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
BLOCK_BYTES = 64 * 2**20  # of fields on their way
WINDOW_BYTES = 256 * 2**20  # of series being mapped, with what xsdba makes of them (COPIES of float64)
COPIES = 10
METHOD = 1  # of the mapping: what is there of another one is made again
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Reference:
    """The training inputs that are mapped to: indices of a store's samples, and the dataset they are of."""

    dataset: str
    store: PairStore
    samples: npt.NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def stamps(self) -> list[str]:
        return stamps(self.store.times[self.samples])


def run(
    *, input: str | Path | Sequence[str | Path], model: Path, store: Path, period: tuple[str, str], out: Path, said: Reading | None = None,
    overwrite: bool = False,
) -> list[str]:  # fmt: skip
    """Write `input` (files as for `downscale`), on the coarse grid of the pair store `store` and mapped to its training inputs' climate, to
    `out` (.zarr or .nc); fitted on the samples of `period` (ISO dates, inclusive). Returns a line per variable with means and trends.

    Raises OrbitError for a period that touches validation or test years of the model, or has too few samples; for a store that the model
    was not trained on; for an input that does not reach the store's grid; and as `read_inputs` and `check_out`.
    """
    about = _about(model)
    first, last = _period(period)
    _apart(about, first, last)
    found = places(input)
    sources = {f"the input {path}": path for path in found if isinstance(path, Path)}
    place = check_out(out, {**sources, "the pair store": store, "the model folder": model}, overwrite=overwrite)
    if place.exists() and not overwrite:
        raise OrbitError("something is already there", where=out, hint=REPLACE)
    wanted = _reference(about, PairStore(store))
    target, said = wanted.store.grid("coarse"), said or Reading()
    with opened(input, wanted.names, said.rename) as dataset:
        inputs = read_inputs(dataset, wanted.names, label(found), said, maps=not isinstance(target, Grid))
        for line in inputs.warnings:
            log.warning("%s: %s", label(found), line)
        with claimed(place, None):
            return _map(inputs, wanted, (first, last), place, {})


class StoreInputs:
    """The coarse fields of a pair store, as files are read: all usable samples, in order."""

    def __init__(self, pairs: PairStore, names: Sequence[str]) -> None:
        self.names = tuple(name for name in names if name in pairs.variables("coarse"))
        self.samples = np.flatnonzero(pairs.usable)
        self.times, self.grid, self.where = pairs.times[self.samples], pairs.grid("coarse"), pairs.path
        self.attrs: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.named: dict[str, tuple[str, dict[str, Any]]] = {}
        self._pairs, self._places = pairs, [pairs.variable_index("coarse", name) for name in self.names]

    def frame(self, index: int) -> FloatArray:
        """[V, H, W] of one sample."""
        return self._pairs.read("coarse", int(self.samples[index]))[self._places]


def map_store(*, pairs: PairStore, model: Path, onto: PairStore, period: Mapping[str, str], out: Path) -> None:
    """Write the coarse fields of a task's store, mapped to the climate of the training inputs in the store `onto`, to the Zarr store `out`;
    fitted on the samples of `period` (`start`, `end`). Kept where it is there already, of the same stores, model and period; what a job
    that was killed left is removed, and done again. Raises OrbitError as `run`."""
    about = _about(model)
    first, last = _span(period)
    _apart(about, first, last)
    wanted = _reference(about, onto)
    made_of = short_hash([pairs.attributes.get("content"), onto.attributes.get("content"), str(pairs.attributes.get("config_hash")),
                          wanted.dataset, about.get("hash"), first, last, METHOD], 16)  # fmt: skip
    with claimed(out, None):
        if attributes(out).get("mapped_from") == made_of:
            log.info("%s is there already, mapped from the same", out)
            return
        inputs = StoreInputs(pairs, wanted.names)
        lacks = [name for name in wanted.names if name not in inputs.names]
        if lacks:
            raise OrbitError("the task's store lacks inputs that are to be mapped", where=pairs.path, got=", ".join(inputs.names),
                             allowed=", ".join(wanted.names), hint="map the climate of a dataset that holds all inputs of the model")
        _map(inputs, wanted, (first, last), out, {"mapped_from": made_of})


def mapped_inputs(path: Path, names: Sequence[str], times: Times) -> tuple[Inputs, str]:
    """The mapped fields `names` at `times`, and what was done to them (JSON). Raises OrbitError where they are not there."""
    if not (path / "zarr.json").is_file():
        raise OrbitError("the task's mapped inputs are not there", where=path, hint="begin the task with --block init")
    dataset = xr.open_dataset(path, engine="zarr", chunks=None, cache=False, consolidated=False)
    found = read_inputs(dataset, names, path, native=True)
    place = {stamp: i for i, stamp in enumerate(stamps(found.times))}
    chosen = [place[stamp] for stamp in stamps(times)]
    arrays = {name: array.isel(time=chosen) for name, array in found.arrays.items()}
    return replace(found, arrays=arrays, times=found.times[chosen], gaps=True), str(dataset.attrs["climate_mapping"])


def _map(
    inputs: Inputs | StoreInputs, wanted: Reference, period: tuple[str, str], place: Path, marks: Mapping[str, str]
) -> list[str]:
    """Fit, map and write to `place`, which appears at once; a line per variable. The caller has claimed it."""
    first, last = period
    moments = stamps(inputs.times)
    fitted = np.array([first <= moment <= last for moment in moments])
    wanted, told = _same_period(wanted, first, last, moments, fitted, str(inputs.where))
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".{place.name}.map-*"):  # by a job that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.map-", dir=place.parent) as folder:
        try:
            work = _Work(Path(folder), inputs, wanted, wanted.store.grid("coarse"))
            work.gather()
            rows = work.map(moments, fitted)
            lines = [described(name, *row) for name, row in rows.items()]
            method = f"quantile delta mapping (xsdba {version('xsdba')}) by cell and month, fitted on {first} to {last} against {told}"
            history = "; ".join([f"map-climate: {method}", *lines])
            fit = {"method": method, "period": [first, last], "dataset": wanted.dataset, "samples": len(wanted.samples),
                   "trends": {name: facts(*row) for name, row in rows.items()}}  # fmt: skip
            work.write(place, history, fit, marks)
        except OSError as error:
            raise unwritten(place, error) from None
    log.info("%s: %s", place, method)
    for line in lines:
        log.info("%s", line)
    return lines


def _about(model: Path) -> dict[str, Any]:
    """config.json of a model folder. Raises OrbitError for no model."""
    path = model / "config.json"
    about = read_json(path) if path.is_file() else {}
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise OrbitError("not a model folder", where=model, hint="give the `model/` folder that the train stage writes")
    return about


def _period(given: tuple[str, str]) -> tuple[str, str]:
    """First and last stamp. Raises OrbitError for what are no dates in order."""
    if not all(is_date(text, "standard") or is_date(text, "360_day") for text in given) or given[1] < given[0]:
        raise OrbitError("not a period", where="--period", got=",".join(given), allowed="two dates in order, e.g. 1990-01-01,2010-12-31",
                         hint="the first date, a comma, the last date")  # fmt: skip
    return _span({"start": given[0], "end": given[1]})


def _span(period: Mapping[str, str]) -> tuple[str, str]:
    """Stamps of a period of the configuration, which sort as text in any calendar; a bare end means its whole day."""
    start, end = (str(period[key]).replace(" ", "T") for key in ("start", "end"))
    start, end = start if "T" in start else f"{start}T00:00:00", end if "T" in end else f"{end}T23:59:59"
    return (f"{start}:00" if start.count(":") == 1 else start), (f"{end}:00" if end.count(":") == 1 else end)


def _held_out(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(dataset, block, first, last stamp) of the validation and test blocks of a model's datasets."""
    for name, data in (about.get("datasets") or {}).items():
        for block in HELD_OUT:
            if (data.get("split") or {}).get(block):
                yield name, block, *_span(data["split"][block])


def _apart(about: Mapping[str, Any], first: str, last: str) -> None:
    for name, block, start, end in _held_out(about):
        if start <= last and end >= first:
            raise OrbitError(f"the period holds {block} years: what is fitted on them knows what it is judged by", where="--period",
                             got=f"{first} to {last}", allowed=f"outside the {block} block of '{name}', {start} to {end}",
                             hint="choose a period of training years")  # fmt: skip


def _reference(about: Mapping[str, Any], store: PairStore) -> Reference:
    """The training block of a store that the model was trained on. Raises OrbitError for another one, or held-out samples."""
    datasets, found = about.get("datasets") or {}, store.attributes.get("config_hash")
    fits = [name for name, data in datasets.items() if data.get("hash") == found or (found is None and len(datasets) == 1)]
    if not fits or not datasets[fits[0]].get("split", {}).get("train"):
        raise OrbitError("the model was not trained on this pair store", where=store.path, got=str(found),
                         allowed=", ".join(f"{name} ({data.get('hash')})" for name, data in datasets.items()),
                         hint="give the store of the training, results/data/NAME-HASH/pairs.zarr")  # fmt: skip
    first, last = _span(datasets[fits[0]]["split"]["train"])
    moments = np.array(stamps(store.times))
    samples = np.flatnonzero((moments >= first) & (moments <= last) & store.usable)
    for name, block, start, end in _held_out(about):
        if ((moments[samples] >= start) & (moments[samples] <= end)).any():
            raise OrbitError(f"training samples lie in the {block} block of '{name}'", where=store.path, got=f"{first} to {last}",
                             hint="build the store anew with blocks that are apart")  # fmt: skip
    statics = set(about["statics"])
    names = tuple(name for name in about["inputs"] if name not in statics and name in store.variables("coarse"))
    if not len(samples) or not names:
        raise OrbitError("the store has no training inputs of this model", where=store.path, got=f"{len(samples)} samples of {names}",
                         hint="give the store of the training, results/data/NAME-HASH/pairs.zarr")  # fmt: skip
    return Reference(fits[0], store, samples, names)


def _same_period(
    wanted: Reference, first: str, last: str, moments: list[str], fitted: npt.NDArray[np.bool_], where: str
) -> tuple[Reference, str]:
    """The training samples of the period, where there are enough of each month, else all; what that is, in words. Raises OrbitError where
    the input has too few in the period, or the training has."""
    own, here, enough = months_of(moments), np.array(wanted.stamps), f"at least {LEAST} of each month that the input has"
    if few := lacking(own, own[fitted]):
        raise OrbitError(f"too few samples of month {', '.join(map(str, few))} in the period", where=where, got=f"{first} to {last}",
                         allowed=enough, hint="give a longer --period")  # fmt: skip
    if few := lacking(own, months_of(wanted.stamps)):
        raise OrbitError(f"too few training samples of month {', '.join(map(str, few))}", where=wanted.store.path,
                         allowed=enough, hint="leave these months out of the input")  # fmt: skip
    inside = wanted.samples[(here >= first) & (here <= last)]
    same = not lacking(own, months_of(stamps(wanted.store.times[inside])))
    chosen = Reference(wanted.dataset, wanted.store, inside if same else wanted.samples, wanted.names)
    return chosen, (f"the training inputs of {'the same period' if same else 'the whole training block'} of '{wanted.dataset}'"
                    f" ({len(chosen.samples)} samples, {chosen.stamps[0]} to {chosen.stamps[-1]})")  # fmt: skip


class _Work:
    """Series of the input and of the training on one grid, in scratch stores whose chunks are short in time and narrow in space."""

    def __init__(self, folder: Path, inputs: Inputs | StoreInputs, wanted: Reference, target: AnyGrid) -> None:
        self.folder, self.inputs, self.wanted, self.grid = folder, inputs, wanted, target
        (height, width), lengths = target.shape, (len(inputs.times), len(wanted.samples))
        self.block = max(1, BLOCK_BYTES // (4 * len(wanted.names) * height * width))
        cells = max(1, WINDOW_BYTES // (8 * COPIES * sum(lengths)))
        rows, columns = max(1, min(height, cells // width)), min(width, cells)
        self.windows = [(slice(i, min(i + rows, height)), slice(j, min(j + columns, width)))
                        for i in range(0, height, rows) for j in range(0, width, columns)]  # fmt: skip
        self.own, self.training = (
            zarr.create_array(store=str(folder / name), shape=(len(wanted.names), length, height, width), dtype="float32",
                              chunks=(1, min(self.block, length), rows, columns), fill_value=np.nan)
            for name, length in zip(("own", "training"), lengths, strict=True)
        )

    def gather(self) -> None:
        """Read both once, time block by time block; the input is averaged to the training's grid."""
        source, store, names = self.inputs.grid, self.wanted.store, self.wanted.names
        regridder = None if source.same_as(self.grid) else Regridder(source, self.grid, "conservative")
        if regridder is not None and not (regridder.coverage >= 0.5).any():
            raise OrbitError("the input does not reach the grid of the training", where=self.inputs.where, got=source.describe(),
                             allowed=self.grid.describe(), hint="give files of the region of the training")  # fmt: skip
        order, places = [self.inputs.names.index(n) for n in names], [store.variable_index("coarse", n) for n in names]

        def field(t: int) -> FloatArray:
            values = self.inputs.frame(t)[order]
            return values if regridder is None else regridder(values)

        for array, count, read in ((self.own, len(self.inputs.times), field),
                                   (self.training, len(self.wanted.samples),
                                    lambda i: store.read("coarse", int(self.wanted.samples[i]))[places])):  # fmt: skip
            starts = range(0, count, self.block)
            for start in counted(starts, "reading", len(starts), "block"):
                stop = min(start + self.block, count)
                array[:, start:stop] = np.stack([read(i) for i in range(start, stop)], axis=1)

    def map(self, moments: list[str], fitted: npt.NDArray[np.bool_]) -> dict[str, tuple[Trend, Trend, float]]:
        """Map every window of cells, in place. Returns by variable the trends of the area mean before and after, over cells that have both,
        and the mean of the training."""
        months, found = months_of(self.wanted.stamps), {}
        for v, name in enumerate(self.wanted.names):
            sums, training = np.zeros((3, len(moments))), np.zeros(2)
            for rows, columns in counted(self.windows, name, len(self.windows), "window"):
                before, there = (np.asarray(a[v, :, rows, columns], dtype=np.float64) for a in (self.own, self.training))
                after = mapped(name, before, moments, fitted, there, months)
                self.own[v, :, rows, columns] = after.astype(np.float32)
                area = np.asarray(self.grid.area_km2[rows, columns])
                both = np.where(np.isfinite(after), area, 0.0)
                sums[0] += both.sum((1, 2))
                for total, values in zip(sums[1:], (before, after), strict=True):
                    total += np.where(both > 0, values * both, 0).sum((1, 2))
                known = np.where(np.isfinite(there) & both.any(0), area, 0.0)
                training += [known.sum(), np.where(known > 0, there * known, 0).sum()]
            if not sums[0].any():
                raise OrbitError(f"no cell has {name} both in the input and in the training", where=self.inputs.where,
                                 hint="give files whose values cover the region of the training")  # fmt: skip
            with np.errstate(invalid="ignore"):
                one, other = (trend(each / sums[0], self.inputs.times) for each in sums[1:])
            found[name] = one, other, float(training[1] / training[0])
        return found

    def write(self, place: Path, history: str, fit: Mapping[str, Any], marks: Mapping[str, str]) -> None:
        """The mapped fields as a Zarr store or NetCDF file at `place`, which appears at once."""
        names, times, theirs = self.wanted.names, self.inputs.times, self.inputs.attrs
        kept = {k: v for k, v in theirs.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool) and k != "warnings"}
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} orbit2 {code_version()} {history}"
        about = {**kept, "history": "\n".join([line, *([str(theirs["history"])] if theirs.get("history") else [])]),
                 "climate_mapping": json.dumps(fit), **marks,
                 **({"warnings": "\n".join(self.inputs.warnings)} if self.inputs.warnings else {})}  # fmt: skip
        path, encoding = self.folder / "mapped.zarr", {"time": {"units": TIME_UNITS, "calendar": calendar_of(times), "dtype": "int64"}}
        for start in range(0, len(times), self.block):
            part = slice(start, start + self.block)
            frames = np.asarray(self.own[:, part]).swapaxes(0, 1)
            made = as_dataset(frames, names, self.grid, times[part], self.inputs.named, about)
            if start:
                made = made.drop_vars([name for name in made.variables if "time" not in made[name].dims])
                made.to_zarr(path, append_dim="time", zarr_format=3, consolidated=False)
            else:
                chunks = {name: {"chunks": (1, *self.grid.shape)} for name in names}
                made.to_zarr(path, mode="w", encoding={**encoding, **chunks}, zarr_format=3, consolidated=False)
        if place.suffix == ".nc":
            with atomic(place) as temporary, xr.open_zarr(str(path), consolidated=False, chunks={}) as result:
                for name in names:
                    result[name].encoding.clear()
                result.to_netcdf(temporary, engine="netcdf4", encoding={name: {"zlib": True, "complevel": 1} for name in names})
            return
        if place.exists():
            os.rename(place, self.folder / "replaced")
        os.rename(path, place)
        shutil.rmtree(self.folder / "replaced", ignore_errors=True)
