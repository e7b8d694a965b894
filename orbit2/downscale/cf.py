"""How predictions describe themselves: CF attributes and coordinates, and what the user's file said of itself. Never computes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.data.store_grid import GRID
from orbit2.downscale.derived import Derived
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.provenance import code_version
from orbit2.times import Times
from orbit2.variables import ATTRIBUTE, variable

FloatArray = npt.NDArray[np.float32]
Originals = Mapping[str, tuple[str, Mapping[str, Any]]]  # canonical name -> name and attributes in the user's file
BOUNDS = "lat_bnds lon_bnds"  # what CF readers keep as coordinates
# Of the file's own encoding, values or units: they do not describe the prediction.
_NOT_KEPT = ("units", "standard_name", "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_range", "valid_min", "valid_max",
             "actual_range", "grid_mapping", "coordinates", "ancillary_variables", "cell_measures", "accumulated_hours",
             "bounds")  # fmt: skip
# Said by every prediction of itself: a file's own would speak of something else.
_OURS = ("Conventions", "history", "source", "signature", "finalised", "coordinates", "provenance", "refinement", "weights", "precision",
         "code_version", "model", "model_hash", "input_file", "warnings", "training_range", "members", "seed", "noise_scale",
         "noise_hours", ATTRIBUTE)  # fmt: skip


def as_dataset(
    frames: Any, names: Sequence[str], grid: AnyGrid, times: Times, original: Originals | None = None,
    about: Mapping[str, Any] | None = None, methods: Mapping[str, str] | None = None, derived: Derived | None = None,
) -> xr.Dataset:
    """[T, C, H, W] (of numpy or dask) in canonical units as a CF Dataset with the global attributes `about`; `methods`: see `attributes`.

    [M, T, C, H, W] of members get a dimension `member`; of what is `derived` of them the channels are its fields'.
    """
    known, lead = original or {}, (("member",) if frames.ndim == 5 else ())
    fields = derived.fields if derived else [(name, name, 0) for name in names]
    data, first = {}, 0
    for name, of, quantiles in fields:
        told, dims, values = attributes(of, known.get(of), methods), (*lead, "time", *grid.dims), frames[..., first, :, :]
        if derived and quantiles:
            told, dims = quantile_attributes(told, derived.members), ("quantile", *dims)
            values = np.moveaxis(frames[..., first : first + quantiles, :, :], -3, 0)
        elif derived:
            told = derived.event(name).attributes(derived.members, told.get("cell_methods", ""))
        data[name] = dims, values, {**told, **grid.field_attributes}
        first += max(quantiles, 1)
    stamps = times.astype("datetime64[ns]") if times.dtype.kind == "M" else times
    coords = {"time": ("time", stamps), **drawn(len(frames) if lead else 0, derived), **coordinates(grid)}
    return xr.Dataset(data, coords=coords, attrs={"Conventions": "CF-1.11", **grid_attribute(grid), **(about or {})})


def attributes(
    name: str, original: tuple[str, Mapping[str, Any]] | None = None, methods: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """CF attributes of a variable; with `original` those of the user's field that still hold, and its name. `methods`: the cell
    methods of variables whose samples are something else than usual (daily means)."""
    facts = variable(name)
    found: dict[str, Any] = dict(facts.described)
    if original is None:
        return {**found, "cell_methods": (methods or {}).get(name, facts.cell_methods)}
    theirs, attrs = original
    kept = {str(k): plain(v) for k, v in attrs.items() if k not in _NOT_KEPT and not str(k).startswith("GRIB_")}
    if "sum" in str(kept.get("cell_methods", "")) and facts.units != "mm":
        del kept["cell_methods"]  # of the amount that was made a rate
    return {**found, **kept, "original_name": theirs}


def drawn(members: int, derived: Derived | None = None) -> dict[str, tuple[str, npt.NDArray[Any], dict[str, str]]]:
    """Coordinates of members (CF's `realization`), or of the quantiles that are kept of them."""
    if derived is not None and derived.quantiles:
        told = {"long_name": "Share of the members at or below", "units": "1"}
        return {"quantile": ("quantile", np.array(derived.quantiles), told)}
    if members:
        told = {"standard_name": "realization", "long_name": "Member of the ensemble", "units": "1"}
        return {"member": ("member", np.arange(members), told)}
    return {}


def quantile_attributes(told: Mapping[str, Any], members: int) -> dict[str, Any]:
    """Attributes of a field of quantiles; `told` are those of its variable."""
    methods = " ".join(filter(None, [str(told.get("cell_methods") or ""), "realization: quantile"]))
    return {**told, "cell_methods": methods, "comment": f"quantiles of {members} members, linear between them (coordinate `quantile`)"}


def described_by(about: Mapping[str, Any], theirs: Mapping[str, Any] | None = None, how: str = "") -> dict[str, Any]:
    """Global attributes of a prediction by the model `about`: the user's own are kept, `history` gets a line before theirs (CF 2.6.2);
    `how`: what is needed to make it again, besides model and input."""
    theirs = theirs or {}
    kept = {str(k): plain(v) for k, v in theirs.items() if k not in _OURS and not str(k).startswith("GRIB_")}
    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} orbit2 {code_version()} downscale: model {about.get('name')}-{about.get('hash')}"
    made = f"{made}; {how}" if how else made
    source = f"orbit2 (statistical downscaling) of: {theirs['source']}" if theirs.get("source") else "orbit2 (statistical downscaling)"
    return {**kept, "source": source, "history": "\n".join([made, *([str(theirs["history"])] if theirs.get("history") else [])])}


def plain(value: Any) -> Any:
    """An attribute as JSON and NetCDF can both hold it."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, (np.generic, np.ndarray)) and np.asarray(value).dtype.kind in "iuf":
        return value.tolist()
    return str(value)


def grid_attribute(grid: AnyGrid) -> dict[str, str]:
    """Global attribute that says exactly what grid a prediction is on, where latitudes and longitudes with their bounds do not."""
    return {} if isinstance(grid, Grid) else {GRID: json.dumps(grid.to_attributes())}


def fields_on(grid: AnyGrid) -> dict[str, str]:
    """Attributes of a stored field that say where its cells lie (CF 5.2, 5.6); xarray writes those of a Dataset itself."""
    return {} if isinstance(grid, Grid) else {**grid.field_attributes, "coordinates": "lat lon"}


def auxiliary(grid: AnyGrid) -> str:
    """The global attribute `coordinates`: what CF readers keep as coordinates beside those of the dimensions."""
    return BOUNDS if isinstance(grid, Grid) else " ".join(name for name in grid.coordinates() if name not in grid.dims)


def coordinates(grid: AnyGrid) -> dict[str, Any]:
    """CF coordinates with bounds: latitude and longitude, or those of a map with its grid mapping."""
    if not isinstance(grid, Grid):
        return {name: (found.dims, found.values, dict(found.attrs)) for name, found in grid.coordinates().items()}
    result: dict[str, Any] = {}
    for axis, long, centres, edges in (("lat", "latitude", grid.lat, grid.lat_edges), ("lon", "longitude", grid.lon, grid.lon_edges)):
        units = "degrees_north" if axis == "lat" else "degrees_east"
        result[axis] = (
            axis,
            centres,
            {"units": units, "standard_name": long, "axis": "Y" if axis == "lat" else "X", "bounds": f"{axis}_bnds"},
        )
        result[f"{axis}_bnds"] = ((axis, "bnds"), np.stack([edges[:-1], edges[1:]], -1))
    return result


def handed(data: object, inputs: Sequence[str]) -> xr.Dataset:
    """What a user handed over in memory, as a Dataset; a DataArray does for a model of one variable. Raises OrbitError for others."""
    if isinstance(data, xr.DataArray):
        if len(inputs) == 1:
            return data.to_dataset(name=data.name or inputs[0])
        raise OrbitError("one DataArray, but the model reads several variables", where="input", got=str(data.name),
                         allowed=", ".join(inputs), hint="give a Dataset")  # fmt: skip
    if not isinstance(data, xr.Dataset):
        raise OrbitError("not data that can be downscaled", where="input", got=type(data).__name__,
                         allowed="an xarray Dataset, or the paths, patterns, folders or addresses of files",
                         hint="open the files with orbit2.open or xarray.open_dataset, or give their path")  # fmt: skip
    return data
