"""Weights made by ESMF through xesmf, where conda has installed them. Never needed: the built-in weights are exact on these grids."""

from __future__ import annotations

import xarray as xr
from scipy import sparse

from orbit2.errors import OrbitError
from orbit2.grid import Grid
from orbit2.remap.rectilinear import Method


def esmf_weights(source: Grid, target: Grid, method: Method) -> sparse.csr_matrix:
    """Weights [H'W', HW], a row of zeros where the source has nothing. Raises OrbitError when xesmf cannot be imported."""
    try:
        import xesmf  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except Exception as error:  # xesmf without ESMF fails in several ways
        raise OrbitError(f"the xesmf back end cannot be imported ({error})", where="regrid_backend",
                         hint="install xesmf and esmf with conda, or use regrid_backend: builtin") from None  # fmt: skip
    described = [xr.Dataset(coords={"lat": g.lat, "lon": g.lon, "lat_b": g.lat_edges, "lon_b": g.lon_edges}) for g in (source, target)]
    names = {"conservative": "conservative", "bilinear": "bilinear", "nearest": "nearest_s2d"}
    regridder = xesmf.Regridder(*described, names[method], periodic=source.periodic and method != "conservative")
    return sparse.csr_matrix(regridder.weights.data.to_scipy_sparse())
