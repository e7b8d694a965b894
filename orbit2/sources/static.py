"""Static fields on any grid: the packaged 0.25 degree ones, ERA5's own, a finer relief. Never z-scores a fraction, never fills.

Retrieved files lie in one folder; the configuration says which of them counts for which field."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.needs import MADE
from orbit2.config.sources import StaticConfig
from orbit2.door.axes import horizontal
from orbit2.door.damage import reading
from orbit2.door.ecmwf import INVARIANT, SINGLE
from orbit2.door.joining import joined
from orbit2.door.naming import candidates
from orbit2.door.opening import parts_of
from orbit2.errors import OrbitError, did_you_mean
from orbit2.files import short_hash
from orbit2.grid import AnyGrid, Grid, from_attributes, from_centres, of_dataset
from orbit2.longitudes import eastward, follow
from orbit2.remap import Regridder
from orbit2.sources import manifest, relief
from orbit2.sources.sample import STATIC
from orbit2.sources.source import Facts, Need, Request
from orbit2.sources.static_maps import GRID, on_map
from orbit2.units import conversion
from orbit2.variables import VARIABLES, variable

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
COVERS = ("high_vegetation_cover", "low_vegetation_cover")  # ERA5's landcover is their sum
PACKAGED = ("land_sea_mask", "orography")
TIMES = ("time", "Time", "valid_time", "t", "month")  # fields that have a time have any
_RENAMED: dict[Path, dict[str, str]] = {}  # what the user calls the fields of his files
LARGE = 2**25  # cells (256 MB in memory): a user's field with more is read around the target only
RELIEF = ("orography", "subgrid_orography_deviation")
ERA5_FILE, PACKAGED_FILE, RELIEF_PREFIX = "era5_static.nc", "static_0.25deg.nc", "relief_"
RELIEF_BYTES = 480_000_000  # ETOPO 2022, 60 arc-seconds, ice surface
INVARIANT_DATE = np.datetime64("2020-01-01T00", "s")  # any hour will do
_ALWAYS = (np.datetime64("0001-01-01T00:00:00", "s"), np.datetime64("9999-12-31T23:59:59", "s"))


class Static:
    """Static fields as a source: what to retrieve for a configuration, and checks. Fields are opened by `open_static`."""

    name = "static"

    def __init__(self, config: StaticConfig) -> None:
        self.config = config
        era5 = config.source == "era5"
        self.facts = Facts(
            title="Static fields" + (" of ERA5" if era5 else " that ship with orbit2") + (", relief" if config.relief else ""),
            licence="CC BY 4.0" if era5 else "see orbit2/sources/sample/ATTRIBUTION.md",
            doi="10.24381/cds.adbb2d47" if era5 else None,
            attribution=("Contains modified Copernicus Climate Change Service information; Hersbach, H. et al. (2020), "
                         "doi:10.1002/qj.3803." if era5 else "see orbit2/sources/sample/ATTRIBUTION.md")
            + (f" Relief: {config.relief} (ETOPO: NOAA NCEI, public domain, doi:10.25921/fd45-gt74)." if config.relief else ""),
            day="no time")

    def offers(self) -> tuple[str, ...]:
        own = (*INVARIANT, "landcover") if self.config.source == "era5" else PACKAGED
        return tuple(dict.fromkeys((*own, *(RELIEF if self.config.relief else ()), *MADE)))

    def plan(self, need: Need) -> list[Request]:
        """One file of ERA5's invariant fields, or the packaged one; and the relief. Days and box do not matter.

        Raises OrbitError for a field that this configuration does not have.
        """
        for name in need.variables:
            if name not in self.offers():
                raise OrbitError("static field is not in these sources", where="static", got=name, allowed=", ".join(self.offers()),
                                 hint=did_you_mean(name, self.offers()) or "set sources.static.source: era5, or sources.static.relief")
        requests = [self._era5() if self.config.source == "era5" else Request(
            PACKAGED_FILE, "packaged", {"packaged": "static"}, PACKAGED, *_ALWAYS, 1_500_000,
            note="would be written from the packaged data, no network")]
        if self.config.relief:
            file = f"{RELIEF_PREFIX}{short_hash(self.config.relief)}.nc"
            requests.append(Request(file, "http", {"url": self.config.relief, "minimum_bytes": 1000}, RELIEF, *_ALWAYS, RELIEF_BYTES))
        return requests

    def _era5(self) -> Request:
        day = str(INVARIANT_DATE)
        body = {"product_type": ["reanalysis"], "variable": sorted(f.request for f in INVARIANT.values()), "year": [day[:4]],
                "month": [day[5:7]], "day": [day[8:10]], "time": ["00:00"], "data_format": "netcdf", "download_format": "unarchived"}
        return Request(ERA5_FILE, "cds", {"dataset": SINGLE, "request": body}, (*INVARIANT, "landcover"), *_ALWAYS,
                       len(INVARIANT) * 721 * 1440 * 2)

    def check(self, path: Path, request: Request) -> None:
        """Raise OrbitError unless the file holds what its request is for."""
        if request.client == "http":
            relief.check(path)
            return
        for name in PACKAGED if request.client == "packaged" else INVARIANT:
            _read(path, name)
        _read.cache_clear()  # the file is about to be renamed

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        raise OrbitError("static fields have no time", where="static", got=", ".join(names), hint="list them among the statics")


def open_static(
    grid: AnyGrid, names: Sequence[str], path: Path | None = None, config: StaticConfig | None = None, cache: str | None = None,
    own: Sequence[Path] = (), rename: Mapping[str, str] | None = None,
) -> FloatArray:
    """Static fields [S, H, W] on `grid`, canonical units, in the order of `names`.

    `own`: files that come first, for what they hold; `rename`: names in them -> canonical names.
    `path`: one file with fields by any usual names, or the folder that `retrieve`
    filled, or None for the packaged 0.25 degree fields. With `config`, only the files that it asks for count in a folder; without, a
    relief comes before ERA5's fields and these before the packaged ones. Fields are averaged conservatively, and interpolated linearly
    where `grid` is finer than the file; fractions stay within 0 and 1. `slope` is the gradient of the orography AT the target grid (metres
    per metre), `latitude` the cell centres'; `landcover` is ERA5's tall and low vegetation together; `subgrid_orography_deviation` comes
    from the relief inside each cell where there is one, else from ERA5. `cache`: see Regridder. Raises OrbitError for a field that the
    files do not have.
    """
    _call(own, rename or {})
    if not isinstance(grid, Grid):
        maps = [file for file in (*own, *([path] if path is not None and path.is_file() else [])) if on_a_map(file)]
        wanted = {*names, "orography"} if "slope" in names else set(names)
        direct = {name: _averaged(grid, file, name, cache) for file in reversed(maps) for name in _held(file) if name in wanted}
        return on_map(grid, names, path, lambda base, wanted: open_static(base, wanted, path, config, cache, own, rename), direct)
    files = [*own, *_sources(path, config)]
    result = np.empty((len(names), *grid.shape), dtype=np.float32)
    known: dict[str, Array] = {}
    for i, name in enumerate(names):
        if variable(name).kind != "static":
            raise OrbitError("not a static field", where="statics", got=name, hint="list it among the inputs instead")
        if name == "latitude":
            result[i] = grid.lat[:, None]
        elif name == "slope":
            result[i] = relief.slope(_field(grid, "orography", files, known, cache), grid)
        else:
            result[i] = _field(grid, name, files, known, cache)
    return result


def open_window(grid: Grid, rows: slice, columns: slice, names: Sequence[str], path: Path | None = None) -> FloatArray:
    """`open_static` of some cells of `grid` only, [S, h, w]: memory goes with the window, not with `grid`.

    `columns` may begin below 0 or end beyond the last one on a grid that goes round the globe. As on the whole grid up to rounding.
    """
    height, width = grid.shape
    room = columns.stop - columns.start < width  # else the window closes round the globe, or is as wide as the box
    more_rows = slice(max(rows.start - 1, 0), min(rows.stop + 1, height))  # slopes need neighbours
    more_columns = columns
    if room:
        more_columns = slice(columns.start - 1, columns.stop + 1)
        if not grid.periodic:
            more_columns = slice(max(more_columns.start, 0), min(more_columns.stop, width))
        elif more_columns.stop - more_columns.start > width:
            more_columns = slice(columns.start, columns.stop + 1)
    edges = np.arange(more_columns.start, more_columns.stop + 1)
    turns = edges // width if grid.periodic else np.zeros_like(edges)
    lon_edges = grid.lon_edges[edges - turns * width] + 360.0 * turns
    near = Grid(grid.lat_edges[more_rows.start : more_rows.stop + 1], lon_edges)
    fields = open_static(near, names, path, cache=os.devnull)
    top, left = rows.start - more_rows.start, columns.start - more_columns.start
    return fields[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def _sources(path: Path | None, config: StaticConfig | None) -> list[Path]:
    """The files that fields are looked for in, the first that has one wins."""
    if path is None:
        return [STATIC]
    if not path.is_dir():
        return [path]
    found = {str(p.relative_to(path)): p for p in manifest.files(path)}
    if config is None:
        ranked = sorted(found, key=lambda f: (not f.startswith(RELIEF_PREFIX), f != ERA5_FILE, f))
    else:
        ranked = [r.file for r in reversed(Static(config).plan(Need((), *_ALWAYS)))]
        absent = [file for file in ranked if file not in found]
        if absent:
            raise OrbitError("static files were not retrieved", where=path, got=", ".join(absent), hint="run the retrieve stage")
    return [found[file] for file in ranked]


def _field(grid: Grid, name: str, files: list[Path], known: dict[str, Array], cache: str | None) -> Array:
    """One field [H, W] on `grid` from the first file that has it."""
    if name not in known:
        for path in files:
            if path.name.startswith(RELIEF_PREFIX):
                if name in RELIEF:
                    land, values = _read(STATIC, "land_sea_mask")
                    assert isinstance(land, Grid)  # what ships with orbit2
                    known["orography"], known["subgrid_orography_deviation"] = relief.averaged(path, grid, (land, values))
                    break
            elif path is files[-1] or name in _held(path):
                known[name] = _averaged(grid, path, name, cache)
                break
        else:
            raise OrbitError("static field not in the files", where=", ".join(map(str, files)), got=name, allowed=", ".join(RELIEF),
                             hint="give a file that holds it")  # fmt: skip
    return known[name]


def _averaged(grid: AnyGrid, path: Path, name: str, cache: str | None) -> Array:
    source, values = _near(grid, path, name)
    if grid.same_as(source):
        return values
    finer = isinstance(source, Grid) and isinstance(grid, Grid) and grid.resolution < source.resolution * (1 - 1e-6)
    field = Regridder(source, grid, "bilinear" if finer else "conservative", cache=cache)(values)
    if not np.isfinite(field).all():
        raise OrbitError("the static file does not cover the grid", where=path, got=source.describe(), allowed=grid.describe(),
                         hint="give a file of the whole region")  # fmt: skip
    return np.clip(field, 0.0, 1.0) if _is_share(name) else field


def _call(files: Sequence[Path], rename: Mapping[str, str]) -> None:
    """Fields of `files` are found by the names that the user says. What was read under other ones is read again."""
    theirs = {name: ours for name, ours in rename.items() if variable(ours).kind == "static"}
    changed = [file for file in files if _RENAMED.get(file, {}) != theirs]
    _RENAMED.update(dict.fromkeys(changed, theirs))
    for cached in (_held, _axes, _read, _on_a_map) if changed else ():
        cached.cache_clear()


def _is_share(name: str) -> bool:
    return variable(name).valid == (0, 1)


@lru_cache(maxsize=32)
def _held(path: Path) -> tuple[str, ...]:
    with reading(path), _opened(path, anywhere=True) as opened:
        held = [name for name, about in VARIABLES.items() if about.kind == "static" and candidates(opened, name)]
    if path.name == ERA5_FILE:
        with reading(path), _opened(path) as opened:
            held = [str(name) for name in opened.data_vars]
        held = [name for name, field in INVARIANT.items() if set(field.names) & set(held)] + ["landcover"]
    return tuple(held)


@lru_cache(maxsize=32)
def _axes(path: Path, name: str) -> tuple[Array, Array] | None:
    """Latitudes and longitudes of a field as the file orders them; None where it is best read whole."""
    with reading(path, "NetCDF with static fields"), _opened(path) as opened:
        likely = candidates(opened, name)
        if not likely or set(opened[likely[0]].dims) != {"lat", "lon"} or opened[likely[0]].size <= LARGE:
            return None
        return opened["lat"].to_numpy().astype(np.float64), opened["lon"].to_numpy().astype(np.float64)


def _near(grid: AnyGrid, path: Path, name: str) -> tuple[AnyGrid, Array]:
    """One field [H, W] with its grid; of a large file the part around `grid` only, its longitudes following on `grid`'s."""
    if not isinstance(grid, Grid) or on_a_map(path):
        return _read(path, name)
    axes = _axes(path, name) if path.is_file() and path.name != ERA5_FILE else None
    if axes is None:
        return _read(path, name)
    lat, lon = axes
    margin = 3 * max(float(np.abs(np.diff(axis)).min()) for axis in axes)  # cells that interpolation reads, and one to spare
    first = grid.lon_edges[0] - margin
    span = grid.lon_edges[-1] + margin - first
    east = follow(lon, first)
    rows = np.flatnonzero((lat >= grid.lat_edges[0] - margin) & (lat <= grid.lat_edges[-1] + margin))
    columns = np.argsort(east, kind="stable")
    columns = columns[east[columns] <= first + span]
    if span >= 360 or not len(rows) or not len(columns):
        return _read(path, name)
    runs = np.split(columns, np.flatnonzero(np.diff(columns) != 1) + 1)
    if len(runs) > 2:  # not a file whose longitudes increase
        return _read(path, name)
    rows = rows[np.argsort(lat[rows], kind="stable")]
    with reading(path, "NetCDF with static fields"), _opened(path) as opened:
        band = opened[candidates(opened, name)[:1]].isel(lat=slice(int(rows.min()), int(rows.max()) + 1))
        pieces = [_own_field(band.isel(lon=slice(int(run[0]), int(run[-1]) + 1)), name, path).transpose("lat", "lon").to_numpy()
                  for run in runs]  # fmt: skip
    return from_centres(lat[rows], east[columns]), _in_range(np.concatenate(pieces, 1)[rows - rows.min()], path, name)


@lru_cache(maxsize=32)
def _read(path: Path, name: str) -> tuple[AnyGrid, Array]:
    """One field [H, W] with its grid, latitude ascending, longitude increasing; on any other grid in that one's order."""
    with reading(path, "NetCDF with static fields"):
        return _read_now(path, name)


def _read_now(path: Path, name: str) -> tuple[AnyGrid, Array]:
    if not Path(path).is_file():
        raise OrbitError("static file not found", where=path, hint="run the retrieve stage (`orbit2 retrieve static`)")
    if name == "landcover" and path.name.removesuffix(".part") == ERA5_FILE:
        (grid, tall), (_, short) = (_read(path, cover) for cover in COVERS)
        return grid, np.clip(tall + short, 0.0, 1.0)
    if on_a_map(path):
        with _opened(path, anywhere=True) as opened:
            layout = of_dataset(opened, path, str(next(iter(candidates(opened, name)), "")) or None)
            field = layout.take(_own_field(opened, name, path, layout.dims))
            grid = from_attributes(json.loads(opened.attrs[GRID])) if GRID in opened.attrs else layout.grid  # a model's own says it exactly
            return grid, _in_range(field.to_numpy(), path, name)
    with _opened(path) as opened:
        field = _era5_field(opened, name, path) if path.name.removesuffix(".part") == ERA5_FILE else _own_field(opened, name, path)
        told = opened.attrs.get(GRID)
    if set(field.dims) != {"lat", "lon"}:
        raise OrbitError("static field must have dimensions (lat, lon)", where=f"{path}: {name}", got=field.dims,
                         hint="give rows of latitude and columns of longitude")  # fmt: skip
    if told is not None:  # a model's own says its grid exactly, and lies in its order
        return from_attributes(json.loads(told)), _in_range(field.transpose("lat", "lon").to_numpy(), path, name)
    order, lon = eastward(field["lon"].to_numpy(), decimals=9)
    field = field.transpose("lat", "lon").isel(lon=order).assign_coords(lon=lon).sortby("lat")
    values = field.to_numpy()
    if not np.isfinite(values).any():
        raise OrbitError("static field is missing everywhere", where=f"{path}: {name}", hint="give a file with values")
    return from_centres(field["lat"].values, field["lon"].values), _in_range(values, path, name)


def _in_range(values: Array, path: Path, name: str) -> Array:
    low, high = variable(name).valid
    if np.nanmin(values) < low - 1e-3 * (high - low) or np.nanmax(values) > high + 1e-3 * (high - low):
        raise OrbitError("static field outside its range", where=f"{path}: {name}", got=f"{np.nanmin(values):g} to {np.nanmax(values):g}",
                         allowed=f"{low:g} to {high:g} {variable(name).units}", hint="check its units and fill values")  # fmt: skip
    return np.clip(values, 0.0, 1.0) if _is_share(name) else values


def _own_field(opened: xr.Dataset, name: str, path: Path, axes: tuple[str, str] = ("lat", "lon")) -> xr.DataArray:
    likely = candidates(opened, name)
    if not likely:
        raise OrbitError("static field not in the file", where=path, got=name, allowed=", ".join([*map(str, opened.data_vars), *MADE]),
                         hint="give a file that holds it, or name it with `rename`")  # fmt: skip
    field = opened[likely[0]]
    field = field.isel({axis: 0 for axis in field.dims if axis not in axes and (field.sizes[axis] == 1 or axis in TIMES)})
    field = field.drop_vars([c for c in field.coords if c not in axes]).astype(np.float64).load()
    scale = conversion(field.attrs.get("units"), name, f"{path}: {name}")
    return field if scale.nothing else field * scale.factor + scale.offset


def _era5_field(opened: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """An invariant field as the Climate Data Store sends it, in canonical units and dimensions (lat, lon)."""
    about = INVARIANT.get(name)
    key = next((k for k in about.names if k in opened), None) if about else None
    if about is None or key is None:
        raise OrbitError("static field not in the file", where=path, got=name, allowed=", ".join(map(str, opened.data_vars)),
                         hint="give a file that holds it")  # fmt: skip
    scale = about.scale(opened[key].attrs.get("units"), name, f"{path}: {key}")
    field = opened[key].astype(np.float64)
    for axis in ("valid_time", "time", "number", "expver"):
        if axis in field.dims:
            field = field.isel({axis: 0})
    return field.drop_vars([c for c in field.coords if c not in ("lat", "lon")]).load() * scale.factor


def on_a_map(path: Path) -> bool:
    """Whether the fields of a file lie on another grid than one of latitudes and longitudes."""
    return path.is_file() and _on_a_map(path)


@lru_cache(maxsize=32)
def _on_a_map(path: Path) -> bool:
    with reading(path, "NetCDF with static fields"), _opened(path, anywhere=True) as opened:
        try:
            horizontal(opened, path)
        except OrbitError:
            try:
                of_dataset(opened, path)
            except OrbitError:
                return False  # said with what is allowed when it is read
            return True
    return False


def _opened(path: Path, anywhere: bool = False) -> xr.Dataset:
    """The file with its latitudes and longitudes as `lat` and `lon`; on any grid as it is with `anywhere`."""
    stack, rename = ExitStack(), _RENAMED.get(path, {})
    parts = parts_of(path, [name for name, about in VARIABLES.items() if about.kind == "static"], tuple(rename), stack)
    opened = joined(parts, [])
    opened = opened.rename({theirs: ours for theirs, ours in rename.items() if theirs in opened.data_vars})
    opened.set_close(stack.close)
    if anywhere:
        return opened
    try:
        found = horizontal(opened, path)
    except OrbitError:
        opened.close()
        raise
    renamed = opened.rename({old: new for old, new in zip(found, ("lat", "lon"), strict=True) if old != new})
    renamed.set_close(opened.close)
    return renamed
