"""The user's own files as a source: adopted where they lie, found changed or gone in one line, read through the one door. Never copied,
never written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.files import DAY, SIDE, FilesConfig
from orbit2.door.axes import uneven
from orbit2.door.headers import Header, headers, record_of
from orbit2.door.ingest import Inputs, Reading, read_inputs
from orbit2.door.opening import opened
from orbit2.door.places import places
from orbit2.errors import OrbitError
from orbit2.files import short_hash
from orbit2.grid import Grid
from orbit2.sources import manifest, slabs
from orbit2.sources.source import Facts
from orbit2.units import Scale, convert
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]
AGAIN = "`orbit2 retrieve {source} --config YOUR_RUN.yaml` takes it as it is now"


def facts(source: str, config: FilesConfig) -> Facts:
    """What stores and reports say of the files."""
    start = getattr(config.day_starts, SIDE[source])
    day = "as the files have it" if start is None else f"24 hours from {start:+g} h after 00:00 UTC of the date"
    step = config.found.step_hours if config.found is not None else 24
    day = day if 3600 * step >= DAY else f"stamps every {step} hours, UTC"
    whose = "the files' own"
    return Facts(title=f"the user's own files ({SIDE[source]} side)", licence=whose, doi=None, attribution=config.credit or whose, day=day)


def records(source: str, patterns: Sequence[str], names: Sequence[str], also: Sequence[str]) -> list[manifest.Record]:
    """The files as the manifest lists them (absolute paths): size, time of change, checksum, which names and times they hold."""
    found: dict[str, list[Header]] = {}
    for header in headers(patterns, names, also):
        found.setdefault(header.file, []).append(header)
    return [_record(Path(file), held) for file, held in found.items() if any(header.runs for header in held)]


def _record(path: Path, held: Sequence[Header]) -> manifest.Record:
    stamps = [header.stamps for header in held if header.runs]
    first, last = min(times[0] for times in stamps), max(times[-1] for times in stamps)
    file = record_of(path)
    return {"file": str(file), "bytes": held[0].bytes, "modified_ns": held[0].modified_ns, "origin": "adopted",
            "sha256": manifest.fingerprint(file), "first": manifest.stamp(first), "last": manifest.stamp(last)}  # fmt: skip


def still_there(source: str, folder: Path, patterns: Sequence[str], first: np.datetime64, last: np.datetime64) -> list[Path]:
    """The adopted files of `patterns` within two stamps, as they were when they were adopted. Raises OrbitError naming the first one that
    is gone or has changed, and where none was adopted."""
    listed = {str(r["file"]): r for r in manifest.select(manifest.read(folder)["files"], None, first, last)}
    chosen = {file: record for file, record in listed.items() if _of(file, patterns)}
    if not chosen:
        raise OrbitError("no adopted file holds these times", where=", ".join(patterns), got=f"{first} to {last}",
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


def open_files(
    source: str, config: FilesConfig, folder: Path, wanted: Mapping[str, tuple[np.datetime64, np.datetime64]]
) -> xr.Dataset:
    """The variables of a dataset's own files, each between its two stamps (inclusive), lazily, as `Source.open` promises.

    Daily fields have 00:00 of their date, whatever hour the files write. Raises OrbitError for files that are gone or changed, and for
    what `read_inputs` refuses.
    """
    first, last = min(begin for begin, _ in wanted.values()), max(end for _, end in wanted.values())
    daily = config.found is None or 3600 * config.found.step_hours >= DAY
    margin = np.timedelta64(DAY if daily else 0, "s")
    paths = still_there(source, folder, config.patterns(source), first, last + margin)
    stack = ExitStack()
    try:
        data = stack.enter_context(opened(list(paths), tuple(wanted), config.rename))
        rename = {theirs: ours for theirs, ours in config.rename.items() if theirs in data.data_vars and ours in wanted}
        inputs = read_inputs(data, tuple(wanted), label(paths), Reading(rename=rename, accumulated=config.accumulated),
                             native=True)
        result = _lazy(inputs, daily, first, last)
    except BaseException:
        stack.close()
        raise
    result.set_close(stack.close)
    return result


def label(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _lazy(inputs: Inputs, daily: bool, first: np.datetime64, last: np.datetime64) -> xr.Dataset:
    stamps = inputs.times.astype("datetime64[D]").astype("datetime64[s]") if daily else inputs.times.astype("datetime64[s]")
    inside = np.flatnonzero((stamps >= first.astype("datetime64[s]")) & (stamps <= last.astype("datetime64[s]")))
    begin, end = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    cache, arrays, cells, grid = slabs.Cache(), {}, inputs.grid.shape, inputs.grid
    for name, field in inputs.arrays.items():
        read = _Field(field, inputs, name)
        borders = slabs.edges(begin, end, _chunk(field), cells[0] * cells[1])
        cache.expect(int(np.max(np.diff(borders))) * cells[0] * cells[1] * 4, 0)
        slab = slabs.Slabs(read, 0, 1, (id(inputs), name), borders, cells, cache)
        lazy = slab.lazy() if end > begin else np.empty((0, *cells), np.float32)
        about = variable(name)
        arrays[name] = (("time", *grid.dims), lazy, {"units": about.units, "standard_name": about.standard_name})
    result = xr.Dataset(arrays, coords={"time": stamps[begin:end].astype("datetime64[ns]")})
    if isinstance(grid, Grid) and not uneven(grid):
        result = result.assign_coords(lat=grid.lat, lon=grid.lon)
    else:
        result.attrs["grid"] = grid  # of this process only: nothing is written of it
    result.attrs["decoding_bytes"] = cache.largest, cache.work
    return result


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
