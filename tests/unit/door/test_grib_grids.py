"""GRIB on maps, rotated poles and Gaussian grids: written by eccodes, its own latitudes and longitudes the oracle; winds along the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest

from orbit2.door.grib import open_grib
from orbit2.grid import Grid, ProjectedGrid, of_dataset
from orbit2.remap.vectors import along_grid

HRRR = {"gridType": "lambert", "Nx": 12, "Ny": 10, "latitudeOfFirstGridPointInDegrees": 21.138123, "LoVInDegrees": 262.5,
        "longitudeOfFirstGridPointInDegrees": 237.280472, "LaDInDegrees": 38.5, "Latin1InDegrees": 38.5, "Latin2InDegrees": 38.5,
        "DxInMetres": 3000, "DyInMetres": 3000, "shapeOfTheEarth": 6, "uvRelativeToGrid": 1}  # fmt: skip
ROTATED = {"gridType": "rotated_ll", "Ni": 12, "Nj": 10, "longitudeOfFirstGridPointInDegrees": 2, "longitudeOfLastGridPointInDegrees": 4.2,
           "iDirectionIncrementInDegrees": 0.2, "jDirectionIncrementInDegrees": 0.2, "latitudeOfSouthernPoleInDegrees": -40,
           "longitudeOfSouthernPoleInDegrees": 10, "angleOfRotationInDegrees": 0}  # fmt: skip
POLAR = {"gridType": "polar_stereographic", "Nx": 12, "Ny": 10, "latitudeOfFirstGridPointInDegrees": 40, "LaDInDegrees": 60,
         "longitudeOfFirstGridPointInDegrees": 210, "orientationOfTheGridInDegrees": 249, "DxInMetres": 10000, "DyInMetres": 10000,
         "shapeOfTheEarth": 1, "scaledValueOfRadiusOfSphericalEarth": 6371200, "scaleFactorOfRadiusOfSphericalEarth": 0}  # fmt: skip
MERCATOR = {"gridType": "mercator", "Ni": 12, "Nj": 10, "latitudeOfFirstGridPointInDegrees": 10, "longitudeOfFirstGridPointInDegrees": 200,
            "latitudeOfLastGridPointInDegrees": 10.807, "longitudeOfLastGridPointInDegrees": 201.05, "LaDInDegrees": 20,
            "DiInMetres": 10000, "DjInMetres": 10000, "shapeOfTheEarth": 6}  # fmt: skip


def written(keys: dict[str, Any], path: Path, north_first: bool = False) -> np.ndarray:
    """A message of 2 m temperatures that are their own numbers; its points' latitudes and longitudes [2, rows, columns] by eccodes."""
    message = eccodes.codes_grib_new_from_samples("GRIB2")
    for key, value in keys.items():
        eccodes.codes_set(message, key, value)
    eccodes.codes_set(message, "jScansPositively", 0 if north_first else 1)
    if keys["gridType"] == "rotated_ll":
        ends = (-1.2, -3.0) if north_first else (-3.0, -1.2)
        for name, value in zip(("First", "Last"), ends, strict=True):
            eccodes.codes_set(message, f"latitudeOf{name}GridPointInDegrees", value)
    eccodes.codes_set(message, "shortName", "2t")
    rows, columns = (eccodes.codes_get(message, key, int) for key in ("Nj", "Ni"))
    eccodes.codes_set_values(message, np.arange(rows * columns, dtype=float))
    found = np.stack([eccodes.codes_get_array(message, key).reshape(rows, columns) for key in ("latitudes", "longitudes")])
    path.write_bytes(eccodes.codes_get_message(message))
    eccodes.codes_release(message)
    return found


@pytest.mark.parametrize("north_first", [False, True])
@pytest.mark.parametrize("keys", [HRRR, ROTATED, POLAR, MERCATOR], ids=lambda keys: keys["gridType"])
def test_fields_lie_where_eccodes_puts_them(keys: dict[str, Any], north_first: bool, tmp_path: Path) -> None:
    lat, lon = written(keys, tmp_path / "a.grib", north_first)
    (data,) = open_grib(tmp_path / "a.grib", {"2t"})
    layout = of_dataset(data)
    grid = layout.grid
    assert isinstance(grid, ProjectedGrid) and grid.rotated == (keys["gridType"] == "rotated_ll") and grid.shape == (10, 12)
    number = layout.take(data["2t"]).squeeze().values.round().astype(int)
    np.testing.assert_allclose(grid.lat2d, lat.ravel()[number], atol=1e-4)
    np.testing.assert_allclose((grid.lon2d - lon.ravel()[number] + 180) % 360 - 180, 0, atol=1e-4)
    assert along_grid(data["2t"], data, grid) == bool(keys.get("uvRelativeToGrid", 0))


def test_gaussian_grids_are_rows_and_reduced_ones_say_what_to_do(tmp_path: Path) -> None:
    gauss = {"gridType": "regular_gg", "Ni": 64, "Nj": 32, "N": 16, "latitudeOfFirstGridPointInDegrees": 85.760587,
             "longitudeOfFirstGridPointInDegrees": 0, "latitudeOfLastGridPointInDegrees": -85.760587,
             "longitudeOfLastGridPointInDegrees": 354.375, "iDirectionIncrementInDegrees": 5.625}  # fmt: skip
    lat, _ = written(gauss, tmp_path / "a.grib", north_first=True)
    (data,) = open_grib(tmp_path / "a.grib", {"2t"})
    grid = of_dataset(data).grid
    assert isinstance(grid, Grid) and grid.periodic and (grid.lat_edges[0], grid.lat_edges[-1]) == (-90, 90)
    np.testing.assert_allclose(data.latitude, lat[:, 0])
    message = eccodes.codes_grib_new_from_samples("reduced_gg_pl_32_grib2")
    eccodes.codes_set(message, "shortName", "2t")
    (tmp_path / "b.grib").write_bytes(eccodes.codes_get_message(message))
    with pytest.raises(ValueError, match=r"reduced_gg \(rows of different lengths\): make it regular first, cdo setgridtype,regular"):
        open_grib(tmp_path / "b.grib", {"2t"})
