"""Opens what a user names: NetCDF, Zarr, GRIB, zips of them; one or many, here or behind an address. Lazy; never writes beside a file."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from orbit2.door import archive
from orbit2.door.damage import refuse_broken_hdf5
from orbit2.door.grib import open_grib
from orbit2.door.ingest import NOTES
from orbit2.door.joining import STILL, joined
from orbit2.door.naming import accepted, candidates
from orbit2.door.places import Place, Remote, places
from orbit2.door.stored import stored_members
from orbit2.errors import OrbitError
from orbit2.variables import variable

log = logging.getLogger(__name__)
MEMBERS = (".nc", ".nc4", ".grib", ".grib2", ".grb", ".grb2")
_folders: set[Path] = set()  # that something was unpacked into
READABLE = "NetCDF, GRIB, Zarr, or a zip of NetCDF or GRIB"
_KINDS = {b"\x89HDF": "hdf5", b"CDF\x01": "netcdf", b"CDF\x02": "netcdf", b"CDF\x05": "netcdf", b"GRIB": "grib", b"PK\x03\x04": "zip"}


class opened(AbstractContextManager[xr.Dataset]):
    """A lazy Dataset (without dask: what is asked for is what is read) that is closed at the end.

    `source`: files, patterns, folders, addresses (see `places`), which are put together (see `joined`). `names`: variables that are
    wanted, `also`: names in the files that the user says are some of them; files with none of these are left out, and only such messages
    of a GRIB file are looked at. Raises OrbitError for what cannot be read.

    No generator: one that is dropped is closed by whatever thread collects garbage, and its files with it, while another one reads them.
    What is never closed here goes when nothing refers to its arrays any more.
    """

    def __init__(self, source: str | Path | Sequence[str | Path], names: Sequence[str], also: Collection[str] = ()) -> None:
        partners = (variable(name).partner for name in names)  # a wind along the grid is turned with its other component
        self.names = tuple(dict.fromkeys((*names, *(partner for partner in partners if partner))))
        self.source, self.also, self.stack = source, also, ExitStack()

    def __enter__(self) -> xr.Dataset:
        try:
            notes: list[str] = []
            parts = [part for place in places(self.source) for part in parts_of(place, self.names, self.also, self.stack)]
            parts = _wanted(parts, self.names, self.also, notes)
            dataset = joined(parts, notes)
        except BaseException:
            self.stack.close()
            raise
        if notes:
            dataset = dataset.copy(deep=False)
            dataset.encoding = {**dataset.encoding, NOTES: notes}
        return dataset

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def parts_of(place: Place, names: Sequence[str], also: Collection[str], stack: ExitStack) -> list[tuple[object, xr.Dataset]]:
    """The Datasets of a file, each with where it is from: several of a zip or a GRIB file."""
    try:
        return _open(place, names, also, stack)
    except (OrbitError, MemoryError):
        raise
    except Exception as error:  # the libraries' errors have no common base class
        text = " ".join(str(error).split())[:160]
        raise OrbitError(f"cannot be read as {READABLE} ({type(error).__name__}: {text})", where=place,
                         hint="is it whole? Download or copy it again") from None  # fmt: skip


def _open(place: Place, names: Sequence[str], also: Collection[str], stack: ExitStack) -> list[tuple[object, xr.Dataset]]:
    if isinstance(place, Remote):
        if place.is_store:
            data = xr.open_dataset(place.url, engine="zarr", chunks=None, cache=False, storage_options=place.options)
            return [(place, stack.enter_context(data))]
        if kind_of(place) == "hdf5":
            filesystem, path = place.there
            file = stack.enter_context(filesystem.open(path, "rb"))
            return [(place, stack.enter_context(xr.open_dataset(file, engine="h5netcdf", chunks=None, cache=False)))]
        return [(place, data) for _, data in _open(_copied(place, stack), names, also, stack)]
    if place.is_dir():
        data = xr.open_dataset(place, engine="zarr", chunks=None, cache=False, consolidated=False)
        return [(place, stack.enter_context(data))]
    if kind_of(place) == "zip":
        return [(place, data) for member in _members(place, stack) for data in _single(member, names, also, place, stack)]
    return [(place, data) for data in _single(place, names, also, place, stack)]


def _copied(place: Remote, stack: ExitStack) -> Path:
    """A copy in a temporary folder that goes with the reading, of what cannot be read piece by piece from afar."""
    filesystem, path = place.there
    size = int(filesystem.info(path).get("size") or 0)
    folder = _folder(stack)
    if size > shutil.disk_usage(folder).free:
        raise OrbitError("no room for a copy of it", where=place, got=f"{size / 1e9:.1f} GB", hint="set TMPDIR to a larger disk")
    log.info("%s is copied (%.1f MB): only HDF5 and Zarr are read from afar", place, size / 1e6)
    target = folder / (place.name or "input")
    filesystem.get_file(path, str(target))
    return target


def _folder(stack: ExitStack) -> Path:
    """A temporary folder until all is closed, or the process ends: not until somebody drops the last name for it."""
    _folders.add(folder := Path(tempfile.mkdtemp(prefix="orbit2-")))
    stack.callback(_remove, folder)
    return folder


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _folders.discard(folder)


@atexit.register
def _remove_all() -> None:
    for folder in tuple(_folders):
        _remove(folder)


def _single(file: Any, names: Sequence[str], also: Collection[str], where: Path, stack: ExitStack) -> list[xr.Dataset]:
    kind = kind_of(file)
    if kind == "grib":
        return _grib(file, names, also, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calendars: `stamps` says what is to be said
        return [stack.enter_context(read(file))]


def read(file: Any, *, decode_times: bool = True, classic: Literal["netcdf4", "scipy"] = "netcdf4") -> xr.Dataset:
    """A NetCDF file (its path, or a member of a zip where it lies), lazily: the one place where files of providers and users are opened.

    HDF5 goes through h5py: the netCDF library reads 6 kB for each hour's expver, and may not be used from several threads. `classic`:
    what reads NetCDF 3 (`scipy` from threads). Raises what these raise, for a damaged file OSError, for another kind ValueError.
    """
    kind = kind_of(file)
    if kind == "hdf5":
        refuse_broken_hdf5(file)
    elif kind != "netcdf":
        raise ValueError("not NetCDF by its first bytes")
    engine = "h5netcdf" if kind == "hdf5" else classic
    found: xr.Dataset = xr.open_dataset(file, engine=engine, chunks=None, cache=False, decode_times=decode_times)
    return found


def kind_of(file: Any) -> str:
    """By content, not by name: "hdf5" (NetCDF 4), "netcdf" (3), "grib", "zip" or "unknown"."""
    if isinstance(file, Path):
        with open(file, "rb") as handle:
            head = handle.read(4)
    else:
        head = file.head(4)
    return _KINDS.get(head, "unknown")


def _members(path: Path, stack: ExitStack) -> list[Any]:
    """The data files of a zip: in place where they are stored, else unpacked into a temporary folder that goes with the reading."""
    try:
        members = stored_members(path, MEMBERS)
    except zipfile.BadZipFile as error:
        raise OrbitError(f"damaged zip archive ({error})", where=path, hint="download it again") from None
    if members and all(kind_of(member) == "hdf5" for member in members):
        return list(members)
    infos = [m for m in archive.members(path) if m.filename.lower().endswith(MEMBERS)]
    if not infos:
        raise OrbitError("zip archive without a data file", where=path, allowed=", ".join(MEMBERS), hint="unpack it to see what it holds")
    folder, files = _folder(stack), []
    with zipfile.ZipFile(path) as zipped:
        for i, info in enumerate(infos):
            files.append(folder / f"{i}{Path(info.filename).suffix}")
            with zipped.open(info) as member, open(files[-1], "wb") as out:
                shutil.copyfileobj(member, out, 1 << 20)
    return files


def _grib(file: Path, names: Sequence[str], also: Collection[str], where: Path) -> list[xr.Dataset]:
    wanted = {short for name in names for short in accepted(name)} | set(also)
    others: set[str] = set()
    try:
        cubes = open_grib(file, wanted, others)
    except ValueError as error:
        raise OrbitError(f"GRIB file cannot be used ({error})", where=where, allowed="regular latitude-longitude fields",
                         hint="put it on latitude and longitude first (cdo -R remapcon, grib_filter)") from None  # fmt: skip
    if not cubes:
        raise OrbitError("GRIB file holds none of the needed variables", where=where, got=", ".join(sorted(others)) or "nothing",
                         allowed=", ".join(sorted(wanted)), hint="grib_ls shows what it holds")  # fmt: skip
    return [cube.drop_vars("expver", errors="ignore") for cube in cubes]


def _wanted(
    parts: list[tuple[object, xr.Dataset]], names: Sequence[str], also: Collection[str], notes: list[str]
) -> list[tuple[object, xr.Dataset]]:
    """Of several files those that hold something wanted; all of them where none does (then the error says what they hold)."""
    if len(parts) == 1:
        return parts
    held = [(where, data, {str(n) for name in names for n in candidates(data, name)} | (set(also) & set(map(str, data.data_vars))))
            for where, data in parts]  # fmt: skip
    used = [(where, data, fields) for where, data, fields in held if fields]
    if not used:
        return parts
    left = {str(where): where for where, _, fields in held if not fields} if len(used) < len(held) else {}
    left = {key: where for key, where in left.items() if key not in {str(w) for w, _, _ in used}}
    if left:
        notes.append(f"files: {len(left)} hold none of the needed variables and are left out (the first: {next(iter(left))})")
    return [(where, _only(data, fields)) for where, data, fields in used]


def _only(data: xr.Dataset, fields: Collection[str]) -> xr.Dataset:
    """Without the fields that nobody asked for: they may lie on other grids. What describes the grid stays."""
    spare = [n for n, v in data.data_vars.items() if str(n) not in fields and v.ndim >= 2 and not _describes(data, str(n))]
    return data.drop_vars(spare)


def _describes(data: xr.Dataset, name: str) -> bool:
    """Whether a variable says where cells are, or how they are turned: bounds, 2-D latitudes and longitudes, angles."""
    bounds = {str(v.attrs.get("bounds") or v.encoding.get("bounds") or "") for v in data.variables.values()}
    units = str(data[name].attrs.get("units", "")).lower().replace(" ", "_")
    return name in bounds or units.startswith("degree") or name in STILL
