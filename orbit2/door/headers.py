"""What files say of themselves, read once: variables, times, grid. Kept by path, size and time of change, so that an archive of thousands
of files is looked through once. Reads no field."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.door.axes import horizontal, time_name, uneven
from orbit2.door.naming import candidates
from orbit2.door.opening import parts_of
from orbit2.door.places import MARKS, Remote, places
from orbit2.door.stamps import dates
from orbit2.errors import OrbitError
from orbit2.files import read_json, short_hash, write_json
from orbit2.grid import AnyGrid, CurvilinearGrid, from_attributes, from_centres, of_dataset
from orbit2.longitudes import eastward
from orbit2.progress import counted
from orbit2.times import DAY_SECONDS, Times, calendar_of, from_seconds, normal, seconds

log = logging.getLogger(__name__)
VERSION = 3  # of what is kept
FEW = 20  # files that are looked through without a bar
DESCRIBED = ("standard_name", "units", "long_name", "cell_methods")


@dataclass(frozen=True)
class Header:
    """Fields of one file that share a grid and times. `fields`: name -> what it says of itself. `runs`: [first second since 1970 of its
    calendar, step in seconds, count], in order; none for what has no time. `begins`: hour of the day at which its time bounds begin;
    `names`: which of their ends a stamp is."""

    file: str
    bytes: int
    modified_ns: int
    fields: Mapping[str, Mapping[str, str]]
    runs: Sequence[Sequence[int]]
    calendar: str
    cells: Mapping[str, Any]  # the grid's attributes; of a curvilinear one its digest and a few words only
    begins: float | None = None
    names: Literal["begin", "middle", "end"] | None = None

    @property
    def stamps(self) -> Times:
        """[T]: datetime64[s], or cftime dates of another calendar."""
        return from_seconds(self.seconds, calendar=self.calendar)

    @property
    def seconds(self) -> npt.NDArray[np.int64]:
        """[T] since 1970-01-01 of the calendar."""
        pieces = [first + step * np.arange(count, dtype=np.int64) for first, step, count in self.runs]
        return np.concatenate([np.empty(0, np.int64), *pieces])

    @property
    def grid(self) -> AnyGrid:
        """Raises OrbitError for a curvilinear one, which has no axes to train on."""
        if "digest" in self.cells:
            raise OrbitError("the files lie on a curvilinear grid, which has no axes: it is only averaged to another one", where=self.file,
                             got=self.about, allowed="a latitude-longitude grid, a map projection or a rotated pole",
                             hint="name the grid to average to (fine_grid: us_15, ...), or give the files their grid_mapping")  # fmt: skip
        return from_attributes(self.cells)

    @property
    def about(self) -> str:
        """The grid in a few words."""
        return str(self.cells["about"]) if "digest" in self.cells else self.grid.describe()

    def beside(self, other: Header) -> bool:
        """Whether the cells are those of another file."""
        if self.cells == other.cells or "digest" in self.cells or "digest" in other.cells:
            return self.cells == other.cells
        return self.grid.same_as(other.grid)


def headers(patterns: Sequence[str], names: Sequence[str], also: Collection[str] = ()) -> list[Header]:
    """The headers of all files of `patterns`; several of a file whose fields differ in grid or times, none of one without a grid.

    `names`, `also`: see `opened`. Raises OrbitError for an address (files are adopted where they lie, on this machine), for what is not
    there and what cannot be read.
    """
    found = places(list(patterns))
    remote = next((place for place in found if isinstance(place, Remote)), None)
    if remote is not None:
        raise OrbitError("files behind an address are not adopted", where=remote, allowed="files on this machine",
                         hint="copy them first; `orbit2 downscale` reads addresses")  # fmt: skip
    local = [place for place in found if isinstance(place, Path)]
    kept = _Kept(short_hash([VERSION, sorted(names), sorted(also)], 16))
    result: list[Header] = []
    for path in counted(local, "looking through files", len(local), "file") if len(local) > FEW else local:
        result += kept.of(path, names, also)
    kept.close()
    return result


class _Kept:
    """Headers on disk ($ORBIT2_CACHE, else ~/.cache/orbit2), a file for each folder of data; what cannot be kept is read again."""

    def __init__(self, asked: str) -> None:
        self.asked, self.read = asked, 0
        self.folder = Path(os.environ.get("ORBIT2_CACHE") or Path.home() / ".cache" / "orbit2") / "headers"
        self._known: dict[Path, dict[str, Any]] = {}
        self._changed: set[Path] = set()

    def of(self, path: Path, names: Sequence[str], also: Collection[str]) -> list[Header]:
        status, key = _stat(path), str(path.absolute())
        shelf = self.folder / f"{short_hash([self.asked, str(path.absolute().parent)], 16)}.json"
        if shelf not in self._known:
            try:
                content = read_json(shelf)
                self._known[shelf] = content if isinstance(content, dict) else {}
            except (OrbitError, OSError):
                self._known[shelf] = {}
        known = self._known[shelf].get(key)
        if isinstance(known, dict) and (known.get("bytes"), known.get("modified_ns")) == (status.st_size, status.st_mtime_ns):
            try:
                return [Header(key, status.st_size, status.st_mtime_ns, **each) for each in known["headers"]]
            except (KeyError, TypeError):
                pass
        found = _read(path, key, status, names, also)
        self.read += 1
        own = [{k: v for k, v in asdict(each).items() if k not in ("file", "bytes", "modified_ns")} for each in found]
        self._known[shelf][key] = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "headers": own}
        self._changed.add(shelf)
        return found

    def close(self) -> None:
        for shelf in self._changed:
            try:
                write_json(shelf, self._known[shelf])
            except OSError:
                return  # a read-only home is no reason to stop
        if self.read > FEW:
            log.info("%s files were looked through", f"{self.read:,}")


def record_of(path: Path) -> Path:
    """The file whose size and time stand for a file, or for a Zarr store."""
    return next((path / mark for mark in MARKS if (path / mark).is_file()), path) if path.is_dir() else path


def _stat(path: Path) -> os.stat_result:
    try:
        return record_of(path).stat()
    except OSError as error:
        raise OrbitError(f"cannot be read ({error.strerror})", where=path, hint="check that the file is there and may be read") from None


def _read(path: Path, key: str, status: os.stat_result, names: Sequence[str], also: Collection[str]) -> list[Header]:
    found: list[Header] = []
    with ExitStack() as stack:
        for _, data in parts_of(path, names, also, stack):
            header = _of(data, path, key, status, [*also, *(str(found) for name in names for found in candidates(data, name))])
            if header is not None:
                found.append(header)
    return found


def _of(data: xr.Dataset, path: Path, key: str, status: os.stat_result, wanted: Sequence[str]) -> Header | None:
    fields = {str(n): v for n, v in data.data_vars.items() if v.ndim >= 2 and v.dtype.kind in "iuf"}
    if not fields:
        return None
    grid, dims = _grid(data, path, next((name for name in wanted if name in fields), None))
    name = time_name(data)
    stamps = dates(data[name], path, others=True) if name is not None else np.empty(0, "datetime64[s]")
    calendar = calendar_of(stamps)
    about = {n: {k: str(v.attrs[k]) for k in DESCRIBED if k in v.attrs} for n, v in fields.items() if dims <= set(v.dims)}
    cells = grid.to_attributes()
    if isinstance(grid, CurvilinearGrid):  # hundreds of megabytes
        cells = {"kind": cells["kind"], "digest": grid.digest, "about": grid.describe()}
    return Header(key, status.st_size, status.st_mtime_ns, about, _runs(stamps), calendar, cells, *_bounds(data, name, stamps))


def _grid(data: xr.Dataset, path: Path, field: str | None) -> tuple[AnyGrid, set[str]]:
    """The grid of a field (None: of the largest one), and the file's dimensions of it."""
    try:
        axes = horizontal(data, path)
    except OrbitError:
        layout = of_dataset(data, path, field)
        return layout.grid, set(layout.dims)
    _, lon = eastward(data[axes.lon].to_numpy())
    even = from_centres(np.sort(data[axes.lat].to_numpy().astype(np.float64)), lon)
    grid = of_dataset(data, path, field).grid if uneven(even) else even  # with bounds, or outer rows that reach to the poles
    return grid, {str(data[axis].dims[0]) for axis in axes}


def _runs(stamps: Times) -> list[list[int]]:
    """Times as runs of equal steps."""
    values = np.sort(seconds(stamps)) if len(stamps) else np.empty(0, np.int64)
    if not len(values):
        return []
    steps = np.diff(values)
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(values) - 1] if len(values) > 1 else [0]
    runs, start = [], 0
    for end in ends:
        if end < start:
            continue
        runs.append([int(values[start]), int(steps[start]) if end > start else 0, end - start + 1])
        start = end + 1
    return runs


def _bounds(data: xr.Dataset, name: str | None, stamps: Times) -> tuple[float | None, Literal["begin", "middle", "end"] | None]:
    """Hour of the day at which the first interval of time begins, and what of it its stamp is, where the file says its bounds."""
    bounds = None if name is None else data[name].attrs.get("bounds") or data[name].encoding.get("bounds")
    if bounds is None or bounds not in data.variables or data[bounds].ndim != 2 or not data[bounds].size:
        return None, None
    ends = data[bounds][0].values
    if ends.dtype.kind not in "MO" or len(ends) != 2:
        return None, None
    begin, end = seconds(normal(ends)).tolist()
    stamp = int(seconds(stamps[:1])[0])
    names: Literal["begin", "middle", "end"] = "begin" if stamp <= begin else "end" if stamp >= end else "middle"
    return (begin % DAY_SECONDS) / 3600, names if end > begin else None
