"""Opens what a user gives: NetCDF, Zarr, GRIB, or a zip of them. Lazy; never writes beside the file, never follows an address."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from orbit2.door import archive
from orbit2.door.damage import refuse_broken_hdf5
from orbit2.door.grib import open_grib
from orbit2.door.naming import accepted
from orbit2.door.stored import stored_members
from orbit2.errors import OrbitError

SUFFIXES = (".nc", ".nc4", ".grib", ".grib2", ".grb")
READABLE = "NetCDF, GRIB, Zarr, or a zip of NetCDF or GRIB"
_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]+:/{1,2}", re.IGNORECASE)


def local(source: str | Path) -> Path:
    """The path of a local file or folder. Raises OrbitError for an address and for what is not there."""
    text = str(source)
    if _ADDRESS.match(text):
        tool = "aws s3 cp --recursive" if text.startswith("s3:") else "gsutil cp -r" if text.startswith("gs:") else "wget"
        hint = f"copy it first, e.g. with `{tool}`; or open it with xarray and give the Dataset to model.downscale"
        raise OrbitError("an address (URL): only local files and folders are read", where=text, allowed="a path on this machine", hint=hint)
    path = Path(source)
    if not path.exists():
        raise OrbitError("input not found", where=path)
    return path


@contextmanager
def opened(source: str | Path, names: Sequence[str]) -> Iterator[xr.Dataset]:
    """A lazy Dataset (without dask: what is asked for is what is read) that is closed at the end. `names`: variables that are wanted,
    which tells which messages of a GRIB file are looked at. Raises OrbitError for what cannot be read."""
    path = local(source)
    with ExitStack() as stack:
        try:
            dataset = stack.enter_context(_open(path, names, stack))
        except (OrbitError, MemoryError):
            raise
        except Exception as error:  # the libraries' errors have no common base class
            text = " ".join(str(error).split())[:160]
            raise OrbitError(f"cannot be read as {READABLE} ({type(error).__name__}: {text})", where=path,
                             hint="is it whole? Download or copy it again") from None  # fmt: skip
        yield dataset


def _open(path: Path, names: Sequence[str], stack: ExitStack) -> xr.Dataset:
    if path.is_dir():
        return xr.open_dataset(path, engine="zarr", chunks=None, cache=False, consolidated=False)
    kind = _kind(path)
    if kind == "zip":
        return _joined([stack.enter_context(_single(member, names, path)) for member in _members(path, stack)], path)
    return _single(path, names, path)


def _single(file: Any, names: Sequence[str], where: Path) -> xr.Dataset:
    kind = _kind(file)
    if kind == "grib":
        return _grib(file, names, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of calendars: `stamps` says what is to be said
        if kind == "hdf5":
            refuse_broken_hdf5(file)
            return xr.open_dataset(file, engine="h5netcdf", chunks=None, cache=False)
        return xr.open_dataset(file, engine="netcdf4", chunks=None, cache=False)


def _kind(file: Any) -> str:
    """By content, not by name."""
    if isinstance(file, Path):
        with open(file, "rb") as handle:
            head = handle.read(4)
    else:
        head = file.head(4)
    return {b"\x89HDF": "hdf5", b"GRIB": "grib", b"PK\x03\x04": "zip"}.get(head, "other")


def _members(path: Path, stack: ExitStack) -> list[Any]:
    """The data files of a zip: in place where they are stored, else unpacked into a temporary folder that goes with the reading."""
    try:
        members = stored_members(path, SUFFIXES)
    except zipfile.BadZipFile as error:
        raise OrbitError(f"damaged zip archive ({error})", where=path, hint="download it again") from None
    if members and all(_kind(member) == "hdf5" for member in members):
        return list(members)
    infos = [m for m in archive.members(path) if m.filename.lower().endswith(SUFFIXES)]
    if not infos:
        raise OrbitError("zip archive without a data file", where=path, allowed=", ".join(SUFFIXES))
    folder, files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orbit2-"))), []
    with zipfile.ZipFile(path) as zipped:
        for i, info in enumerate(infos):
            files.append(folder / f"{i}{Path(info.filename).suffix}")
            with zipped.open(info) as member, open(files[-1], "wb") as out:
                shutil.copyfileobj(member, out, 1 << 20)
    return files


def _grib(file: Path, names: Sequence[str], where: Path) -> xr.Dataset:
    wanted = {short for name in names for short in accepted(name)}
    try:
        cubes = open_grib(file, wanted)
    except ValueError as error:
        raise OrbitError(f"GRIB file cannot be used ({error})", where=where, allowed="regular latitude-longitude fields") from None
    if not cubes:
        raise OrbitError("GRIB file holds none of the needed variables", where=where, allowed=", ".join(sorted(wanted)))
    return _joined([cube.drop_vars("expver", errors="ignore") for cube in cubes], where)


def _joined(parts: list[xr.Dataset], where: Path) -> xr.Dataset:
    """Fields of several files or cubes as one; coordinates that lie along the same dimension must be the same."""
    if len(parts) == 1:
        return parts[0]
    try:
        joined = xr.merge([p.drop_vars(["number", "expver"], errors="ignore") for p in parts], join="exact", compat="override",
                          combine_attrs="drop_conflicts")  # fmt: skip
    except ValueError as error:
        text = " ".join(str(error).split())[:160]
        raise OrbitError(f"the fields lie on different times or grids ({text})", where=where,
                         hint="give one file whose fields share times and grid") from None  # fmt: skip
    for key, values in joined.data_vars.items():
        values.encoding = next(p[key].encoding for p in parts if key in p)
    return joined
