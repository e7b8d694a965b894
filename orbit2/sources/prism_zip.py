"""One PRISM zip: what it says it is, its grid and its field, read in memory. Never unpacks to disk."""

from __future__ import annotations

import re
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import rasterio
import rioxarray
import xarray as xr
from rasterio.errors import RasterioError

from orbit2.door.archive import members
from orbit2.errors import OrbitError
from orbit2.variables import variable

CELLS_PER_DEGREE = {"4km": 24, "800m": 120}  # centres lie on k/24 and k/120 degrees
MISSING_BELOW = -9000.0  # nodata is -9999; clipped files have -3.4e38
MAX_BYTES = 2**30  # of one day unpacked; the 800 m grid takes 87 MB
OFFSETS = {"total_precipitation_24hr": 0.0, "2m_temperature_min": 273.15, "2m_temperature_max": 273.15}  # degC -> K
_RESOLUTIONS = {"4kmd1": "4km", "4kmd2": "4km", "25m": "4km", "800md1": "800m", "800md2": "800m", "30s": "800m"}
_NAME = re.compile(
    r"prism_(?P<element>[a-z]+)_(?:(?P<stability>stable|provisional|early)_(?P<old>[0-9a-z]+)|[a-z]{2}_(?P<new>\d+[ms]))_(?P<day>\d{8})"
    r"(?:_bil)?\.(?:bil|tif)", re.IGNORECASE)
_AGAIN = "delete it and retrieve it again"
FloatArray = npt.NDArray[np.float32]
Axis = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """What a zip says it is. `packed` and `size`: bytes of its raster in the archive and unpacked."""

    path: Path
    member: str
    element: str
    day: np.datetime64
    resolution: str
    stability: str
    packed: int
    size: int

    @property
    def raw(self) -> bool:
        """Plain numbers (BIL), as long as their grid."""
        return self.member.lower().endswith(".bil")


@dataclass(frozen=True)
class PrismGrid:
    """Cell centres in degrees: latitude ascending, longitude ascending within [0, 360)."""

    lat: Axis
    lon: Axis

    @property
    def shape(self) -> tuple[int, int]:
        return self.lat.size, self.lon.size

    def describe(self) -> str:
        return f"{self.lat.size} x {self.lon.size} cells from {self.lat[0]:.4f} N, {self.lon[0]:.4f} E"

    def same_as(self, other: PrismGrid) -> bool:
        return np.array_equal(self.lat, other.lat) and np.array_equal(self.lon, other.lon)


def inspect(path: Path) -> Day:
    """Element, day, resolution and stability of a zip, from its directory. Raises OrbitError for what is no PRISM day."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint="run the retrieve stage")
    found = members(path, max_members=64, max_bytes=MAX_BYTES)
    matches = [(m, match) for m in found if (match := _NAME.fullmatch(PurePosixPath(m.filename).name))]
    if len(matches) != 1:
        raise OrbitError("not one PRISM day", where=path, got=[m.filename for m in found][:6] or "an empty archive",
                         allowed="one prism_<element>_..._<YYYYMMDD> .bil or .tif", hint="give PRISM's own daily archives")  # fmt: skip
    member, match = matches[0]
    token = (match["old"] or match["new"]).lower()
    if token not in _RESOLUTIONS:
        raise OrbitError("unknown PRISM grid", where=path, got=token, allowed=", ".join(_RESOLUTIONS),
                         hint="give archives of one of these grids")  # fmt: skip
    try:
        day = np.datetime64(f"{match['day'][:4]}-{match['day'][4:6]}-{match['day'][6:]}", "D")
    except ValueError:
        raise OrbitError("not a date", where=path, got=match["day"], hint="give the file the name that PRISM gave it") from None
    stability = (match["stability"] or _stability(path, found, day)).lower()
    return Day(path, member.filename, match["element"].lower(), day, _RESOLUTIONS[token], stability, member.compress_size, member.file_size)


def _stability(path: Path, found: list[zipfile.ZipInfo], day: np.datetime64) -> str:
    """Files named since 2025 do not say how final they are: PRISM's own schedule does, from the date on which they were made.

    Early in the month of the day, stable six months after it, provisional between.
    """
    info = next((m for m in found if m.filename.lower().endswith(".info.txt") and m.file_size < 100_000), None)
    if info is None:
        return "unknown"
    with zipfile.ZipFile(path) as opened:
        made = re.search(r"CREATE_DATE:\s*(\d{4})(\d{2})(\d{2})", opened.read(info).decode("utf-8", "replace"))
    if made is None:
        return "unknown"
    months = (np.datetime64(f"{made[1]}-{made[2]}", "M") - day.astype("datetime64[M]")).astype(int)
    return "early" if months < 1 else "provisional" if months < 6 else "stable"


def load(one: Day) -> tuple[PrismGrid, FloatArray]:
    """Grid and values [lat, lon] as the file has them (mm or degC), missing cells NaN.

    Raises OrbitError when the archive is damaged, the raster is not as long as its header says, or the grid is not PRISM's.
    """
    content = _content(one)
    stem = one.member.rpartition(".")[0]
    folder = uuid.uuid4().hex  # of GDAL's files in memory: side by side, as on disk
    try:
        with ExitStack() as stack:
            for name, part in content.items():
                if name != one.member:
                    stack.enter_context(rasterio.MemoryFile(part, dirname=folder, filename=f"day{name[len(stem):].lower()}"))
            kind, driver = ("day.bil", "EHdr") if one.raw else ("day.tif", "GTiff")  # nothing else is tried on files from outside
            raster = stack.enter_context(rasterio.MemoryFile(content[one.member], dirname=folder, filename=kind))
            opened = stack.enter_context(raster.open(driver=driver))
            if one.raw and one.size != 4 * opened.width * opened.height:
                raise OrbitError("corrupt: the raster is not as long as its header says", where=one.path, got=f"{one.size} bytes",
                                 allowed=f"{4 * opened.width * opened.height} bytes", hint=_AGAIN)
            if opened.count != 1 or opened.width * opened.height > MAX_BYTES // 4:
                raise OrbitError("not one field of PRISM", where=one.path, got=f"{opened.count} x {opened.height} x {opened.width}",
                                 hint="remove it and retrieve it again")  # fmt: skip
            array = rioxarray.open_rasterio(opened, cache=False)
            assert isinstance(array, xr.DataArray)
            grid = _grid(array, opened, one)
            values = array.to_numpy()[0].astype(np.float32)
    except RasterioError as error:
        raise OrbitError(f"corrupt: the raster cannot be read ({str(error).splitlines()[0]})", where=one.path, hint=_AGAIN) from None
    return grid, np.where(values > MISSING_BELOW, values, np.float32(np.nan))[::-1]


def _content(one: Day) -> Mapping[str, bytes]:
    """The raster and the small files that describe it; zipfile verifies length and CRC."""
    stem = one.member.rpartition(".")[0]
    wanted = (one.member, *(f"{stem}{ending}" for ending in ((".hdr", ".prj") if one.raw else ())))
    try:
        with zipfile.ZipFile(one.path) as opened:
            names = set(opened.namelist())
            if one.raw and wanted[1] not in names:
                raise OrbitError("the raster has no header", where=one.path, allowed=wanted[1], hint="remove it and retrieve it again")
            return {name: opened.read(name) for name in wanted if name in names}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise OrbitError(f"damaged archive ({error})", where=one.path, hint=_AGAIN) from None
    except Exception as error:  # zlib.error and its like have no common base
        if isinstance(error, OrbitError):
            raise
        raise OrbitError(f"damaged archive ({type(error).__name__}: {error})", where=one.path, hint=_AGAIN) from None


def _grid(array: xr.DataArray, opened: rasterio.DatasetReader, one: Day) -> PrismGrid:
    """Cell centres, snapped to PRISM's multiples (headers round them)."""
    per_degree = CELLS_PER_DEGREE[one.resolution]
    if opened.crs is not None and not opened.crs.is_geographic:
        raise OrbitError("wrong grid: not in degrees", where=one.path, got=opened.crs.to_string(), allowed="NAD83 (EPSG:4269)",
                         hint="give PRISM's own files, not reprojected ones")  # fmt: skip
    axes = []
    for axis, steps in (("y", array["y"].values[::-1]), ("x", array["x"].values)):
        whole = np.rint(steps * per_degree)
        if steps.size < 2 or np.max(np.abs(steps * per_degree - whole)) > 0.01 or np.any(np.diff(whole) != 1):
            raise OrbitError(f"wrong grid: {axis} is not every 1/{per_degree} degree on its multiples", where=one.path,
                             got=f"{steps.size} cells from {steps[0]:.6f} to {steps[-1]:.6f}",
                             hint="give PRISM's own files, not regridded ones")  # fmt: skip
        axes.append(whole)
    lon = np.mod(axes[1], 360 * per_degree) / per_degree
    if np.any(np.diff(lon) <= 0):
        raise OrbitError("wrong grid: it crosses the prime meridian", where=one.path, hint="give PRISM's own files, of the United States")
    return PrismGrid(axes[0] / per_degree, lon)


def field(one: Day, name: str, grid: PrismGrid) -> FloatArray:
    """Variable `name` as [lat, lon] in canonical units. Raises OrbitError for another grid and for impossible values."""
    found, values = load(one)
    if not found.same_as(grid):
        raise OrbitError("wrong grid: not that of the other files", where=one.path, got=found.describe(), allowed=grid.describe(),
                         hint="give files of one grid")  # fmt: skip
    values = values + np.float32(OFFSETS[name])
    low, high = variable(name).valid
    if np.isfinite(values).any() and (np.nanmin(values) < low or np.nanmax(values) > high):
        raise OrbitError("impossible values", where=f"{one.path}: {name}", got=f"{np.nanmin(values):.4g} to {np.nanmax(values):.4g}",
                         allowed=f"{low} to {high} {variable(name).units}", hint="remove it and retrieve it again")  # fmt: skip
    return values
