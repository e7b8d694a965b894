"""The user's own files as a source: adopted where they lie, found changed or gone in one line, read through the one door. Never copied,
never written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.files import DAY, SIDE, FilesConfig, Found, Reduced
from orbit2.config.own_times import slot
from orbit2.config.recipes import reduction
from orbit2.door.axes import uneven
from orbit2.door.headers import Header, headers, record_of
from orbit2.door.ingest import Inputs, Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import places
from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.grid import Grid
from orbit2.sources import manifest, slabs
from orbit2.sources.source import Facts, Window
from orbit2.times import Time, Times, calendar_of, from_seconds, month_starts, months, seconds, shifted, span, stamps
from orbit2.units import Scale, convert
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]
AGAIN = "`orbit2 retrieve {source} --config YOUR_RUN.yaml` takes it as it is now"


def facts(source: str, config: FilesConfig) -> Facts:
    """What stores and reports say of the files."""
    start = getattr(config.day_starts, SIDE[source])
    day = "as the files have it" if start is None else f"24 hours from {start:+g} h after 00:00 UTC of the date"
    step = config.found.step_hours if config.found is not None else 24
    day = "months of the files' calendar" if months(step) else day if step >= 24 else f"stamps every {step} hours, UTC"
    reduced = config.found.reduced(source) if config.found is not None else None
    if reduced is not None:
        day = f"24 hours from {reduced.begins:+g} h after 00:00 UTC of the date" if step >= 24 else day
        day += f", made of values every {reduced.hours} h"
    whose = "the files' own"
    return Facts(title=f"the user's own files ({SIDE[source]} side)", licence=whose, doi=None, attribution=config.credit or whose, day=day)


def records(source: str, patterns: Sequence[str], names: Sequence[str], also: Sequence[str]) -> list[manifest.Record]:
    """The files as the manifest lists them (absolute paths): size, time of change, checksum, which names and times they hold."""
    found: dict[str, list[Header]] = {}
    for header in headers(patterns, names, also):
        found.setdefault(header.file, []).append(header)
    return [_record(Path(file), held) for file, held in found.items() if any(header.runs for header in held)]


def _record(path: Path, held: Sequence[Header]) -> manifest.Record:
    spans = [(int(times[0]), int(times[-1])) for times in (header.seconds for header in held if header.runs)]
    ends = min(first for first, _ in spans), max(last for _, last in spans)
    first, last = stamps(from_seconds(ends, calendar=held[0].calendar))
    file = record_of(path)
    return {"file": str(file), "bytes": held[0].bytes, "modified_ns": held[0].modified_ns, "origin": "adopted",
            "sha256": manifest.fingerprint(file), "first": first, "last": last}  # fmt: skip


def still_there(source: str, folder: Path, patterns: Sequence[str], first: Time, last: Time) -> list[Path]:
    """The adopted files of `patterns` within two stamps, as they were when they were adopted. Raises OrbitError naming the first one that
    is gone or has changed, and where none was adopted."""
    listed = {str(r["file"]): r for r in manifest.select(manifest.read(folder)["files"], None, first, last)}
    chosen = {file: record for file, record in listed.items() if _of(file, patterns)}
    if not chosen:
        raise OrbitError("no adopted file holds these times", where=", ".join(patterns), got=span((first, last)),
                         hint="run the retrieve stage, or change the periods")  # fmt: skip
    for file, record in chosen.items():
        try:
            status = os.stat(file)
        except OSError:
            raise OrbitError("a file that was adopted is gone", where=file, hint=f"put it back, or {AGAIN.format(source=source)}") from None
        if (status.st_size, status.st_mtime_ns) != (record["bytes"], record["modified_ns"]) and (
            status.st_size != record["bytes"] or manifest.fingerprint(Path(file)) != record["sha256"]
        ):
            raise OrbitError("a file has changed since it was adopted", where=file, got=f"{status.st_size} bytes",
                             allowed=f"{record['bytes']} bytes, {record['sha256'][:16]}...", hint=AGAIN.format(source=source))  # fmt: skip
    return [store_of(Path(file)) for file in sorted(chosen)]


def store_of(file: Path) -> Path:
    """The file, or the Zarr store that one of its files stands for."""
    return file.parent if record_of(file.parent) == file else file


def _of(file: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns means a file (or is a folder around it)."""
    from fnmatch import fnmatch

    place = str(store_of(Path(file)))
    for pattern in patterns:
        whole = os.path.abspath(os.path.expanduser(pattern))
        if place == whole or place.startswith(whole.rstrip("/") + "/") or fnmatch(place, whole) or fnmatch(place, whole.replace("**/", "")):
            return True
    return False


def open_files(source: str, config: FilesConfig, folder: Path, wanted: Mapping[str, Window]) -> xr.Dataset:
    """The variables of a dataset's own files, each between its two stamps (inclusive), lazily, as `Source.open` promises.

    Daily fields have 00:00 of their date and months 00:00 of their first day, whatever hour the files write; hours of a side that is finer
    than the samples are made into these (`found.reduced`). Times are those of the files' calendar. Raises OrbitError for files that are
    gone or changed, and for what `read_inputs` refuses.
    """
    first, last = min(begin for begin, _ in wanted.values()), max(end for _, end in wanted.values())
    found, side = config.found or Found(step_hours=24), SIDE[source]
    reduced = found.reduced(source)
    margin = 0 if found.step_hours < 24 and reduced is None else 31 * DAY if months(found.step_hours) else 2 * DAY
    paths = still_there(source, folder, config.patterns(source), shifted(first, -margin), shifted(last, margin))
    raw = {name: reduced.raw.get(name, name) if reduced is not None else name for name in wanted}
    stack = ExitStack()
    try:
        names = tuple(dict.fromkeys(raw.values()))
        data = stack.enter_context(opened(list(paths), names, config.rename))
        asked = {theirs: raw.get(ours, ours) for theirs, ours in config.rename.items()}
        rename = {theirs: ours for theirs, ours in asked.items() if theirs in data.data_vars and ours in names}
        inputs = read_inputs(data, names, label(paths), Reading(rename=rename, accumulated=config.accumulated), native=True)
        result = _lazy(inputs, found, reduced, raw, (first, last), side in (found.closing or ()))
    except BaseException:
        stack.close()
        raise
    result.set_close(stack.close)
    return result


def label(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _lazy(
    inputs: Inputs, found: Found, reduced: Reduced | None, raw: Mapping[str, str], window: Window, closing: bool
) -> xr.Dataset:
    cache, arrays, grid, lengths = slabs.Cache(), {}, inputs.grid, set()
    rows, columns = grid.shape
    for name in raw:
        field = inputs.arrays[raw[name]]
        read: Any = _Field(field, inputs, raw[name])
        own, many, chunk = _samples(inputs.times, found.step_hours, closing), 1, _chunk(field)
        if reduced is not None:
            hours = Hours(inputs.times, reduced, name, found.step_hours)
            read, own, many = _Reduced(read, hours), hours.samples, hours.many
        inside = np.flatnonzero((own >= window[0]) & (own <= window[1]))
        begin, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        borders = slabs.edges(begin, end, max(1, chunk // many), many * rows * columns)
        slab = int(np.max(np.diff(borders))) * rows * columns * 4
        cache.expect(slab, slab * many if many > 1 else 0)
        lazy = slabs.Slabs(read, 0, 1, (id(inputs), name), borders, grid.shape, cache).lazy() if end > begin else np.empty(
            (0, rows, columns), np.float32)
        about = variable(name)
        time = own[begin:end]
        coordinate = time.astype("datetime64[ns]") if time.dtype.kind == "M" else time
        arrays[name] = xr.DataArray(lazy, {"time": coordinate}, ("time", *grid.dims), name,
                                    {"units": about.units, "standard_name": about.standard_name})  # fmt: skip
        lengths.add((len(time), *time[[0, -1]]) if len(time) else (0,))
    result = xr.merge(arrays.values(), join="outer" if len(lengths) > 1 else "exact", compat="override")
    if isinstance(grid, Grid) and not uneven(grid):
        result = result.assign_coords(lat=grid.lat, lon=grid.lon)
    else:
        result.attrs["grid"] = grid  # of this process only: nothing is written of it
    result.attrs["decoding_bytes"] = cache.largest, cache.work
    return result


def _samples(times: Times, step_hours: int, closing: bool) -> Times:
    """[T] The samples that the files' own times are. `closing`: stamps are the ends of their months."""
    if months(step_hours):
        return month_starts(from_seconds(seconds(times) - int(closing), calendar=calendar_of(times)))
    if step_hours < 24:
        return times
    return from_seconds(seconds(times) // DAY * DAY, calendar=calendar_of(times))


class Hours:
    """Which of a file's times make which sample of a variable. `samples` [S]: those of which every hour is there; `first` [S]: where in the
    file each begins; `many`: how many times each is made of; `how`: the reduction (moments of steps shorter than a day: none)."""

    def __init__(self, times: Times, reduced: Reduced, name: str, step_hours: int) -> None:
        how = reduction(name, reduced.raw.get(name, name), step_hours)
        step, sample = 3600 * reduced.hours, 3600 * step_hours
        slots = slot(seconds(times), reduced.stamps[name], step, sample, reduced.begins)
        made, first, counts = np.unique(slots, return_index=True, return_counts=True)
        self.how, self.many = ("mean", 1) if how == "moment" else (how, sample // step)
        whole = counts == self.many
        self.samples, self.first = from_seconds(made[whole], calendar=calendar_of(times)), first[whole]
        if (np.diff(slots) < 0).any():
            raise OrbitError("times do not increase", where=f"files: {name}", hint="sort them, e.g. with xarray: dataset.sortby('time')")


class _Field:
    """Times `a` to `b` of one field, [T, H, W] in canonical units and order."""

    def __init__(self, field: xr.DataArray, inputs: Inputs, name: str) -> None:
        self.field, self.inputs, self.name, self.scale = field, inputs, name, Scale(*inputs.scales[name])

    def __call__(self, begin: int, end: int) -> list[FloatArray]:
        raw = np.asarray(self.field.isel(time=slice(begin, end)).transpose("time", "lat", "lon").values, dtype=np.float32)
        for at in range(len(raw)):
            self.inputs.refuse_fill(self.name, begin + at, raw[at])
        rows, columns = self.inputs.rows, self.inputs.columns
        values = raw[:, rows][:, :, columns] if not _plain(columns) else raw[:, :: -1 if rows[0] > rows[-1] else 1]
        found = convert(values, self.scale)
        if self.name in self.inputs.days:  # amounts of whole months
            found = (found / self.inputs.days[self.name][begin:end, None, None]).astype(np.float32)
        return [np.ascontiguousarray(found)]


_WAYS: dict[str, Callable[[FloatArray], npt.NDArray[Any]]] = {
    "mean": lambda raw: raw.mean(axis=1, dtype=np.float64), "sum": lambda raw: raw.sum(axis=1, dtype=np.float64),
    "max": lambda raw: raw.max(axis=1), "min": lambda raw: raw.min(axis=1),
}  # fmt: skip


class _Reduced:
    """Samples `a` to `b` of one field of hours, [S, H, W]; a sample with a missing hour is missing there."""

    def __init__(self, field: _Field, hours: Hours) -> None:
        self.field, self.hours = field, hours

    def __call__(self, begin: int, end: int) -> list[FloatArray]:
        first, many = self.hours.first[begin:end], self.hours.many
        if end > begin and int(first[-1] - first[0]) == many * (end - begin - 1):  # no hole between them: one reading
            raw = self.field(int(first[0]), int(first[-1]) + many)[0]
            raw = raw.reshape(end - begin, many, *raw.shape[1:])
        else:
            raw = np.stack([self.field(int(at), int(at) + many)[0] for at in first])
        found: FloatArray = _WAYS[self.hours.how](raw)
        return [found.astype(np.float32)]


def _plain(columns: npt.NDArray[np.int64]) -> bool:
    return bool((columns == np.arange(len(columns))).all())


def _chunk(field: xr.DataArray) -> int:
    """Times that the files compress together."""
    sizes = field.encoding.get("chunksizes") or field.encoding.get("chunks") or field.encoding.get("preferred_chunks")
    if isinstance(sizes, Mapping):
        return int(next((v for k, v in sizes.items() if str(k).lower() in ("time", "valid_time")), 1))
    if not sizes or field.encoding.get("contiguous") or len(sizes) != field.ndim:
        return 1
    return max(1, int(sizes[field.dims.index("time")]))


def static_files(config: FilesConfig | None) -> list[Path]:
    """The user's own files of static fields. Raises OrbitError for a pattern without any."""
    found = places(list(config.statics)) if config is not None and config.statics else []
    return [place for place in found if isinstance(place, Path)]


def said_of(statics: Sequence[Path]) -> str | None:
    """How stores and models tell the user's own static fields from others: by what the files hold, not by where they lie."""
    if not statics:
        return None
    return f"files {short_hash([manifest.fingerprint(record_of(path)) for path in statics])}"
