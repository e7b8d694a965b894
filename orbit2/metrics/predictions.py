"""Opens predictions and finds where they lie on other grids; their fields one at a time. Never scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.data.pairs import PairStore, Side
from orbit2.data.store_grid import GRID
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, from_attributes, from_centres
from orbit2.grid.sphere import distance_km
from orbit2.longitudes import follow
from orbit2.remap import Regridder
from orbit2.times import Time, normal
from orbit2.variables import ATTRIBUTE, adopt

if TYPE_CHECKING:
    from orbit2.metrics.matched import Matched

Array = npt.NDArray[np.float64]
AT_ONCE = 1 << 24  # bytes of one variable's times that are read together: 64 days of a globe at 2.5 degrees take 3 MB, one at 0.25 takes 4


class Parent:
    """The prediction of the model that a task's model was fine-tuned from, at the task's times and in its window."""

    def __init__(self, matched: Matched, about: Mapping[str, Any], path: Path) -> None:
        if not {"model", "prediction"} <= set(about):
            raise OrbitError("the task's slice names no parent", where=f"task {matched.task}", got=str(path), hint="leave --parent out")
        self.model, self.path = str(about["model"]), path
        self._prediction = open_prediction(path, str(about["prediction"]))
        self._rows, self._columns = window(matched.native_grid, grid_of(self._prediction, path), matched.prediction_path)
        self._positions = {time: i for i, time in enumerate(normal(self._prediction["time"].values))}
        absent = [str(time) for time in matched.times if time not in self._positions]
        if absent:
            raise OrbitError("the parent's prediction lacks a time of the task", where=path, got=absent[0],
                             hint=f"{len(absent)} of {len(matched.times)} times")
        self.variables = tuple(name for name in matched.variables if name in self._prediction.data_vars)

    def field(self, name: str, time: Time, precision: type[np.floating[Any]] = np.float64) -> Array:
        return frame(self._prediction, name, self._positions[time], precision)[self._rows, self._columns]


def land_fraction(store: PairStore, side: Side) -> Array:
    """[H, W] of a store's grid. Raises OrbitError when it has no such field."""
    statics = store.statics(side)
    if "land_sea_mask" not in statics:
        raise OrbitError("regions need a land mask", where=store.path, got=f"statics {', '.join(statics) or 'none'}",
                         hint="add land_sea_mask to the dataset's `statics`")
    land: Array = store.static_values(side)[statics.index("land_sea_mask")].astype(np.float64)
    return land


def frame(prediction: xr.Dataset, name: str, index: int, precision: type[np.floating[Any]] = np.float64) -> Array:
    """One time's field [H, W] of a prediction; of an ensemble the mean of its members, which are read one by one."""
    field = prediction[name].isel(time=index)
    if "member" not in field.dims:
        single: Array = np.asarray(field.to_numpy(), dtype=precision)
        return single
    total = np.zeros(field.shape[-2:])
    for member in range(field.sizes["member"]):
        total += field.isel(member=member).to_numpy()
    mean: Array = (total / field.sizes["member"]).astype(precision, copy=False)
    return mean


class Frames:
    """`frame` of one time after the other: times of a chunk, or a shard, are read together where they are few bytes."""

    def __init__(self, prediction: xr.Dataset) -> None:
        self.prediction = prediction
        self._together = {str(name): self._times(array) for name, array in prediction.data_vars.items()}
        self._held: dict[str, tuple[int, npt.NDArray[Any]]] = {}  # variable -> (first time, its block [times, H, W])

    @staticmethod
    def _times(array: xr.DataArray) -> int:
        """How many are read together."""
        if array.dims[:1] != ("time",) or array.ndim != 3 or not array.size:
            return 1
        chunk = int((array.encoding.get("shards") or array.encoding.get("chunks") or (1,))[0])
        return chunk if chunk * array.nbytes // len(array) <= AT_ONCE else 1

    def field(self, name: str, index: int, precision: type[np.floating[Any]] = np.float64) -> Array:
        together = self._together[name]
        if together < 2:
            return frame(self.prediction, name, index, precision)
        first = index - index % together
        if name not in self._held or self._held[name][0] != first:
            self._held[name] = first, self.prediction[name][first : first + together].to_numpy()
        single: Array = self._held[name][1][index - first].astype(precision)
        return single


def open_prediction(path: Path, task: str) -> xr.Dataset:
    """Lazily. Raises OrbitError for one that is missing, damaged, unfinalised, of another task or without coordinates."""
    if not path.exists():
        raise OrbitError("prediction not found", where=path, hint="run the downscale stage first")
    try:
        opened: xr.Dataset = xr.open_zarr(str(path), consolidated=False, chunks=None)
    except Exception as error:
        raise OrbitError(f"prediction cannot be read ({' '.join(str(error).split())[:120]})", where=path,
                         hint="delete it and re-run the downscale stage") from None
    if not opened.attrs.get("finalised"):
        raise OrbitError("prediction is not finalised", where=path, hint="its writing was interrupted: re-run the downscale stage")
    adopt(opened.attrs.get(ATTRIBUTE), (), path)
    if opened.attrs.get("task", task) != task:
        raise OrbitError("prediction belongs to another task", where=path, got=str(opened.attrs["task"]), allowed=task,
                         hint="downscale this task first")  # fmt: skip
    for name in ("time", "lat", "lon"):
        if name not in opened.coords:
            raise OrbitError("prediction lacks a coordinate", where=path, got=f"no {name}", hint="give a prediction of `orbit2 downscale`")
    return opened


def spacing(grid: AnyGrid) -> str:
    """`0.25 deg`; of a grid without parallels `3 km`."""
    return f"{grid.resolution:.4g} deg" if isinstance(grid, Grid) else f"{grid.km:.4g} km"


def grid_of(prediction: xr.Dataset, path: Path) -> AnyGrid:
    """As the prediction says it, else from bounds where the file has them: a box's outer edges then agree with the store's to rounding."""
    if GRID in prediction.attrs:
        return from_attributes(json.loads(prediction.attrs[GRID]))
    if "lat_bnds" in prediction and "lon_bnds" in prediction:
        bounds = (np.asarray(prediction[f"{axis}_bnds"].values, dtype=np.float64) for axis in ("lat", "lon"))
        edges = [np.append(b[:, 0], b[-1, 1]) for b in bounds]
        return Grid(edges[0], edges[1])
    try:
        return from_centres(prediction["lat"].values, prediction["lon"].values)
    except OrbitError as error:
        raise OrbitError(f"prediction's grid: {error.what}", where=path, got=error.got, allowed=error.allowed, hint=error.hint) from None


def inside(observed: AnyGrid, predicted: AnyGrid) -> tuple[slice, slice]:
    """Rows and columns of the observed cells that lie wholly inside the predicted domain; where the grids are turned against each other,
    the least block with all of them (the others in it are missing from the prediction, and not scored)."""
    if not (isinstance(observed, Grid) and isinstance(predicted, Grid)):
        return _covered(observed, predicted)
    south, north = predicted.lat_edges[0] - 1e-6, predicted.lat_edges[-1] + 1e-6
    rows = np.flatnonzero((observed.lat_edges[:-1] >= south) & (observed.lat_edges[1:] <= north))
    if predicted.periodic:
        columns = np.arange(observed.shape[1])
    else:
        west = follow(observed.lon_edges[:-1] + 1e-6, float(predicted.lon_edges[0])) - 1e-6
        columns = np.flatnonzero(west + np.diff(observed.lon_edges) <= predicted.lon_edges[-1] + 1e-6)
    if not len(rows) or not len(columns) or (np.diff(columns) != 1).any():
        raise OrbitError("observations do not cover one piece of the predicted domain", where="observations", got=observed.describe(),
                         allowed=predicted.describe(), hint="choose a box in which observations and prediction both have cells")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def all_of(source: AnyGrid, target: AnyGrid) -> float:
    """The share of a target cell that counts as all of it: sides that are followed by chords leave slivers."""
    return 1.0 if isinstance(source, Grid) and isinstance(target, Grid) else 1 - 1e-4


def _covered(observed: AnyGrid, predicted: AnyGrid) -> tuple[slice, slice]:
    whole = Regridder(predicted, observed, "conservative").coverage >= all_of(predicted, observed)
    rows, columns = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise OrbitError("observations do not cover any of the predicted domain", where="observations", got=observed.describe(),
                         allowed=predicted.describe(), hint="choose a box in which observations and prediction both have cells")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def window(part: AnyGrid, whole: AnyGrid, path: Path) -> tuple[slice, slice]:
    """Where `part` lies in `whole`. Raises OrbitError when its cells do not coincide with a contiguous window."""
    if not (isinstance(part, Grid) and isinstance(whole, Grid)):
        return _place(part, whole, path)
    starts = [int(np.abs(w - p[0]).argmin()) for p, w in ((part.lat_edges, whole.lat_edges), (part.lon_edges, whole.lon_edges))]
    rows, columns = (slice(start, start + size) for start, size in zip(starts, part.shape, strict=True))
    inside = rows.stop <= whole.shape[0] and columns.stop <= whole.shape[1]
    if not inside or not (
        np.allclose(part.lat_edges, whole.lat_edges[rows.start : rows.stop + 1], atol=1e-4)
        and np.allclose(part.lon_edges, whole.lon_edges[columns.start : columns.stop + 1], atol=1e-4)
    ):
        raise OrbitError("prediction's cells do not coincide with the pair store's", where=path, got=part.describe(),
                         allowed=f"a window of {whole.describe()}", hint="downscale with this dataset's store")
    return rows, columns


def _place(part: AnyGrid, whole: AnyGrid, path: Path) -> tuple[slice, slice]:
    """`window` of any grids: from the cell of `whole` whose centre is nearest to that of the first cell of `part`."""
    lon, lat = (np.broadcast_to(centres[0, 0], whole.shape) for centres in (part.lon2d, part.lat2d))
    far = distance_km(lon, lat, whole.lon2d, whole.lat2d)
    starts = np.unravel_index(int(far.argmin()), whole.shape)
    rows, columns = (slice(int(start), int(start) + size) for start, size in zip(starts, part.shape, strict=True))
    fits = rows.stop <= whole.shape[0] and columns.stop <= whole.shape[1]
    if not fits or not whole.crop(rows, columns).same_as(part):
        raise OrbitError("prediction's cells do not coincide with the pair store's", where=path, got=part.describe(),
                         allowed=f"a window of {whole.describe()}", hint="downscale with this dataset's store")
    return rows, columns
