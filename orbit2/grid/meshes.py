"""Meshes that have no rows and columns: refused in one sentence that says what to do. Never reads values."""

from __future__ import annotations

import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid.mapping import variable_of

_ALLOWED = "rows and columns: latitude-longitude, a map projection, a rotated pole, or 2-D latitudes and longitudes"
_CDO = "regrid it first, e.g. cdo remapcon,r1440x720 in.nc out.nc"


def refuse_meshes(dataset: xr.Dataset, field: xr.DataArray, where: object) -> None:
    """Raises OrbitError for HEALPix, ICON and other unstructured meshes, and reduced Gaussian grids."""
    name = variable_of(dataset, field)
    mapping = str(dataset[name].attrs.get("grid_mapping_name", "")) if name is not None else ""
    about = {str(k).lower(): str(v).lower() for k, v in {**dataset.attrs, **field.attrs}.items()}
    kind = about.get("grib_gridtype", "")
    got = f"({', '.join(map(str, field.dims))})"
    if "healpix" in mapping or "healpix" in kind or any("healpix" in k or "healpix" in v for k, v in about.items() if "history" not in k):
        raise OrbitError("a HEALPix grid has no rows and columns", where=where, got=got, allowed=_ALLOWED,
                         hint="regrid it first, e.g. with cdo remapcon,r1440x720 or healpy")  # fmt: skip
    if kind.startswith("reduced"):
        raise OrbitError(f"a {kind.replace('_', ' ')} grid has rows of different lengths", where=where, got=got, allowed=_ALLOWED,
                         hint="make it regular first: cdo setgridtype,regular in.grib out.grib (MARS: grid=F320 or 0.25/0.25)")  # fmt: skip
    if kind == "sh":
        raise OrbitError("spherical harmonics are not cells", where=where, got=got, allowed=_ALLOWED,
                         hint="cdo sp2gp in.grib out.grib first")  # fmt: skip
    mesh = [str(n) for n, v in dataset.variables.items() if v.attrs.get("cf_role") == "mesh_topology"]
    icon = "unstructured" in about.get("cdi_grid_type", "") or "number_of_grid_used" in about or "uuidofhgrid" in about
    if mesh or icon or kind == "unstructured_grid":
        what = "an ICON mesh" if icon else "an unstructured mesh"
        raise OrbitError(f"{what} has no rows and columns", where=where, got=got, allowed=_ALLOWED, hint=_CDO)
