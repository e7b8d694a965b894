"""The built-in regridding beside `cdo remapcon`: ERA5 with its poles, global, US and PRISM grids, Daymet's Lambert conformal cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.grid import Grid, from_centres, named, projected, uniform
from orbit2.remap import Regridder
from tests.data.cdo import DAYMET_CRS, needs_cdo, remapcon

ERA5 = from_centres(np.linspace(-90, 90, 721), np.arange(0, 360, 0.25))
DAYMET_FILE = Path(__file__).resolve().parents[2].parent / "shared/data/readers/daymet/daymet_v3_prcp_19990913-17_lcc_km.nc"


def rain(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Patchy, mostly small, positive: harder than a smooth field."""
    return np.random.default_rng(seed).gamma(0.4, 8.0, size=shape)


@needs_cdo
@pytest.mark.parametrize(("source", "target"), [
    (ERA5, named("global_1.0")),
    (named("global_0.25"), named("global_1.0")),
    (named("global_1.0"), named("global_0.25@-90,-30,20,200")),
    (named("global_1.0"), named("global_1.40625")),
    (uniform(-90, 90, -180, 180, 90, 180), named("global_5.625")),
    (ERA5, named("us_15")),
    (ERA5, named("prism_10")),
    (named("prism_2.5@36,40,255,262"), named("us_15@36,39,256,261")),
    (named("global_0.25@-10,20,340,380"), named("global_1.0@-10,20,340,380")),
], ids=["ERA5 to 1", "0.25 to 1", "1 to 0.25", "1 to 1.40625", "180 W to 5.625", "ERA5 to US", "ERA5 to PRISM 10'", "PRISM", "over 0 E"])
def test_rectilinear_grids(source: Grid, target: Grid, tmp_path: Path) -> None:
    field = rain(source.shape, 1)
    expected = remapcon(field, source, target, tmp_path)
    result = Regridder(source, target, cache=tmp_path)(field)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@needs_cdo
def test_missing_cells(tmp_path: Path) -> None:
    """CDO's mean over the valid part is ours; it never asks how much of the cell is valid, so ours may not either."""
    source, target = named("global_1.0"), named("global_1.40625")
    field = rain(source.shape, 2)
    field[np.random.default_rng(3).random(source.shape) < 0.4] = np.nan
    expected = remapcon(field, source, target, tmp_path)
    result = Regridder(source, target, min_valid_fraction=1e-6, cache=tmp_path)(field)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@needs_cdo
@pytest.mark.parametrize(("target", "tolerance"), [
    ("us_15@37.75,39.25,259.5,261.5", 1e-6), ("us_2.5@38,39,260,261.5", 1e-5), ("us_0.625@38.25,38.75,260,260.5", 3e-5)])
def test_daymet_lambert_conformal(target: str, tolerance: float, tmp_path: Path) -> None:
    """1 km cells whose corners CDO computes itself, and joins by great circles where ours are straight in the projection.

    Every cell holds unrelated rain, so a side displaced by one part in 10^5 shows, most in targets no larger than the source.
    """
    grid = named(target)
    source = projected(np.arange(-600_000.0, -250_000, 1000), np.arange(-100_000.0, 200_000, 1000), DAYMET_CRS)
    source = source.crop(*source.around(grid))
    field = rain(source.shape, 4)
    result = Regridder(source, grid, cache=tmp_path)(field)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, remapcon(field, source, grid, tmp_path), rtol=0, atol=tolerance * field.mean())


@needs_cdo
@pytest.mark.skipif(not DAYMET_FILE.is_file(), reason=f"the real Daymet file is not here ({DAYMET_FILE.name})")
def test_a_real_daymet_day(tmp_path: Path) -> None:
    with xr.open_dataset(DAYMET_FILE, engine="netcdf4", decode_times=False) as data:
        data = data.sortby("y")
        field = data.prcp.isel(time=2).values.astype(np.float64)
        source = projected(data.y.values * 1000.0, data.x.values * 1000.0, DAYMET_CRS)
    grid = named("us_2.5@36.5,38,281.5,284")
    result = Regridder(source, grid, cache=tmp_path, min_valid_fraction=1e-6)(field)
    expected = remapcon(field, source, grid, tmp_path)
    assert np.nanmax(expected) > 10 and np.isfinite(result).sum() > 1000  # it rained that day (tropical storm Floyd)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
