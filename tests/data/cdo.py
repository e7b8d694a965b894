"""CDO as an independent judge of regridding. Writes plain NetCDF in, reads what `cdo remapcon` wrote."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from orbit2.grid import Grid, ProjectedGrid

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="CDO (Climate Data Operators) is not installed")
# The grid mapping of Daymet's own files (CF attributes), and the same as a PROJ string.
DAYMET_MAPPING = {
    "grid_mapping_name": "lambert_conformal_conic", "longitude_of_central_meridian": -100.0, "latitude_of_projection_origin": 42.5,
    "false_easting": 0.0, "false_northing": 0.0, "standard_parallel": [25.0, 60.0], "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563, "longitude_of_prime_meridian": 0.0,
}
DAYMET_CRS = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +datum=WGS84 +units=m"


def grid_file(grid: Grid, path: Path) -> Path:
    """A CDO grid description with centres and bounds."""
    lines = ["gridtype = lonlat", f"xsize = {grid.shape[1]}", f"ysize = {grid.shape[0]}"]
    for axis, centres, edges in (("x", grid.lon, grid.lon_edges), ("y", grid.lat, grid.lat_edges)):
        lines.append(f"{axis}vals = " + " ".join(f"{v:.15g}" for v in centres))
        lines.append(f"{axis}bounds = " + " ".join(f"{a:.15g} {b:.15g}" for a, b in itertools.pairwise(edges)))
    path.write_text("\n".join(lines) + "\n")
    return path


def remapcon(field: npt.NDArray[np.float64], source: Grid | ProjectedGrid, target: Grid, folder: Path) -> npt.NDArray[np.float64]:
    """`cdo remapcon` of one field [H, W]; NaN where CDO says missing. CDO makes a projection's cell corners itself."""
    data = xr.Dataset({"field": (("a", "b"), field, {"grid_mapping": "crs"} if isinstance(source, ProjectedGrid) else {})})
    if isinstance(source, ProjectedGrid):
        assert source.crs == DAYMET_CRS
        centres = {axis: ((e[:-1] + e[1:]) / 2) for axis, e in (("y", source.y_edges), ("x", source.x_edges))}
        data = data.rename(a="y", b="x").assign_coords({
            axis: (axis, values, {"units": "m", "standard_name": f"projection_{axis}_coordinate"}) for axis, values in centres.items()})
        data["crs"] = ((), np.int32(0), DAYMET_MAPPING)
    else:
        data = data.rename(a="lat", b="lon").assign_coords(
            lat=("lat", source.lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
            lon=("lon", source.lon, {"units": "degrees_east", "bounds": "lon_bnds"}))
        for axis, edges in (("lat", source.lat_edges), ("lon", source.lon_edges)):
            data[f"{axis}_bnds"] = ((axis, "bnds"), np.stack([edges[:-1], edges[1:]], axis=1))
    data.field.encoding["_FillValue"] = -9e33
    data.to_netcdf(folder / "in.nc", engine="netcdf4")
    command = ["cdo", "-s", "-b", "F64", f"remapcon,{grid_file(target, folder / 'grid')}", str(folder / "in.nc"), str(folder / "out.nc")]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    with xr.open_dataset(folder / "out.nc", engine="netcdf4") as out:
        return out.field.values.astype(np.float64)
