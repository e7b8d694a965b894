"""The static fields that a model was trained with: where they came from, and the model's own copy. Never takes others for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.needs import MADE
from orbit2.data.pairs import PairStore, Side
from orbit2.data.store_grid import GRID
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, from_attributes, from_centres
from orbit2.remap import Regridder
from orbit2.sources.static import PACKAGED, open_static
from orbit2.variables import variable

FOLDER = "statics"  # in the model folder, a NetCDF file per dataset
MOST = 2**26  # values of one dataset's fields that are carried (256 MB before compression)
SAY = "give --static FILE with them, or --static packaged for orbit2's own 0.25 degree ones"


def origin(stores: Mapping[str, PairStore], statics: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, xr.Dataset]]:
    """(what config.json says, fields to carry) by dataset.

    Packaged fields are not carried: every installation has them. Others are, on the fine grid that they were trained on, up to MOST
    values; `carried` says whether.
    """
    needed = [name for name in ("orography", *(n for n in statics if n != "orography"))
              if name not in MADE and (name in statics or "slope" in statics)]  # fmt: skip
    about: dict[str, Any] = {}
    files: dict[str, xr.Dataset] = {}
    for key, store in stores.items():
        told = dict(store.attributes.get("static_source") or {"source": "unknown", "relief": None})
        grid, held = store.grid("fine"), store.statics("fine")
        fields = [name for name in needed if name in held]
        packaged = told["source"] == "packaged" and not told["relief"]
        carried = bool(fields) and not packaged and len(fields) * int(np.prod(grid.shape)) <= MOST
        about[key] = {**told, "fields": fields, "fine_grid": grid.describe(), "carried": carried}
        if carried:
            values = store.static_values("fine")
            files[key] = xr.Dataset(
                {n: (grid.dims, values[held.index(n)], {"units": variable(n).units, **grid.field_attributes}) for n in fields},
                coords=_coordinates(grid),
                attrs={**_said(grid), "source": f"static fields that dataset '{key}' was trained with ({told['source']})"},
            )
    return about, files


def names(files: Mapping[str, xr.Dataset]) -> list[str]:
    """Paths of the fields' files in a model folder."""
    return [f"{FOLDER}/{key}.nc" for key in files]


def write(path: Path, fields: xr.Dataset) -> None:
    fields.to_netcdf(path, engine="netcdf4", encoding={name: {"zlib": True, "complevel": 4} for name in fields.data_vars})


def chosen(folder: Path | None, about: Mapping[str, Any], fine: AnyGrid, statics: tuple[str, ...]) -> tuple[Path | None, str | None]:
    """(file that statics on `fine` are made from, None for the packaged ones; what is to be said).

    Of several carried ones that cover the grid the one of the nearest resolution. Raises OrbitError where the packaged fields are not
    what the model was trained with, and its own do not cover the grid or were not carried.
    """
    needed = [name for name in statics if name not in MADE] + (["orography"] if "slope" in statics else [])
    if not needed:
        return None, None
    told = about.get("statics_from")
    if told is None:
        absent = [name for name in needed if name not in PACKAGED]
        if absent:
            raise OrbitError("the model needs static fields that orbit2 does not ship, and does not say where they came from",
                             where=folder, got=", ".join(absent), allowed=", ".join(PACKAGED), hint=SAY)  # fmt: skip
        return None, ("statics: an older model folder, which does not say which static fields it was trained with; the packaged 0.25 degree"
                      " ones are used (--static FILE gives others)")  # fmt: skip
    if any(entry["source"] == "packaged" and not entry.get("relief") for entry in told.values()):
        return None, None
    files = [folder / FOLDER / f"{key}.nc" for key, entry in told.items() if entry.get("carried")] if folder is not None else []
    grids = {path: _grid(path) for path in files}
    near = sorted((abs(np.log(grid.resolution / fine.resolution)), str(path), path) for path, grid in grids.items() if _covers(grid, fine))
    if near:
        return near[0][2], None
    sources = ", ".join(sorted({str(entry["source"]) for entry in told.values()}))
    where = "; ".join(grid.describe() for grid in grids.values()) or "none"
    raise OrbitError(f"the statics that the model was trained with ({sources}) do not reach here", where=folder, got=fine.describe(),
                     allowed=where, hint=SAY)  # fmt: skip


class Lent(PairStore):
    """A pair store with a model's own static fields in place of its own."""

    def __init__(self, store: PairStore, names: tuple[str, ...], values: npt.NDArray[np.float32]) -> None:
        self.__dict__.update(store.__dict__)
        self.attributes = {**store.attributes, "static_source": {"source": "unknown", "relief": None}}
        self._lent, self._values = names, values

    def statics(self, side: Side) -> tuple[str, ...]:
        return self._lent if side == "fine" else super().statics(side)

    def static_values(self, side: Side) -> npt.NDArray[np.float32]:
        return self._values if side == "fine" else super().static_values(side)


def lent(store: PairStore, folder: Path, about: Mapping[str, Any], statics: tuple[str, ...]) -> PairStore:
    """The store, with the fields that the model in `folder` carries where it lacks any of its `statics`: of a network that cannot do
    without them. Raises OrbitError where they do not reach."""
    if about["architecture"]["kind"] != "orbit2" or set(statics) <= set(store.statics("fine")):
        return store
    grid = store.grid("fine")
    return Lent(store, statics, open_static(grid, statics, chosen(folder, about, grid, statics)[0]))


def same_statics(about: Mapping[str, Any], store: PairStore) -> None:
    """Raises OrbitError where a store's statics come from elsewhere than all those that the model was trained with."""
    here, told = store.attributes.get("static_source"), about.get("statics_from")
    if not here or not told:
        return
    known = [{key: entry.get(key) for key in ("source", "relief")} for entry in told.values() if entry["source"] != "unknown"]
    if known and dict(here) not in known:
        raise OrbitError("the store's static fields come from elsewhere than those that the model was trained with", where=store.path,
                         got=_words(dict(here)), allowed=" or ".join(sorted({_words(k) for k in known})),
                         hint="build the dataset with the same sources.static, or train again")  # fmt: skip


def _words(told: Mapping[str, Any]) -> str:
    return str(told["source"]) + (f" with the relief {told['relief']}" if told.get("relief") else "")


def _coordinates(grid: AnyGrid) -> Mapping[str, Any]:
    if isinstance(grid, Grid):
        return {"lat": ("lat", grid.lat, {"units": "degrees_north"}), "lon": ("lon", grid.lon, {"units": "degrees_east"})}
    return grid.coordinates()


def _said(grid: AnyGrid) -> dict[str, str]:
    return {} if isinstance(grid, Grid) else {GRID: json.dumps(grid.to_attributes())}


def _grid(path: Path) -> AnyGrid:
    with xr.open_dataset(path, engine="netcdf4") as opened:
        if GRID in opened.attrs:
            return from_attributes(json.loads(opened.attrs[GRID]))
        return from_centres(opened["lat"].values, opened["lon"].values)


def _covers(grid: AnyGrid, fine: AnyGrid) -> bool:
    """Whether every cell of `fine` can be made from `grid`; at its outer edge to half a cell."""
    if not (isinstance(grid, Grid) and isinstance(fine, Grid)):
        return bool(Regridder(grid, fine, "conservative").coverage.min() >= 0.5)
    slack = grid.resolution / 2 + 1e-6
    lat = fine.lat_edges[0] >= grid.lat_edges[0] - slack and fine.lat_edges[-1] <= grid.lat_edges[-1] + slack
    if grid.periodic:
        return bool(lat)
    start = grid.lon_edges[0] - slack + (fine.lon_edges[0] - grid.lon_edges[0] + slack) % 360
    return bool(lat and start + fine.lon_edges[-1] - fine.lon_edges[0] <= grid.lon_edges[-1] + slack)
