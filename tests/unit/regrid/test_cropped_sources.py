"""What of a source a dataset reads: the cells around its grid, whatever the kinds of the two."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, named, of_dataset
from orbit2.regrid.job import _cropped, _outside
from orbit2.remap import Regridder
from tests.data import layouts

EUROPE = of_dataset(layouts.eur11()).grid


def source(grid: AnyGrid) -> xr.Dataset:
    coords = grid.coordinates()
    data = xr.Dataset({"t": (grid.dims, grid.lat2d + 0 * grid.lon2d)}, coords={axis: coords[axis] for axis in grid.dims})
    return data.assign_attrs(crs=coords["crs"].attrs["crs_wkt"]) if "crs" in coords else data


@pytest.mark.parametrize(("whole", "target"), [
    (named("global_1.0"), EUROPE), (EUROPE, named("global_1.0").crop(slice(113, 115), slice(350, 352))),
    (EUROPE, EUROPE.crop(slice(4, 8), slice(5, 11)).coarsen(2)), (named("global_1.0"), named("us_15"))])  # fmt: skip
def test_the_part_gives_what_the_whole_gives(whole: AnyGrid, target: AnyGrid) -> None:
    data, native = _cropped(source(whole), target)
    assert native.shape[0] < whole.shape[0] and tuple(data.sizes[d] for d in native.dims) == native.shape
    part, full = Regridder(native, target), Regridder(whole, target)
    np.testing.assert_allclose(part(data["t"].values), full(source(whole)["t"].values), atol=1e-10)
    assert _outside(native, part) == pytest.approx(0, abs=1e-6)


def test_what_lies_outside_is_told() -> None:
    half = EUROPE.crop(slice(0, 8), slice(0, 20))
    assert _outside(half, Regridder(half, EUROPE)) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(OrbitError, match="do not touch"):
        _cropped(source(named("global_1.0").crop(slice(0, 60), slice(0, 360))), EUROPE)
